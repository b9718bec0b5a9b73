"""Messages of Kafka are known again, whoever reads them, and are done with when committed."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaException

from nilometer.clock import Clock
from nilometer.collect import kafka_consumer
from nilometer.collect.group import GroupCommit
from nilometer.collect.instruments import Refusals
from nilometer.collect.kafka_consumer import Consumer
from nilometer.collect.kafka_records import Record, Records
from nilometer.collect.kafka_url import Topics
from nilometer.model import Batch, Event, Resource
from nilometer.store.columns import parts
from nilometer.wire import kafka, otlp

SENT_NS = 1_795_000_000 * 10**9


def logs(*numbers, at_ns=SENT_NS):
    events = tuple(Event("job.done", at_ns, {"n": n}) for n in numbers)
    return otlp.encode_logs(Batch(Resource("worker", "h", 1), events=events))


def record(offset, value, *, partition=0, **headers):
    told = {kafka.SIGNAL: b"logs", **{n.replace("_", "-"): v for n, v in headers.items()}}
    return Record("t", partition, offset, SENT_NS, value, told)


def records(append=lambda _: None):
    group = GroupCommit(append, window_s=0)
    return Records(group, Refusals(), {"t": ""}, clock=Clock())


def known_by(*taken):
    """By what the rows of these messages are known, each read by a collector of its own."""
    found = []
    for each in taken:
        intake = records()
        intake.take(each)
        (unit,) = intake.flight().units
        found.append({n: part.delivery for b in unit.batches for n, part in parts(b).items()})
    return found


def test_a_message_that_another_collector_reads_again_is_known_by_its_place():
    bad = record(7, b"\xff")
    first, again, later, elsewhere = known_by(
        record(1, logs(1)),
        record(1, logs(1)),
        record(2, logs(1)),
        record(1, logs(1), partition=1),
    )
    rejected, rejected_again, rejected_later = known_by(bad, bad, bad._replace(offset=8))

    assert first == again
    assert len({first["events"], later["events"], elsewhere["events"]}) == 3
    assert rejected == rejected_again != rejected_later


def test_a_message_that_its_sender_gave_again_is_known_by_its_id():
    first, again, other, same_id = known_by(
        record(1, logs(1), nilometer_delivery=b"id"),
        record(9, logs(1), nilometer_delivery=b"id"),
        record(1, logs(1), nilometer_delivery=b"di"),
        record(1, logs(2), nilometer_delivery=b"id"),
    )

    assert first == again
    assert len({first["events"], other["events"], same_id["events"]}) == 3


def test_what_has_no_time_has_that_of_its_message_whenever_it_is_read():
    first, again = known_by(record(1, logs(1, at_ns=0)), record(1, logs(1, at_ns=0)))

    assert first == again


def test_a_partition_that_goes_to_another_takes_its_messages_along():
    intake = records()
    for offset in range(3):
        intake.take(record(offset, logs(offset), partition=offset % 2))
    intake.forget({("t", 0)})

    assert (intake.gathered, intake.rows) == (1, 1)
    flight = intake.flight()
    assert flight.ends == {("t", 1): 2}
    assert [unit.messages[0].offset for unit in flight.units] == [1]


def test_a_message_that_can_never_be_stored_is_rejected_alone():
    kept = []

    def append(batches):
        if any(event.attributes.get("n") == 2 for batch in batches for event in batch.events):
            raise ValueError("never")
        kept.extend(batches)

    async def flown():
        intake = records(append)
        for offset in range(4):
            intake.take(record(offset, logs(offset)))
        await intake.commit(intake.flight())
        await intake._group.close()

    asyncio.run(flown())

    assert sorted(e.attributes["n"] for batch in kept for e in batch.events) == [0, 1, 3]
    (row,) = [row for batch in kept for row in batch.rejected]
    assert (row.reason, row.origin, row.body) == ("not-storable", "t/0/2", logs(2))


class Client:
    """Stands for Kafka's: it gives these messages, and knows what is done with."""

    def __init__(self, messages=()):
        self._messages = iter(messages)
        self.stored, self.paused, self.assigned = [], [], ["all"]

    def poll(self, _timeout_s):
        message = next(self._messages, "over")
        if message == "over":
            self.consumer._stop.set()
            return None
        return message

    def store_offsets(self, offsets):
        self.stored += [(each.topic, each.partition, each.offset) for each in offsets]

    def assignment(self):
        return self.assigned

    def pause(self, _partitions):
        self.paused.append(True)

    def resume(self, _partitions):
        self.paused.append(False)


