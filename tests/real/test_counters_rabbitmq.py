"""RabbitMQ itself: what is published is counted, by scope, through deletes and restarts."""

from __future__ import annotations

import subprocess
import sys
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pika
import pytest

from examples.servers.brokers import RabbitMQ as Broker
from nilometer.clock import Clock
from nilometer.counters.backend import BackendError, connect
from nilometer.counters.bracket import Bracket
from nilometer.counters.delta import delta
from nilometer.counters.document import difference, document
from nilometer.counters.gather import Gatherer
from nilometer.counters.snapshot import Snapshot, snapshot
from tests.brokers import rabbitmq, reachable_folder  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pika.adapters.blocking_connection import BlockingChannel

    from examples.servers.brokers import RabbitMQ
    from nilometer.counters.backend import Backend

pytestmark = [pytest.mark.real, pytest.mark.slow]

RECEIVED = ("rabbitmq_global_messages_received_total", ())
ROUTED = ("rabbitmq_global_messages_routed_total", ())
ACKED = ("rabbitmq_global_messages_acknowledged_total", ())


@pytest.fixture
def channel(rabbitmq: RabbitMQ) -> Iterator[BlockingChannel]:  # noqa: F811
    """A channel whose publishes return when the broker has the message."""
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq.amqp_url))
    channel = connection.channel()
    channel.confirm_delivery()
    yield channel
    if connection.is_open:
        connection.close()


@contextmanager
def opened(url: str) -> Iterator[Backend]:
    backend = connect(url, origin="test")
    yield backend
    backend.close()


def queues(server: RabbitMQ) -> str:
    return f"queues://guest:guest@127.0.0.1:{server.api_port}"


def exact(server: RabbitMQ, api: str = "no") -> str:
    return f"rabbitmq://guest:guest@127.0.0.1:{server.prometheus_port}?api={api}"


def read(backend: Backend) -> Snapshot:
    return snapshot(backend, Clock())


def publish(channel: BlockingChannel, queue: str, messages: int) -> None:
    for _ in range(messages):
        channel.basic_publish("", queue, b"x")


def test_the_exact_counts_move_by_what_was_published_and_at_once(rabbitmq, channel) -> None:  # noqa: F811
    channel.queue_declare("exact")
    with opened(exact(rabbitmq)) as backend:
        before = read(backend)
        publish(channel, "exact", 137)
        for _ in range(37):
            channel.basic_ack(channel.basic_get("exact")[0].delivery_tag)
        channel.queue_delete("exact")
        moved = delta(before, read(backend)).moved

    assert (moved[RECEIVED], moved[ROUTED], moved[ACKED]) == (137, 137, 37)
    assert moved["rabbitmq_queues_deleted_total", ()] == 1
    assert backend.settle_s == 0.0


def test_reading_moves_no_count_of_messages(rabbitmq) -> None:  # noqa: F811
    with opened(exact(rabbitmq)) as backend:
        moved = delta(read(backend), read(backend)).moved

    assert {series for series, by in moved.items() if by} == set()


def test_queues_of_a_scope_are_summed_however_they_are_called(
    rabbitmq,  # noqa: F811
    channel,
    wait_until: Callable[..., None],
) -> None:
    channel.exchange_declare("volume_fanout", "fanout")
    replies = [f"reply_{uuid.uuid4().hex}" for _ in range(3)]
    for name in replies:
        channel.queue_declare(name)
    for _ in range(2):
        fanned = f"volume_fanout_{uuid.uuid4().hex}"
        channel.queue_declare(fanned)
        channel.queue_bind(fanned, "volume_fanout")
    api = f"127.0.0.1:{rabbitmq.api_port}"
    with opened(queues(rabbitmq)) as by_scope, opened(exact(rabbitmq, api)) as node:
        wait_until(lambda: not _fails(by_scope), what="the broker has statistics")
        before, node_before = read(by_scope), read(node)
        for number, name in enumerate(replies, 1):
            publish(channel, name, 10 * number)
        for _ in range(7):
            channel.basic_publish("volume_fanout", "", b"x")

        def moved() -> dict:
            return delta(before, read(by_scope)).moved

        wait_until(
            lambda: (
                moved().get(("volume_fanout_publish", ()), 0) >= 14
                and moved().get(("reply_publish", ()), 0) >= 60
            ),
            what="the statistics have come",
        )
        wait_until(
            lambda: (
                read(node).values.get(("exchange.publish_out", ()), 0)
                >= node_before.values.get(("exchange.publish_out", ()), 0) + 74
            ),
            what="the exchanges' have, too",
        )
        of_scopes, of_node = moved(), delta(node_before, read(node)).moved

    assert of_scopes["reply_publish", ()] == 60
    assert of_scopes["volume_fanout_publish", ()] == 14
    fanout = (("exchange", "volume_fanout"),)
    assert of_node["exchange.publish_in", fanout] == 7
    assert of_node["exchange.publish_out", fanout] == 14
    assert (of_node[RECEIVED], of_node[ROUTED]) == (67, 74)


