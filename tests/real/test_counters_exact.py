"""What a backend's file calls exact moves by the same number in every run of one workload."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING

import pika
import pytest
import redis as redis_py
from pika.exceptions import UnroutableError

from nilometer.clock import Clock
from nilometer.counters.backend import connect
from nilometer.counters.delta import delta
from nilometer.counters.snapshot import snapshot
from tests.brokers import memcached, rabbitmq, reachable_folder, redis  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import Callable

    from examples.servers.brokers import Memcached, RabbitMQ, Redis

pytestmark = [pytest.mark.real, pytest.mark.slow]

RUNS = 4
THREADS = 4


def send(server: RabbitMQ, thread: int) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(server.amqp_url))
    channel = connection.channel()
    channel.confirm_delivery()
    channel.basic_qos(prefetch_count=10)
    queue = f"exact{thread}"
    channel.queue_declare(queue)
    for _ in range(50):
        channel.basic_publish("", queue, b"x")
    with pytest.raises(UnroutableError):
        channel.basic_publish("", "nowhere", b"x", mandatory=True)
    channel.basic_publish("", "nowhere", b"x")
    for got, (method, _, _) in enumerate(channel.consume(queue, inactivity_timeout=10), 1):
        channel.basic_ack(method.delivery_tag)
        if got == 50:
            break
    channel.cancel()
    assert channel.basic_get(queue) == (None, None, None)
    connection.close()


def set_and_get(server: Redis, thread: int) -> None:
    with redis_py.Redis(port=server.port) as client:
        for number in range(50):
            client.set(f"{thread}:{number}", "v")
            client.get(f"{thread}:{number}")
            client.get("none")
        with pytest.raises(redis_py.ResponseError):
            client.lpush(f"{thread}:1", "x")


def store(server: Memcached, thread: int) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
        file = sock.makefile("rwb")
        for line in (b"set k%d 0 0 1\r\nx", b"get none%d", b"incr none%d 1", b"touch k%d 0"):
            for _ in range(40):
                file.write(line % thread + b"\r\n")
                file.flush()
                assert file.readline() in {
                    b"STORED\r\n",
                    b"END\r\n",
                    b"NOT_FOUND\r\n",
                    b"TOUCHED\r\n",
                }


@pytest.mark.parametrize(
    ("server", "url", "work", "least"),
    [
        ("rabbitmq", "rabbitmq://127.0.0.1:{0.prometheus_port}?api=no", send, 12),
        ("redis", "redis://127.0.0.1:{0.port}", set_and_get, 10),
        ("memcached", "memcached://127.0.0.1:{0.port}", store, 8),
    ],
)
def test_what_is_called_exact_moves_by_the_same_each_time(
    server: str,
    url: str,
    work: Callable,
    least: int,
    request: pytest.FixtureRequest,
    wait_until: Callable[..., None],
) -> None:
    started = request.getfixturevalue(server)
    backend = connect(url.format(started), origin="test")

    def run() -> dict:
        before = snapshot(backend, Clock())
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda thread: work(started, thread), range(THREADS)))
        wait_until(lambda: _quiet(backend), what="the connections' ends are counted, too")
        moves = delta(before, snapshot(backend, Clock()))
        assert (moves.unknown, moves.because) == ({}, "")
        return {
            name: moved
            for (name, parts), moved in moves.moved.items()
            if moved and not parts and before.fact(name).exact
        }

    run()  # what is counted from its first move on is there after it
    first, *others = (_without_reads(run(), backend) for _ in range(RUNS))
    backend.close()

    assert others == [first] * (RUNS - 1)
    assert len(first) >= least


def _quiet(backend) -> bool:
    """Whether two reads at once differ by what every read costs, and by nothing else."""
    steps = [snapshot(backend, Clock()) for _ in range(3)]
    one, other = (delta(*pair).moved for pair in pairwise(steps))
    exact = {series for series in one if steps[0].fact(series[0]).exact}
    return all(one[series] == other.get(series) for series in exact)


def _without_reads(moved: dict, backend) -> dict:
    """Without the counters that our own reads move: how many there were is chance."""
    ours = delta(snapshot(backend, Clock()), snapshot(backend, Clock())).moved
    return {name: by for name, by in moved.items() if not ours.get((name, ()))}
