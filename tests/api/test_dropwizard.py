"""DropWizard's paths of the collector: all services as one, or those that are picked."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from nilometer.api.dropwizard import AtRoot
from nilometer.collect.settings import Address, CollectorSettings, Tokens
from nilometer.collect.since_start import FOLDED, LEFT_OUT, SILENT_NS, SinceStart
from nilometer.errors import ConfigError
from nilometer.model import Batch, Distribution, Kind, Reading, Resource
from nilometer.wire.dropwizard_names import Names
from tests.collect.doors import Tables, visit

S = 10**9
TOPIC = (("messaging.destination.name", "metrics"),)
HANDLER = "monasca.persister.pipeline.event.MetricHandler"


def counted(service, host, pid, value, *, at=1, name="calls", dimensions=()):
    reading = Reading(name, Kind.COUNTER, dimensions, value, (at - 1) * S, at * S, "1")
    return Batch(Resource(service, host, pid), (reading,))


def timed(service, pid, *values, at=1):
    value = Distribution.of(values)
    reading = Reading("flush", Kind.DISTRIBUTION, (), value, (at - 1) * S, at * S, "ns")
    return Batch(Resource(service, "h1", pid), (reading,))


def asked(tmp_path, batches, *paths, headers=None, tables=None, **settings):
    """What the paths answer once these batches are committed, one after the other."""

    async def talk(client, collector):
        for batch in batches:
            await collector.group.submit([batch])
        return [await client.get(path, headers=headers or {}) for path in paths]

    return visit(tmp_path, talk, tables=tables, **settings)


def meters(answer):
    return {name: meter["count"] for name, meter in answer.json()["meters"].items()}


def test_processes_are_told_as_one_or_picked_by_service_host_and_pid(tmp_path):
    batches = [
        counted("shop", "h1", 1, 1),
        counted("shop", "h1", 2, 2),
        counted("shop", "h2", 1, 4),
        counted("bank", "h2", 9, 8),
        counted("shop", "h1", 1, 16, at=2),
    ]
    queries = ["", "service=shop", "service=shop&host=h1", "pid=1", "host=h2&pid=9", "pid=7"]
    answers = asked(tmp_path, batches, *[f"/dropwizard/metrics?{query}" for query in queries])

    assert [meters(a).get("calls") for a in answers] == [31, 23, 19, 21, 8, None]


def test_timers_of_all_processes_are_merged_with_their_true_extremes(tmp_path):
    batches = [timed("shop", 1, 5_000_000, 7_000_000), timed("shop", 2, 1_000_000)]
    [answer] = asked(tmp_path, batches, "/dropwizard/metrics")
    timer = answer.json()["timers"]["flush"]

    assert (timer["count"], timer["min"], timer["max"]) == (3, 0.001, 0.007)
    assert timer["mean"] == pytest.approx(13e-3 / 3)


def test_what_was_sent_twice_counts_once_and_what_was_refused_not_at_all(tmp_path):
    once = counted("shop", "h1", 1, 5)

    async def talk(client, collector):
        await collector.group.submit([once])
        await collector.group.submit([once])
        tables.error = ValueError("no")
        with pytest.raises(Exception, match="not committed"):
            await collector.group.submit([counted("shop", "h1", 1, 100, at=2)])
        return await client.get("/dropwizard/metrics?service=shop")

    tables = Tables()
    assert meters(visit(tmp_path, talk, tables=tables)) == {"calls": 5}


def test_the_monasca_persister_s_processes_are_the_meters_of_its_performance_test(tmp_path):
    batches = [
        counted(
            *("persister", host, pid, n),
            name=f"monasca.persister.{what}",
            dimensions=(*TOPIC, ("monasca.processor", str(pid % 2))),
        )
        for what, n in (("received", 10), ("completed", 7))
        for host in ("h1", "h2")
        for pid in (10, 11)
    ]
    [answer] = asked(tmp_path, batches, "/dropwizard/metrics?pretty=true")

    assert meters(answer) == {
        f"{HANDLER}[metric-0].events-processed-meter": 20,
        f"{HANDLER}[metric-0].flush-meter": 14,
        f"{HANDLER}[metric-1].events-processed-meter": 20,
        f"{HANDLER}[metric-1].flush-meter": 14,
    }
    assert answer.text.startswith('{\n  "version" : "3.1.3",\n  "gauges" : { },')


def test_ping_health_and_stacks_are_the_collector_s_own(tmp_path):
    ping, health, stacks, menu = asked(
        *(tmp_path, []),
        *("/dropwizard/ping", "/dropwizard/healthcheck", "/dropwizard/threads"),
        "/dropwizard",
    )

    assert (ping.status_code, ping.text) == (200, "pong\n")
    assert (health.status_code, health.json()) == (
        200,
        {"collector": {"healthy": True}, "metrics": {"healthy": True}},
    )
    assert health.headers["cache-control"] == "must-revalidate,no-cache,no-store"
    assert '"MainThread"' in stacks.text
    assert menu.text.startswith("nilometer's collector, process ")


def test_head_is_answered_as_java_s_servlets_do(tmp_path):
    async def talk(client, _collector):
        paths = ("/ping", "/metrics", "/healthcheck")
        return [await client.head(f"/dropwizard{path}") for path in paths]

    assert [answer.status_code for answer in visit(tmp_path, talk)] == [200, 200, 200]


def test_where_there_are_tokens_only_ping_wants_none(tmp_path):
    paths = [f"/dropwizard{path}" for path in ("/ping", "/metrics", "/threads", "/ping/", "")]
    tokens = Tokens([b"a-token-of-the-tests"])
    answers = asked(tmp_path, [], *paths, tokens=tokens)
    ours = {"X-Auth-Token": "a-token-of-the-tests"}
    [metrics] = asked(tmp_path, [], "/dropwizard/metrics", tokens=tokens, headers=ours)

    assert [answer.status_code for answer in answers] == [200, 401, 401, 401, 401]
    assert metrics.status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *(("/metrics?pid=x", 422), ("/metrics?servce=shop", 422), ("/metrics?hosts=c1", 422)),
        *(("/metrics?pid=1&pid=2", 422), ("/x", 404), ("/ping?", 200)),
    ],
)
def test_what_cannot_be_answered_is_an_error_in_java_s_form(tmp_path, path, status):
    [answer] = asked(tmp_path, [], f"/dropwizard{path}")

    assert answer.status_code == status
    if status != 200:
        assert sorted(answer.json()) == ["code", "message"]


@pytest.mark.parametrize("path", ["/metrics", "/healthcheck", "/ping", "/threads"])
@pytest.mark.parametrize(
    "query", ["foo=1", "_=1", "foo=1&foo=2", "showSamples=true&ts=", "id=3&type=x"]
)
def test_parameters_that_are_not_known_are_passed_over_as_in_java(tmp_path, path, query):
    [answer] = asked(tmp_path, [], f"/dropwizard{path}?{query}")

    assert answer.status_code == 200


def test_at_a_port_of_its_own_the_paths_are_at_the_root():
    seen = []

    async def app(scope, _receive, _send):
        seen.append(scope["path"])

    async def ask(port, path):
        scope = {"type": "http", "path": path, "server": ("127.0.0.1", port)}
        await AtRoot(app, 8091)(scope, None, None)

    for port, path in ((8091, "/metrics"), (8091, "/"), (4318, "/api/v1/health")):
        asyncio.run(ask(port, path))

    assert seen == ["/dropwizard/metrics", "/dropwizard", "/api/v1/health"]


class Hand:
    """A clock that is turned by hand."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now


