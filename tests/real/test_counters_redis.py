"""Redis itself: its commands are counted one by one, through resets and restarts."""

from __future__ import annotations

from itertools import pairwise

import pytest
import redis as redis_py

from examples.servers.brokers import Redis
from nilometer.clock import Clock
from nilometer.counters.backend import BackendError, connect
from nilometer.counters.delta import delta
from nilometer.counters.snapshot import Snapshot, snapshot
from tests.brokers import reachable_folder, redis  # noqa: F401

pytestmark = pytest.mark.real


@pytest.fixture
def client(redis: Redis):  # noqa: F811
    """A client, connected already."""
    with redis_py.Redis(port=redis.port) as client:
        client.ping()
        yield client


@pytest.fixture
def backend(redis: Redis):  # noqa: F811
    """The backend under test."""
    backend = connect(f"redis://127.0.0.1:{redis.port}", origin="test")
    yield backend
    backend.close()


def read(backend) -> Snapshot:
    return snapshot(backend, Clock())


def moved(before: Snapshot, after: Snapshot) -> dict:
    moves = delta(before, after)
    assert moves.because == ""
    return {name: by for (name, _), by in moves.moved.items() if by}


def test_commands_hits_and_misses_are_exact(client, backend) -> None:
    before = read(backend)
    for number in range(50):
        client.set(f"k{number}", "v")
    for number in range(70):
        client.get(f"k{number}")
    with pytest.raises(redis_py.ResponseError):
        client.lpush("k1", "x")
    by = moved(before, read(backend))

    assert (by["cmdstat_set.calls"], by["cmdstat_get.calls"]) == (50, 70)
    assert (by["keyspace_hits"], by["keyspace_misses"]) == (50, 20)
    assert (by["cmdstat_lpush.failed_calls"], by["errorstat_WRONGTYPE.count"]) == (1, 1)
    assert by["total_commands_processed"] == 121 + 1, "ours is one"


def test_reading_costs_one_command_each_time(backend) -> None:
    read(backend)
    shots = [read(backend) for _ in range(3)]

    for before, after in pairwise(shots):
        by = moved(before, after)
        assert by["total_commands_processed"] == by["cmdstat_info.calls"] == 1


def test_resetstat_is_recognised_also_if_all_has_grown_beyond(client, backend) -> None:
    before = read(backend)
    client.config_resetstat()
    for _ in range(500):
        client.get("k")

    assert "figures were reset" in delta(before, read(backend)).because


def test_a_restart_is_recognised(redis: Redis, backend) -> None:  # noqa: F811
    before = read(backend)
    redis.restart()

    assert "restarted" in delta(before, read(backend)).because


def test_a_password_is_asked_for_and_taken(tmp_path) -> None:
    with Redis(tmp_path / "redis", password="s3cret") as server:
        said = {}
        for user in ("", ":wrong@", ":s3cret@"):
            backend = connect(f"redis://{user}127.0.0.1:{server.port}", origin="test")
            try:
                said[user] = backend.read().version
            except BackendError as error:
                said[user] = str(error)
            backend.close()
        by_socket = connect(f"redis://:s3cret@x?socket={server.socket}", origin="test")
        version = by_socket.read().version
        by_socket.close()

    assert "NOAUTH" in said[""]
    assert "WRONGPASS" in said[":wrong@"]
    assert "wrong@" not in said[":wrong@"]
    assert said[":s3cret@"] == version
    assert version.count(".") == 2
