"""Commands of data stores: by name, of a fixed set; a fault of ours is never the service's."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress

import pytest

from nilometer.integrations import commands as commands_module
from nilometer.integrations.commands import Commands
from nilometer.integrations.patches import Patches
from nilometer.integrations.pools import Pools
from nilometer.measure import Registry
from nilometer.model import Level, Status
from tests.integrations.integration_kit import read, shape, traced_request


class StoreError(Exception):
    """What the store raises."""


class Store:
    """A client, sync."""

    def do(self, name, *args):
        if name == "FAIL":
            raise StoreError
        return name, args

    def run(self):
        return "ran"


class AsyncStore:
    """The same for asyncio."""

    async def do(self, name, *args):
        await asyncio.sleep(0)
        return Store.do(self, name, *args)

    async def run(self):
        return "ran"


def told(client, *, ended):
    return {"server.address": "here"}


NAMES = frozenset(["GET", "SET", "FAIL"])


class Measured:
    """Both stores with measured classes of their own."""

    def __init__(self, kind, registry, told=told, read=lambda store: ("ALL", ["GET", "x"])):
        self.commands = Commands("store", "store", NAMES, told=told, registry=registry)
        self.patches = Patches()
        client = type("Client", (kind,), {})
        self.patches.swap(client, "do", self.commands.by_argument())
        self.patches.swap(client, "run", self.commands.batch(read))
        self.client = client()

    def do(self, *args):
        return self._run(self.client.do(*args))

    def run(self):
        return self._run(self.client.run())

    def _run(self, made):
        async def awaited():
            return await made

        return asyncio.run(awaited()) if asyncio.iscoroutine(made) else made


@pytest.fixture(params=[Store, AsyncStore])
def kind(request):
    return request.param


def series(value, name):
    return {f"db.operation.name={name},db.system.name=store": value}


def test_spellings_of_a_name_are_one_and_unknown_names_are_other(kind, registry):
    store = Measured(kind, registry)
    for name in ("GET", "get", b"GeT", "GET range", "EVIL", b"\xff", "", " ", None, 7, []):
        assert store.do(name) == (name, ())

    assert read(registry) == {
        "db.client.operation": {**series(4, "GET"), **series(7, "OTHER")},
    }


def test_a_flood_of_spellings_is_not_remembered(kind, registry, monkeypatch):
    monkeypatch.setattr(commands_module, "SPELLINGS_MAX", 2)
    store = Measured(kind, registry)
    for name in ("GET", "get", "Get", "gEt", "set"):
        store.do(name)

    assert read(registry)["db.client.operation"] == {**series(4, "GET"), **series(1, "SET")}


def test_errors_are_counted_by_name_and_end_their_span(kind, registry):
    store = Measured(kind, registry)
    with traced_request() as spans, suppress(StoreError):
        store.do("FAIL")

    assert shape(spans) == [("FAIL", "request", "ERROR"), ("request", "", "UNSET")]
    assert read(registry)["db.client.operation.errors"] == {
        "db.operation.name=FAIL,db.system.name=store,error.type=StoreError": 1
    }


def test_a_client_that_cannot_be_read_is_served_all_the_same(kind, registry):
    def unreadable(client, *, ended):
        raise AttributeError

    store = Measured(kind, registry, told=unreadable, read=unreadable)
    with traced_request() as spans:
        assert store.do("GET") == ("GET", ())
        assert store.run() == "ran"

    assert [span.name for span in spans] == ["GET", "request"]
    assert sum(read(registry)["nilometer.lost"].values()) == 2


def test_a_client_that_finds_its_server_while_it_runs_tells_it_at_the_end(kind, registry):
    def late(client, *, ended):
        return {"server.address": "there"} if ended else None

    with traced_request() as spans, suppress(StoreError):
        store = Measured(kind, registry, told=late)
        store.do("GET")
        store.do("FAIL")

    get, failed, _ = spans
    assert get.attributes["server.address"] == failed.attributes["server.address"] == "there"
    assert (get.status, failed.status) == (Status.UNSET, Status.ERROR)


def test_what_is_known_of_a_client_goes_with_it(kind, registry):
    store = Measured(kind, registry)
    with traced_request():
        store.do("GET")
        store.run()
    known = store.commands.servers.by_id

    assert [one.attributes for one in known.values()] == [{"server.address": "here"}]

    del store.client
    gc.collect()

    assert known == {}


def test_a_batch_is_one_call_and_counts_its_commands(kind, registry):
    store = Measured(kind, registry)
    with traced_request() as spans:
        store.run()

    assert {key: spans[0].attributes[key] for key in spans[0].attributes} == {
        "db.system.name": "store",
        "db.operation.name": "ALL",
        "db.operation.batch.size": 2,
        "db.query.summary": "ALL GET OTHER",
        "server.address": "here",
    }
    assert read(registry) == {
        "db.client.operation": series(1, "ALL"),
        "db.client.batch.operation": {**series(1, "GET"), **series(1, "OTHER")},
    }


def told_by_port(client, *, ended):
    return {"server.port": client.port}


def test_clients_of_one_server_are_told_apart_from_those_of_another(kind, registry):
    store = Measured(kind, registry, told=told_by_port)
    clients = [type(store.client)() for _ in range(4)]
    for port, client in enumerate(clients):
        client.port = port % 2
    with traced_request() as spans:
        for store.client in clients * 2:
            store.do("GET")
            store.run()

    ports = [(span.name, span.attributes["server.port"]) for span in spans[:-1]]
    assert ports == [(name, port) for port in (0, 1) * 4 for name in ("GET", "ALL")]


def test_a_client_in_the_place_of_one_that_is_gone_is_asked_itself(kind, registry):
    store = Measured(kind, registry, told=told_by_port)
    kind_of_client = type(store.client)
    with traced_request() as spans:
        for port in range(50):
            store.client = None  # its memory is the next one's
            store.client = kind_of_client()
            store.client.port = port
            store.do("GET")

    assert [span.attributes["server.port"] for span in spans[:-1]] == list(range(50))


def test_servers_beyond_those_that_are_shared_are_measured_alike(kind, registry, monkeypatch):
    monkeypatch.setattr("nilometer.integrations.store_servers.SERVERS_SHARED_MAX", 1)
    store = Measured(kind, registry, told=told_by_port)
    with traced_request() as spans:
        for port in (1, 2, 3, 2):
            store.client.port = port
            store.commands.servers.by_id.clear()
            store.do("GET")

    assert [span.attributes["server.port"] for span in spans[:-1]] == [1, 2, 3, 2]
    assert len(store.commands.servers._shared) == 1


@pytest.mark.parametrize("limit", ["SHAPES_MAX", "SHAPE_COMMANDS_MAX", "SPELLINGS_MAX", None])
def test_batches_say_the_same_whether_their_shape_is_remembered_or_not(
    kind, registry, monkeypatch, limit
):
    if limit:
        monkeypatch.setattr(f"nilometer.integrations.batches.{limit}", 0)
    said = [["GET", "get", b"SET"], ["SET"], ["GET", []], ["GET", "evil"], []]
    batches = iter(said * 3)
    store = Measured(kind, registry, read=lambda store: ("ALL", next(batches)))
    with traced_request() as spans:
        for _ in said * 2:
            store.run()
    for _ in said:
        store.run()

    summaries = [span.attributes["db.query.summary"] for span in spans[:-1]]
    sizes = [span.attributes["db.operation.batch.size"] for span in spans[:-1]]
    assert summaries == ["ALL GET SET", "ALL SET", "ALL GET OTHER", "ALL GET OTHER"] * 2
    assert sizes == [3, 1, 2, 2] * 2
    assert read(registry) == {
        "db.client.operation": series(12, "ALL"),
        "db.client.batch.operation": {
            **series(12, "GET"),
            **series(6, "OTHER"),
            **series(6, "SET"),
        },
    }


def test_a_flood_of_shapes_is_not_remembered(kind, registry, monkeypatch):
    monkeypatch.setattr("nilometer.integrations.batches.SHAPES_MAX", 3)
    lengths = iter(range(1, 21))
    store = Measured(kind, registry, read=lambda store: ("ALL", ["GET"] * next(lengths)))
    with traced_request() as spans:
        for _ in range(20):
            store.run()
    (server,) = store.commands.servers.by_id.values()

    sizes = [span.attributes["db.operation.batch.size"] for span in spans[:-1]]
    assert (sizes, len(server.runs)) == (list(range(1, 21)), 3)


def test_the_place_of_the_caller_is_told_once_that_is_asked_for(kind, registry):
    store = Measured(kind, registry)
    with traced_request() as spans:
        for level in (Level.BASIC, Level.DEEP, Level.BASIC):
            registry.set_level("integrations.store", level)
            store.do("GET")
            store.run()

    places = ["code.line.number" in span.attributes for span in spans[:-1]]
    assert places == [False, False, True, True, False, False]


def test_what_is_off_is_passed_on_and_so_is_what_has_ended(kind, registry):
    store = Measured(kind, registry)
    registry.set_level("integrations.store", Level.OFF)
    with traced_request() as spans:
        assert (store.do("GET"), store.run()) == (("GET", ()), "ran")
        registry.set_level("integrations.store", Level.BASIC)
        store.commands.end()
        assert (store.do("GET"), store.run()) == (("GET", ()), "ran")

    assert ([span.name for span in spans], read(registry)) == (["request"], {})
    assert registry.followers == []


def test_a_coroutine_function_stays_one():
    store = Measured(AsyncStore, Registry())

    assert asyncio.iscoroutinefunction(type(store.client).do)
    assert asyncio.iscoroutinefunction(type(store.client).run)


class Pool:
    """So many used and idle connections."""

    counts = (2, 3)


def test_pools_of_one_name_are_one_series_and_too_many_names_are_counted(registry, monkeypatch):
    monkeypatch.setattr("nilometer.integrations.pools.POOLS_MAX", 1)
    pools = Pools(lambda pool: pool.counts, registry)
    held = [Pool(), Pool(), Pool()]
    pools.watch("a", held[0])
    pools.watch("a", held[1])
    pools.watch("b", held[2])
    said = read(registry)

    name = "db.client.connection.pool.name=a,db.client.connection.state"
    assert said["db.client.connection.count"] == {f"{name}=used": 4, f"{name}=idle": 6}
    assert said["nilometer.lost"] == {"reason=too_many,what=pools": 1}
