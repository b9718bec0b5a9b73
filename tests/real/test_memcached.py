"""Clients of memcached against a real one: pymemcache, python-memcached, pylibmc."""

from __future__ import annotations

import socket
from contextlib import suppress

import memcache
import pymemcache
import pytest
from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient

from nilometer.integrations import memcache as of_memcache
from nilometer.integrations import pylibmc as of_pylibmc
from nilometer.integrations import pymemcache as of_pymemcache
from nilometer.measure import Registry
from nilometer.model import Level, SpanKind, Status
from tests.brokers import memcached, reachable_folder  # noqa: F401
from tests.integrations.integration_kit import read, traced_request

pytestmark = pytest.mark.real

# It comes ready-made for Python 3.11 at most, where these tests run; missing there, they fail.
with suppress(ImportError):
    import pylibmc

OURS = (of_pymemcache, of_memcache, of_pylibmc)
SECRET = "hunter2"


@pytest.fixture
def registry():
    registry = Registry()
    for one in OURS:
        one.install(registry=registry)
    yield registry
    for one in OURS:
        one.uninstall()


def plain(port):
    return Client(("127.0.0.1", port))


def pooled(port):
    return PooledClient(("127.0.0.1", port), max_pool_size=2)


def hashed(port):
    return HashClient([("127.0.0.1", port)])


def by_python_memcached(port):
    return memcache.Client([f"127.0.0.1:{port}"])


def by_pylibmc(port):
    return pylibmc.Client([f"127.0.0.1:{port}"])


CLIENTS = (plain, pooled, hashed, by_python_memcached, by_pylibmc)


@pytest.fixture(params=CLIENTS)
def client(request, memcached, registry):  # noqa: F811
    return request.param(memcached.port)


def series(value, **dimensions):
    given = {"db.system.name": "memcached", **dimensions}
    return {",".join(f"{key}={given[key]}" for key in sorted(given)): value}


def of(name, **more):
    return {"db.operation.name": name, **more}


def test_commands_are_timed_by_name(client, registry):
    client.set("k", "1")
    client.get("k")
    client.get("k")
    client.incr("k", 1)
    client.delete("k")

    assert read(registry)["db.client.operation"] == {
        **series(1, **of("delete")),
        **series(2, **of("get")),
        **series(1, **of("incr")),
        **series(1, **of("set")),
    }


def test_python_memcached_s_cas_is_one_command_whether_the_key_was_got_before_or_not(
    memcached,  # noqa: F811
    registry,
):
    client = memcache.Client([f"127.0.0.1:{memcached.port}"], cache_cas=True)
    with traced_request() as spans:
        unknown = client.cas("k", "1")
        client.gets("k")
        known = client.cas("k", "2")

    assert (unknown, known, client.get("k")) == (True, True, "2")
    assert read(registry)["db.client.operation"] == {
        **series(2, **of("cas")),
        **series(1, **of("get")),
        **series(1, **of("gets")),
    }
    assert [span.name for span in spans][1:] == ["cas", "gets", "cas", "request"]


def test_a_client_of_python_memcached_with_a_set_of_its_own_keeps_it_in_cas(
    memcached,  # noqa: F811
    registry,
):
    class Counting(memcache.Client):
        asked = ()

        def _set(self, name, *args, **named):
            self.asked += (name,)
            return super()._set(name, *args, **named)

    client = Counting([f"127.0.0.1:{memcached.port}"])

    assert client.cas("k", "1")
    assert client.asked == ("cas", "set")


def many(client):
    """One command with several keys, as this client names it."""
    get = getattr(client, "get_multi", None) or client.get_many
    return get(["k", "l"])


def test_a_command_with_several_keys_is_one(client, registry):
    many(client)

    assert sum(read(registry)["db.client.operation"].values()) == 1


def test_a_traced_command_is_a_span_that_shows_no_key_and_no_value(client, registry, memcached):  # noqa: F811
    with traced_request() as spans:
        client.set(SECRET, SECRET)
    (span,) = [span for span in spans if span.name == "set"]

    assert (span.kind, span.status) == (SpanKind.CLIENT, Status.UNSET)
    told = dict(span.attributes)
    assert str(told.pop("server.address")).startswith("127.0.0.1")
    assert told.pop("server.port", memcached.port) == memcached.port
    assert told == {"db.system.name": "memcached", "db.operation.name": "set"}
    assert SECRET not in repr(spans)


def test_deep_down_a_command_says_where_it_was_called(client, registry):
    for one in OURS:
        registry.set_level(f"integrations.{one.__name__.rpartition('.')[2]}", Level.DEEP)
    with traced_request() as spans:
        client.set("k", "1")
        many(client)
    files = {span.attributes.get("code.file.path") for span in spans if span.name != "request"}

    assert files == {"tests/real/test_memcached.py"}


BAD = f"{SECRET} with blanks"