def test_a_queue_deleted_in_between_makes_its_scope_unknown_and_the_exact_count_stays(
    rabbitmq,  # noqa: F811
    channel,
    wait_until: Callable[..., None],
) -> None:
    gone, kept = f"gone_{uuid.uuid4().hex}", f"gone_{uuid.uuid4().hex}"
    for name in (gone, kept, "kept"):
        channel.queue_declare(name)
    with opened(queues(rabbitmq)) as by_scope, opened(exact(rabbitmq)) as node:
        wait_until(lambda: not _fails(by_scope), what="the broker has statistics")
        before, node_before = read(by_scope), read(node)
        publish(channel, gone, 5)
        publish(channel, kept, 50)
        publish(channel, "kept", 3)
        channel.queue_delete(gone)
        wait_until(
            lambda: delta(before, read(by_scope)).moved.get(("kept_publish", ())) == 3,
            what="the statistics have come",
        )
        wait_until(
            lambda: ("gone_publish", ()) in delta(before, read(by_scope)).unknown,
            what="the queue has gone from the statistics, too",
        )
        after = read(by_scope)
        moved = delta(node_before, read(node)).moved

    assert "1 queue of it deleted" in delta(before, after).unknown["gone_publish", ()]
    assert moved[RECEIVED] == 58


def test_a_queue_made_and_deleted_in_between_makes_every_scope_unknown(
    rabbitmq,  # noqa: F811
    channel,
    wait_until: Callable[..., None],
) -> None:
    channel.queue_declare("kept")
    with opened(queues(rabbitmq)) as by_scope, opened(exact(rabbitmq)) as node:
        wait_until(lambda: not _fails(by_scope), what="the broker has statistics")
        before, node_before = read(by_scope), read(node)
        brief = f"brief_{uuid.uuid4().hex}"
        channel.queue_declare(brief)
        publish(channel, brief, 5)
        publish(channel, "kept", 3)
        channel.queue_delete(brief)
        wait_until(
            lambda: (
                "made and deleted"
                in delta(before, read(by_scope)).unknown.get(("kept_publish", ()), "")
            ),
            what="the broker has counted the deletion",
        )
        moves, moved = delta(before, read(by_scope)).moved, delta(node_before, read(node)).moved

    assert moves["queue_deleted", ()] >= 1
    assert moved[RECEIVED] == 8


@pytest.mark.slow
def test_exchanges_made_anew_or_unseen_leave_what_went_into_any_unknown(
    rabbitmq,  # noqa: F811
    channel,
    wait_until: Callable[..., None],
) -> None:
    """Also where one has more by now than it had, and where two documents are compared."""

    def declared(name: str, messages: int) -> None:
        channel.exchange_declare(name, "fanout")
        for _ in range(messages):
            channel.basic_publish(name, "", b"x")

    def shows(name: str, messages: int) -> bool:
        part = (("exchange", name),)
        return read(other).values.get(("exchange.publish_in", part)) == messages

    url = exact(rabbitmq, f"127.0.0.1:{rabbitmq.api_port}")
    with opened(url) as backend, opened(url) as other:
        wait_until(lambda: not read(backend).unread, what="the broker has statistics")
        declared("orders", 5)
        wait_until(lambda: shows("orders", 5), what="the broker has collected")
        before = read(backend)
        channel.exchange_delete("orders")
        declared("orders", 6)
        declared("brief", 3)
        channel.exchange_delete("brief")
        wait_until(lambda: shows("orders", 6), what="the broker has collected")
        after = read(backend)

    moves = delta(before, after)
    told = difference(*(document([one], wall_ns=one.taken_ns) for one in (before, after))).told
    assert "8 messages by now went" in moves.unknown["exchange.publish_in", ()]
    assert "8 messages by now went" in told["unknown"]["rabbitmq"]["exchange.publish_in"]
    assert moves.moved[RECEIVED] == 9