def message(offset, value):
    told = {
        "error": None,
        "topic": "t",
        "partition": 0,
        "offset": offset,
        "timestamp": (1, SENT_NS // 1_000_000),
        "value": value,
        "headers": [(kafka.SIGNAL, b"logs")],
    }
    return SimpleNamespace(**{name: lambda it=it: it for name, it in told.items()})


@pytest.fixture
def consuming():
    """Makes a consumer whose client gives these messages, and what its records append to."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    groups = []

    async def made(append):
        intake = records(append)
        groups.append(intake._group)
        return intake

    def make(append, messages):
        intake = asyncio.run_coroutine_threadsafe(made(append), loop).result(10)
        consumer = Consumer(Topics(("b:1",), {"t": ""}), intake)
        consumer._loop = loop
        client = consumer.client = Client(messages)
        client.consumer = consumer
        return consumer

    yield make
    for group in groups:
        asyncio.run_coroutine_threadsafe(group.close(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_an_offset_is_stored_when_its_rows_are_committed_and_not_before(consuming):
    seen = []
    messages = [message(n, logs(n)) for n in range(3)]
    consumer = consuming(lambda _: seen.append(list(consumer.client.stored)), messages)

    consumer._consume(consumer.client)
    consumer._depart()
    consumer._stored(consumer.client, 10)

    assert seen == [[]]
    assert consumer.client.stored == [("t", 0, 3)]


def test_what_failed_to_be_committed_is_done_with_for_nobody(consuming, monkeypatch):
    """Also where the partition goes to another while that failed."""

    async def broken(*_):
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("nilometer.collect.kafka_records.committed", broken)
    consumer = consuming(lambda _: None, [message(0, logs(0))])
    consumer._consume(consumer.client)
    consumer._depart()

    with pytest.raises(RuntimeError, match="a fault of ours"):
        consumer._stored(consumer.client, 10)
    consumer._revoked(consumer.client, [SimpleNamespace(topic="t", partition=0)])

    assert consumer.client.stored == []


def test_no_more_is_fetched_than_one_commit_takes_while_another_runs(consuming, monkeypatch):
    for name, value in (("GROUP_ROWS", 3), ("QUIET_S", 60), ("GATHER_S", 60)):
        monkeypatch.setattr(kafka_consumer, name, value)
    open_ = threading.Event()
    consumer = consuming(lambda _: open_.wait(10), [message(n, logs(n)) for n in range(6)])
    threading.Timer(0.2, open_.set).start()

    consumer._consume(consumer.client)

    assert consumer.client.paused == [True, False, True]


def test_what_is_being_committed_when_it_ends_is_stored_before_the_end(consuming, monkeypatch):
    monkeypatch.setattr(kafka_consumer, "QUIET_S", -1)  # each message is given at once
    open_ = threading.Event()
    consumer = consuming(lambda _: open_.wait(10), [message(0, logs(0)), None])
    stored = consumer._stored

    def patient(client, timeout_s):
        if timeout_s:  # it waits: the tables are done now, and not before
            open_.set()
        return stored(client, timeout_s)

    monkeypatch.setattr(consumer, "_stored", patient)

    consumer._consume(consumer.client)

    assert consumer.client.stored == [("t", 0, 1)]


def test_statistics_tell_whether_a_broker_is_there_and_a_fault_is_told_once(caplog):
    def told(*states):
        brokers = ",".join(f'"b{n}":{{"state":"{state}"}}' for n, state in enumerate(states))
        return f'{{"brokers":{{{brokers}}},"topics":{{}}}}'

    fault = SimpleNamespace(
        str=lambda: "refused", name=lambda: "_TRANSPORT", fatal=lambda: False
    )
    consumer = Consumer(Topics(("b:1",), {"t": ""}), records_without_loop())
    said = [consumer.trouble]
    for states, heard in (
        (("INIT", "INIT"), None),
        (("UP", "INIT"), None),
        (("DOWN", "CONNECT"), fault),
        (("DOWN", "CONNECT"), fault),
        (("UP", "DOWN"), None),
    ):
        if heard is not None:
            consumer._hear(heard)
        consumer._look(told(*states))
        said.append(consumer.trouble)

    assert said == ["not connected yet", "not connected yet", "", "refused", "refused", ""]
    assert [r.getMessage() for r in caplog.records] == [
        "kafka: kafka://b:1/t is gone, and asked again: refused"
    ]


def records_without_loop():
    """For a consumer that is given no messages."""
    return SimpleNamespace(gathered=0, rows=0, bytes=0)


def test_a_client_that_is_of_no_use_any_more_is_given_up():
    consumer = Consumer(Topics(("b:1",), {"t": ""}), records_without_loop())
    fatal = SimpleNamespace(str=lambda: "fenced", name=lambda: "_FENCED", fatal=lambda: True)

    with pytest.raises(KafkaException):
        consumer._hear(fatal)


def test_a_topic_that_we_may_not_read_is_told_until_it_is_ours():
    consumer = Consumer(Topics(("b:1",), {"t": ""}), records_without_loop())
    consumer._away = ""
    refused = SimpleNamespace(str=lambda: "Broker: Topic authorization failed")
    consumer._take(SimpleNamespace(error=lambda: refused, topic=lambda: "t"))
    told = consumer.trouble
    consumer._assigned(None, [SimpleNamespace(topic="t")])

    assert (told, consumer.trouble) == ("t: Broker: Topic authorization failed", "")