def running(pid, value, *, at, began, service="shop", name="calls"):
    """What counts since its process began, as OpenTelemetry's does."""
    counter = Reading(name, Kind.COUNTER, (), value, began * S, at * S, "1", cumulative=True)
    return Batch(Resource(service, "h1", pid), (counter,))


def test_the_processes_heard_of_last_stay_apart_and_no_sum_falls():
    clock = Hand()
    sums = SinceStart(lambda _: None, clock, processes_max=3)
    for pid in range(1, 6):
        sums.append([counted("shop", "h1", pid, 10**pid)])
        clock.now += SILENT_NS
    told = [sums.document(Names({}), service="shop", pid=pid) for pid in (None, 1, 5)]

    assert [one["meters"].get("calls", {"count": 0})["count"] for one in told] == [
        *(111_110, 0, 100_000),
    ]
    assert [one["gauges"] for one in told] == [{FOLDED: {"value": 2}}] * 3
    assert sums.document(Names({}), service="bank")["gauges"] == {}


def test_however_many_processes_are_heard_none_is_folded_and_all_they_count_is_told():
    clock = Hand()
    sums = SinceStart(lambda _: None, clock, began_ns=S, processes_max=20)
    for tick in range(1, 11):
        clock.now = 60 * tick * S
        for pid in range(1, 31):
            sums.append([running(pid, 10 * tick, at=60 * tick, began=2)])
    told = sums.document(Names({}))

    assert told["meters"]["calls"]["count"] == 30 * 100
    assert told["gauges"] == {}