def test_a_broker_that_restarted_is_not_compared(
    rabbitmq,  # noqa: F811
    wait_until: Callable[..., None],
) -> None:
    with opened(queues(rabbitmq)) as by_scope, opened(exact(rabbitmq)) as node:
        wait_until(lambda: not _fails(by_scope), what="the broker has statistics")
        before = read(by_scope), read(node)
        rabbitmq.restart()
        wait_until(lambda: not _fails(by_scope), what="the broker has statistics again")
        after = read(by_scope), read(node)

    for one, other in zip(before, after, strict=True):
        assert "restarted" in delta(one, other).because


def test_a_wrong_password_is_told_and_not_shown(rabbitmq) -> None:  # noqa: F811
    url = f"queues://guest:wr0ng@127.0.0.1:{rabbitmq.api_port}"
    with opened(url) as backend, pytest.raises(BackendError, match="401") as caught:
        backend.read()

    assert "user 'guest' with this password" in str(caught.value)
    assert "wr0ng" not in str(caught.value)


def _fails(backend: Backend) -> bool:
    try:
        backend.read()
    except BackendError:
        return True
    return False


LOAD = """
import pika, sys, time
connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
channel = connection.channel()
for number in range(100):
    channel.queue_declare(f"load{number}", arguments={"x-max-length": 10})
print("loaded", flush=True)
while True:
    for number in range(100):
        channel.basic_publish("", f"load{number}", b"x")
    connection.process_data_events(0)
    time.sleep(0.02)
"""


@pytest.fixture
def loaded(reachable_folder: Path) -> Iterator[RabbitMQ]:  # noqa: F811
    """A broker that collects each 5 s, as by default, while another process keeps it busy."""
    with Broker(reachable_folder / "loaded", statistics_interval_ms=5000) as server:
        command = [sys.executable, "-c", LOAD, server.amqp_url]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as load:
            assert load.stdout is not None
            assert load.stdout.readline() == b"loaded\n"
            yield server
            load.kill()


@pytest.mark.slow
def test_a_busy_broker_s_figures_hold_all_of_the_run_and_nothing_of_before(
    loaded: RabbitMQ,
    wait_until: Callable[..., None],
) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(loaded.amqp_url))
    channel = connection.channel()
    channel.confirm_delivery()
    channel.exchange_declare("jobs", "fanout")
    channel.queue_declare("jobs")
    channel.queue_bind("jobs", "jobs")
    api = f"127.0.0.1:{loaded.api_port}"
    # Whoever believes that figures come within half a second would be satisfied by old ones.
    urls = f"{queues(loaded)}?settle_s=0.5", f"{exact(loaded, api)}&settle_s=0.5"
    with opened(urls[0]) as by_scope, opened(urls[1]) as node:
        wait_until(lambda: not _fails(by_scope), what="the broker has statistics")
        channel.basic_publish("jobs", "", b"before")
        around = Bracket(Gatherer((by_scope, node), Clock()), Clock(), idle_s=0)
        around.open()
        for _ in range(37):
            channel.basic_publish("jobs", "", b"x")
        _, counts = around.close()

    fanned = (("exchange", "jobs"),)
    found = {(count.counter, count.dimensions): count for count in counts}
    assert found["jobs_publish", ()].delta == 37
    assert found["exchange.publish_in", fanned].delta == 37
    assert found["exchange.publish_out", fanned].delta == 37
