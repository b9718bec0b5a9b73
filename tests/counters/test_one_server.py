"""One server has many URLs, and says itself which it is; no two servers say the same."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from bson import ObjectId

from nilometer.counters.backend import connect
from nilometer.counters.kafka import brokers_of
from nilometer.counters.overlap import places_of
from tests.counters.mongo_server import mongod, status
from tests.counters.servers import by_path, http, replaying, serving

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from nilometer.counters.overlap import Place

DATA = Path(__file__).parent.parent / "data" / "counters"
INFO = (DATA / "redis" / "info.txt").read_bytes().split(b"\r\n", 1)[1][:-2]
STATS = (DATA / "memcached" / "stats.txt").read_bytes()
METRICS = (DATA / "rabbitmq" / "metrics.txt").read_bytes()
NODE = (DATA / "prometheus" / "node_exporter.txt").read_bytes()
API = {
    f"/api/{name}": (DATA / "rabbitmq" / f"{name}.json").read_bytes()
    for name in ("queues", "exchanges", "nodes", "overview")
}
CLUSTER = "rabbitmq-cluster-id-bxR0-5DBbFea3xO8m3ybow"
GLOBAL = "/api/global-parameters/internal_cluster_id"
STARTED = b"process_start_time_seconds 1.79518284595e+09"


def said(url: str, answer: Callable[[socket.socket], None]) -> set[Place]:
    """What a server that answers so says that it is, beside where its URL says it is."""
    with serving(answer) as port:
        return said_at(url.format(port=port))


def said_at(url: str) -> set[Place]:
    backend = connect(url, origin="test")
    backend.read()
    _, *said = places_of(backend)
    backend.close()
    return set(said)


def redis(run_id: str) -> set[Place]:
    lines = INFO.split(b"\r\n")
    (at,) = [i for i, line in enumerate(lines) if line.startswith(b"run_id:")]
    lines[at] = f"run_id:{run_id}".encode()
    body = b"\r\n".join(lines)
    reply = b"$%d\r\n%b\r\n" % (len(body), body)
    return said("redis://127.0.0.1:{port}", replaying(reply))


def test_redis_is_known_by_the_id_of_its_run() -> None:
    one, other = "1ac24b0a31f9a3bd0d4ed3cf39ec01ad4a8a9d4b", "2" + "ac" * 19 + "f"

    assert redis(one) == redis(one) == {("redis", f"run {one}")}
    assert redis(one).isdisjoint(redis(other))


@pytest.mark.parametrize("run_id", ["", "0" * 40, "emulated"])
def test_a_stand_in_for_redis_is_known_by_its_url_alone(run_id: str) -> None:
    assert redis(run_id) == set()


def memcached(**changes: int) -> set[Place]:
    """What it says after it was asked at another time, with other figures."""
    lines = STATS.split(b"\r\n")
    for name, value in changes.items():
        (at,) = [i for i, line in enumerate(lines) if line.split(b" ")[1:2] == [name.encode()]]
        lines[at] = f"STAT {name} {value}".encode()
    return said("memcached://127.0.0.1:{port}", replaying(b"\r\n".join(lines)))


def test_memcached_is_known_by_its_process_and_when_that_began() -> None:
    one = memcached(pid=17, time=1000, uptime=10)

    assert (
        one == memcached(pid=17, time=1005, uptime=15) == {("memcached", "pid 17 started 990")}
    )
    assert one.isdisjoint(memcached(pid=17, time=1000, uptime=11))
    assert one.isdisjoint(memcached(pid=18, time=1000, uptime=10))


def test_memcached_in_a_container_is_known_by_its_url_alone() -> None:
    """All of them are process 1 there, and two are started within a second."""
    assert memcached(pid=1, time=1000, uptime=10) == set()


def test_mongodb_is_known_by_the_id_of_its_process() -> None:
    found = []
    for process in (ObjectId("1" * 24), ObjectId("1" * 24), ObjectId("2" * 24)):
        with mongod(lambda _name: status(insert=1), process) as port:
            found.append(said_at(f"mongodb://127.0.0.1:{port}"))

    assert found[0] == found[1] == {("mongodb", f"process {'1' * 24}")}
    assert found[0].isdisjoint(found[2])


def cluster(cluster_id: str | None, *ports: int) -> SimpleNamespace:
    """What Kafka's client knows of a cluster with brokers at these ports."""
    brokers = {i: SimpleNamespace(id=i, host="k", port=port) for i, port in enumerate(ports)}
    return SimpleNamespace(cluster_id=cluster_id, brokers=brokers)