def test_replicas_without_host_and_pid_are_told_apart_by_all_else_their_resource_tells():
    sums = SinceStart(lambda _: None, lambda: 0)
    for at in range(1, 6):
        for instance, value in (("1", 10), ("2", 100)):
            resource = Resource("shop", attributes=(("service.instance.id", instance),))
            one = counted("shop", "", 0, value, at=at)
            sums.append([one._replace(resource=resource)])

    assert sums.document(Names({}))["meters"]["calls"]["count"] == 550


def test_a_process_that_is_heard_again_after_it_was_summed_up_counts_once():
    clock = Hand()
    sums = SinceStart(lambda _: None, clock, processes_max=1, began_ns=5 * S)
    for at, pid, value in ((10, 6, 4), (11, 9, 100), (12, 6, 7), (13, 6, 9)):
        sums.append([running(pid, value, at=at, began=pid)])
        clock.now += SILENT_NS

    # What the first counted between its two readings is not known to be new.
    assert sums.document(Names({}))["meters"]["calls"]["count"] == 4 + 100 + 2


@pytest.mark.parametrize(
    ("known_s", "left_out", "count"), [(180, 0, 70), (179, 0, 0), (180, 1, 0)]
)
def test_what_a_process_that_is_known_for_long_tells_first_is_new(known_s, left_out, count):
    clock = Hand()
    sums = SinceStart(lambda _: None, clock, began_ns=100 * S)
    sums.append([running(7, 1_000_000, at=101, began=50)])
    sums._processes[next(iter(sums._processes))].left_out = left_out
    for at in range(known_s, known_s + 10, 5):
        clock.now = at * S
        told = [running(7, 1_000_000 + at, at=101 + at, began=50)]
        sums.append([*told, running(7, 70, at=101 + at, began=50, name="new")])
    meters = sums.document(Names({}))["meters"]

    assert meters["calls"]["count"] == known_s + 5
    assert meters["new"]["count"] == count


def test_of_senders_that_nothing_tells_apart_none_is_taken_for_new():
    clock = Hand()
    sums = SinceStart(lambda _: None, clock, began_ns=100 * S)
    for at, name in ((0, "calls"), (1000, "new")):
        clock.now = at * S
        one = running(0, 1_000_000, at=101 + at, began=50, name=name)
        sums.append([one._replace(resource=Resource("shop"))])

    assert {m["count"] for m in sums.document(Names({}))["meters"].values()} == {0}


@pytest.mark.parametrize("step_ns", [0, SILENT_NS], ids=["at once", "one after the other"])
def test_made_up_services_and_series_stay_within_the_bounds_and_are_told(step_ns):
    clock = Hand()
    sums = SinceStart(lambda _: None, clock, processes_max=5, series_max=20)
    for n in range(200):
        sums.append([counted(f"s{n}", "h", 1, 1, name=f"n{m}") for m in range(3)])
        clock.now += step_ns

    kept = [*sums._processes.values(), *sums._ended.values()]
    assert len(kept) <= 10
    assert sum(map(len, kept)) + len(sums._processes) == sums._series <= 20
    assert sums._folded.keys() == sums._ended.keys()
    told = sums.document(Names({}))
    assert told["gauges"][LEFT_OUT] == {"value": sums.left_out()}
    assert sum(one["count"] for one in told["meters"].values()) + sums.left_out() == 600


def test_an_admin_port_that_others_could_reach_wants_tokens():
    with pytest.raises(ConfigError, match=r"--admin: 0.0.0.0:8091 .*\[open-without-token\]"):
        CollectorSettings.parse(admin="0.0.0.0:8091")
    assert CollectorSettings.parse(admin="127.0.0.1:8091").admin == Address("127.0.0.1", 8091)


@pytest.mark.real
def test_a_collector_listens_for_dropwizard_s_clients(tmp_path, collector):
    del tmp_path
    port = collector.output().partition("DropWizard at http://")[2].partition(";")[0]
    answer = httpx.get(f"http://{port}/metrics", params={"service": "nilometer-collector"})

    assert httpx.get(f"http://{port}/ping").text == "pong\n"
    assert list(json.loads(answer.text))[:2] == ["version", "gauges"]
    assert httpx.get(f"{collector.url}/api/v1/health").json()["status"] == "ok"


@pytest.fixture
def collector(tmp_path):
    from tests.collector import start

    with start(tmp_path, admin="127.0.0.1:0") as running:
        yield running
