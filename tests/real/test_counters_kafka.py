"""Kafka by its real client, from librdkafka's own cluster: no package here brings a broker."""

from __future__ import annotations

import pytest
from confluent_kafka import Producer

from nilometer.clock import Clock
from nilometer.counters.backend import BackendError, connect
from nilometer.counters.delta import delta
from nilometer.counters.snapshot import snapshot
from tests.counters.servers import replaying, serving, silent

pytestmark = pytest.mark.real

HEX = "0123456789abcdef" * 2


@pytest.fixture
def producer():
    """A producer and the cluster of three brokers that lives in it."""
    return Producer({"test.mock.num.brokers": 3, "log_level": 0})


@pytest.fixture
def backend(producer):
    """The backend at one of the three."""
    broker = next(iter(producer.list_topics(timeout=10).brokers.values()))
    backend = connect(f"kafka://{broker.host}:{broker.port}", origin="test")
    yield backend
    backend.close()


def read(backend):
    return snapshot(backend, Clock())


def send(producer, topic: str, records: int) -> None:
    for number in range(records):
        producer.produce(topic, b"x", key=str(number))
    assert producer.flush(10) == 0


def test_records_are_exact_by_topic_and_altogether(producer, backend) -> None:
    send(producer, "orders", 5)
    before = read(backend)
    send(producer, "orders", 137)
    send(producer, f"reply_{HEX}", 11)
    send(producer, f"reply_{HEX[::-1]}", 2)
    moves = delta(before, read(backend))

    assert moves.moved == {
        ("log_end_offset", ()): 150,
        ("log_end_offset", (("topic", "orders"),)): 137,
        ("log_end_offset", (("topic", "reply"),)): 13,
    }
    assert (moves.unknown, moves.because) == ({}, "")


def test_reading_moves_nothing(producer, backend) -> None:
    send(producer, "orders", 5)

    assert set(delta(read(backend), read(backend)).moved.values()) == {0}


def test_a_topic_that_was_deleted_is_unknown_and_so_is_the_total(producer, backend) -> None:
    for topic in ("gone", "kept"):
        send(producer, topic, 5)
    before = read(backend)
    send(producer, "kept", 50)
    known = backend._admin.list_topics

    def without(*args: object, **more: object) -> object:
        found = known(*args, **more)
        found.topics.pop("gone")
        return found

    class Deleted:  # librdkafka's cluster cannot delete topics
        list_topics = staticmethod(without)
        list_offsets = backend._admin.list_offsets

    backend._admin = Deleted
    moves = delta(before, read(backend))

    assert moves.moved == {("log_end_offset", (("topic", "kept"),)): 50}
    assert set(moves.unknown) == {
        ("log_end_offset", ()),
        ("log_end_offset", (("topic", "gone"),)),
    }


def test_topics_of_kafka_itself_are_apart(producer, backend) -> None:
    send(producer, "__consumer_offsets", 3)
    send(producer, "orders", 4)

    totals = read(backend).totals()

    assert totals == {"log_end_offset": 4, "internal.log_end_offset": 3}


@pytest.mark.parametrize("answer", [silent, replaying(b"HTTP/1.1 400\r\n\r\n")])
def test_somebody_else_is_told_in_bounded_time(answer) -> None:
    with serving(answer) as port, pytest.raises(BackendError) as caught:
        connect(f"kafka://me:s3cret@127.0.0.1:{port}", origin="test").read()

    assert str(caught.value).startswith(f"kafka at 127.0.0.1:{port}: ")
    assert "s3cret" not in str(caught.value)


def test_where_the_first_broker_is_away_another_is_asked(producer, free_port) -> None:
    send(producer, "orders", 4)
    broker = next(iter(producer.list_topics(timeout=10).brokers.values()))
    url = f"kafka://127.0.0.1:{free_port()}?others={broker.host}:{broker.port}"
    backend = connect(url, origin="test")

    assert read(backend).totals() == {"log_end_offset": 4}
    backend.close()


def test_nobody_there_is_told(free_port, capfd) -> None:
    with pytest.raises(BackendError, match="Broker transport failure"):
        connect(f"kafka://127.0.0.1:{free_port()}", origin="test").read()

    assert capfd.readouterr().err == ""
