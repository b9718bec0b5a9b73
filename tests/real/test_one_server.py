"""Real servers are known by what they say of themselves, whatever URL reaches them."""

from __future__ import annotations

from time import sleep
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer

from nilometer.counters.backend import BackendError, connect
from nilometer.counters.overlap import places_of
from tests.brokers import (  # noqa: F401
    memcached,
    node_exporter,
    rabbitmq,
    reachable_folder,
    redis,
)

if TYPE_CHECKING:
    from nilometer.counters.overlap import Place

pytestmark = pytest.mark.real

SAME = "[::ffff:127.0.0.1]"
"""Another address of the loopback, by which a server at 127.0.0.1 is reached as well."""


def places(url: str) -> set[Place]:
    """Where a server is by its URL, and what it says that it is."""
    backend = connect(url, origin="test")
    for _ in range(300):
        try:
            backend.read()
            break
        except BackendError as error:  # RabbitMQ tells of its queues some seconds later
            if "just begun" not in str(error):
                raise
            sleep(0.1)
    found = set(places_of(backend))
    backend.close()
    return found


def known_by_both(url: str) -> set[Place]:
    return places(url) & places(url.replace("127.0.0.1", SAME))


def test_redis_is_known_by_both_its_addresses(redis) -> None:  # noqa: F811
    assert known_by_both(f"redis://127.0.0.1:{redis.port}")


def test_memcached_is_known_by_both_its_addresses(memcached) -> None:  # noqa: F811
    assert known_by_both(f"memcached://127.0.0.1:{memcached.port}")


def test_an_endpoint_is_known_by_both_its_addresses(node_exporter) -> None:  # noqa: F811
    assert known_by_both(f"http://127.0.0.1:{node_exporter.port}/metrics")


@pytest.mark.slow
def test_rabbitmq_and_its_queues_are_known_by_both_their_addresses(rabbitmq) -> None:  # noqa: F811
    node = f"rabbitmq://guest:guest@127.0.0.1:{rabbitmq.prometheus_port}?api=no"
    queues = f"queues://guest:guest@127.0.0.1:{rabbitmq.api_port}"
    elsewhere = queues.replace("127.0.0.1", SAME)

    assert {name for name, _ in known_by_both(node)} == {"rabbitmq", "queues"}
    assert known_by_both(queues) == places(node) & places(elsewhere)


def test_a_cluster_of_kafka_is_known_by_each_of_its_brokers() -> None:
    producer = Producer({"test.mock.num.brokers": 2, "log_level": 0})
    other = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    one, two = producer.list_topics(timeout=10).brokers.values()
    [apart] = other.list_topics(timeout=10).brokers.values()
    first, second, foreign = (places(f"kafka://{b.host}:{b.port}") for b in (one, two, apart))

    assert first & second
    assert not foreign & (first | second)