def test_kafka_is_known_by_its_cluster_and_brokers() -> None:
    """By any one of them: another may be down. Kafka's own image has one id for all."""
    known = set(brokers_of(cluster("same", 1, 2)))

    assert known & set(brokers_of(cluster("same", 2)))
    assert known.isdisjoint(brokers_of(cluster("same", 3, 4)))
    assert known.isdisjoint(brokers_of(cluster("other", 1, 2)))
    assert brokers_of(cluster("", 1)) == brokers_of(cluster(None, 1)) == []


def rabbitmq(metrics: bytes) -> set[Place]:
    return said("rabbitmq://127.0.0.1:{port}?api=no", replaying(http(metrics)))


def test_rabbitmq_is_known_by_cluster_node_and_start() -> None:
    one = rabbitmq(METRICS)
    restarted = rabbitmq(METRICS.replace(b"seconds 1795182802", b"seconds 1795182803"))
    without = rabbitmq(METRICS.replace(CLUSTER.encode(), b""))

    node = ("rabbitmq", f"{CLUSTER} nilo42613@127.0.0.1 started 1795182802")
    assert one - without == {node, ("queues", CLUSTER)}
    assert node not in restarted
    assert {name for name, _ in without} == {"queues"}


@pytest.mark.parametrize(
    ("answer", "known"),
    [
        (json.dumps({"name": "internal_cluster_id", "value": CLUSTER}), {("queues", CLUSTER)}),
        (json.dumps({"error": "not_authorised"}), set()),
        (json.dumps([7]), set()),
        ("nonsense", set()),
        (None, set()),
    ],
)
def test_queues_are_known_by_their_cluster_where_that_may_be_seen(
    answer: str | None, known: set[Place]
) -> None:
    bodies = {**API, **({} if answer is None else {GLOBAL: answer.encode()})}

    assert said("queues://127.0.0.1:{port}", by_path(bodies)) == known


def exporter(shown: bytes, path: str = "/metrics") -> set[str]:
    """What a process says whose port is the same by all its URLs, the port left out."""
    with serving(replaying(http(shown))) as port:
        found = said_at(f"http://127.0.0.1:{port}{path}")
    return {place.replace(f" {port} ", " PORT ") for _, place in found}


def test_an_endpoint_is_known_by_its_port_and_the_moment_it_began() -> None:
    since = "since 1795182845.95 node_exporter 1.5.0"

    assert exporter(NODE) == {f"/metrics at port PORT {since}"}


@pytest.mark.parametrize(
    ("shown", "path"),
    [
        (NODE.replace(STARTED, b""), "/metrics"),
        (NODE.replace(STARTED, b"process_start_time_seconds 1795182845"), "/metrics"),
        (NODE + b'process_start_time_seconds{job="b"} 1.5\n', "/metrics"),
        (NODE, "/probe?query=target%3Ddb"),
    ],
)
def test_an_endpoint_that_may_be_another_is_known_by_its_url_alone(
    shown: bytes, path: str
) -> None:
    assert exporter(shown, path) == set()


@pytest.mark.parametrize("servers", [7, ["a:1"], "a:1", {"a": 1}, [("a",)], [("a", 1)], None])
def test_what_another_package_calls_servers_is_no_fault(servers: object) -> None:
    backend = SimpleNamespace(name="ours", instance="h:1", servers=servers)

    assert places_of(backend) == (("ours", "h:1"),)