@pytest.mark.parametrize("make", [plain, pooled, by_python_memcached, by_pylibmc])
def test_a_command_that_fails_is_counted_and_its_span_shows_no_key(make, memcached, registry):  # noqa: F811
    client = make(memcached.port)
    with traced_request() as spans, suppress(Exception):
        client.set(BAD, "x")
        raise AssertionError("it took a key with blanks")
    (span,) = [span for span in spans if span.name == "set"]

    assert (span.status, SECRET in repr(spans)) == (Status.ERROR, False)
    ((dimensions, count),) = read(registry)["db.client.operation.errors"].items()
    assert dimensions.startswith(next(iter(series(1, **of("set")))))
    assert count == 1


def test_a_command_that_memcached_does_not_know_is_other(memcached, registry):  # noqa: F811
    client = plain(memcached.port)
    for number in range(20):
        with suppress(pymemcache.MemcacheError):
            client._misc_cmd([b"evil\r\n"], f"evil{number}".encode(), False)

    assert read(registry)["db.client.operation"] == series(20, **of("OTHER"))


def test_connects_are_timed_and_those_that_fail_counted(registry, memcached, free_port):  # noqa: F811
    plain(memcached.port).get("k")
    with suppress(OSError):
        plain(free_port()).get("k")
    said = read(registry)

    assert said["db.client.connect"] == series(2)
    assert said["db.client.connect.errors"] == series(
        1, **{"error.type": "ConnectionRefusedError"}
    )


def test_a_server_that_python_memcached_gives_up_is_a_failed_connect(registry, free_port):
    client = by_python_memcached(free_port())

    assert client.get("k") is None
    assert client.get("k") is None, "it is left alone for a while"
    said = read(registry)
    assert said["db.client.operation"] == series(2, **of("get"))
    assert (said["db.client.connect"], said["db.client.connect.errors"]) == (
        series(1),
        series(1, **{"error.type": "ConnectionError"}),
    )


def test_a_pool_says_what_it_has_and_what_it_refused(memcached, registry):  # noqa: F811
    client = pooled(memcached.port)
    held = [client.client_pool.get(), client.client_pool.get()]
    client.client_pool.release(held[0])
    said = read(registry)
    with suppress(RuntimeError):
        client.client_pool.get(), client.client_pool.get()

    pool = f"db.client.connection.pool.name=127.0.0.1:{memcached.port}"
    assert said["db.client.connection.count"] == {
        f"{pool},db.client.connection.state={state}": 1 for state in ("used", "idle")
    }
    assert read(registry)["db.client.connection.timeouts"] == {pool: 1}


def server_bytes(sock):
    """What the server says it read and wrote, by a connection of its own."""
    sock.sendall(b"stats\r\n")
    said = b""
    while not said.endswith(b"END\r\n"):
        said += sock.recv(65536)
    figures = dict(line.split()[1:3] for line in said.splitlines() if line != b"END")
    return int(figures[b"bytes_read"]), int(figures[b"bytes_written"]), len(said)


@pytest.mark.parametrize("make", [plain, by_python_memcached])
def test_bytes_are_those_that_the_server_counts(make, memcached, registry):  # noqa: F811
    registry.set_level("db.client", Level.DETAIL)
    with socket.create_connection(("127.0.0.1", memcached.port)) as sock:
        read_before, written_before, length = server_bytes(sock)
        client = make(memcached.port)
        client.set("k", "v" * 5000)
        client.get("k")
        client.get("none")
        client.get_multi(["k", "none"]) if make is not plain else client.get_many(["k"])
        read_after, written_after, _ = server_bytes(sock)
    said = read(registry)

    assert said["db.client.sent.bytes"] == series(read_after - read_before - len(b"stats\r\n"))
    written = written_after - written_before - length  # the answer to the first of both
    assert said["db.client.received.bytes"] == series(written)


@pytest.mark.parametrize("ours", OURS)
@pytest.mark.parametrize("level", [Level.BASIC, Level.DETAIL])
def test_uninstalling_leaves_nothing_behind(ours, level):
    owners = (
        *(Client, PooledClient, pymemcache.pool.ObjectPool),
        *(memcache.Client, memcache._Host, pylibmc.Client),
    )
    before = [dict(vars(owner)) for owner in owners]
    registry = Registry()
    registry.set_level("db.client", level)

    assert (ours.install(registry=registry), ours.install(registry=registry)) == (True, False)
    assert [dict(vars(owner)) for owner in owners] != before
    ours.uninstall()
    assert [dict(vars(owner)) for owner in owners] == before
    assert registry.followers == []


@pytest.mark.parametrize("ours", OURS)
def test_an_integration_that_is_off_passes_all_on_untouched(ours, memcached):  # noqa: F811
    registry = Registry()
    registry.set_level("integrations", Level.OFF)
    ours.install(registry=registry)
    try:
        for make in CLIENTS:
            make(memcached.port).set("k", "v")
    finally:
        ours.uninstall()

    assert read(registry) == {}
