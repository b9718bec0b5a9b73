"""pymongo, sync and asyncio: its commands and pools; a stand-in and a real wire server."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from contextlib import contextmanager, suppress
from importlib import import_module

import pymongo
import pytest
from bson import Int64, ObjectId
from pymongo import monitoring
from pymongo.errors import PyMongoError

from examples.servers.mongo import INSTALLED, MongoEco
from nilometer.integrations import faults
from nilometer.integrations import pymongo as ours
from nilometer.measure import Registry
from nilometer.model import Level, SpanKind, Status
from tests.counters.mongo_server import mongod
from tests.integrations.integration_kit import read, traced_request

pytestmark = pytest.mark.real

SECRET = "hunter2"
DUPLICATE = {"ok": 0.0, "code": 11000, "errmsg": f"E11000 duplicate key: {{ _id: '{SECRET}' }}"}


def answer(name):
    """What the stand-in says to a command; to "aggregate" it says nothing for a while."""
    if name == "find":
        batch = [{"_id": 1, "a": SECRET}]
        return {"cursor": {"id": Int64(0), "ns": "shop.orders", "firstBatch": batch}, "ok": 1.0}
    if name == "aggregate":
        time.sleep(1)
    if name in {"frobnicate", "update"}:
        return DUPLICATE
    return {"n": 2, "ok": 1.0}


@contextmanager
def stand_in(folder):
    with mongod(answer, ObjectId()) as port:
        yield port


@contextmanager
def mongoeco(folder):
    with MongoEco(folder) as server:
        yield server.port


@pytest.fixture(params=[stand_in, mongoeco] if INSTALLED else [stand_in])
def port(request, tmp_path):
    with request.param(tmp_path) as port:
        yield port


@pytest.fixture
def only_stand_in():
    with stand_in(None) as port:
        yield port


def absent(registry):
    raise AttributeError


@pytest.fixture(params=["runner", "events"])
def way(request, monkeypatch):
    """How pymongo is measured: an older one has not what `Runner` looks for."""
    if request.param == "events":
        monkeypatch.setattr(ours, "Runner", absent)
    return request.param


@pytest.fixture
def registry(way):
    registry = Registry()
    ours.install(registry=registry)
    yield registry
    ours.uninstall()


def by_sync(port, *todo, **options):
    """Run each of what is to do with a collection, and pass over what it raises."""
    with pymongo.MongoClient("127.0.0.1", port, **options) as client:
        for do in todo:
            with suppress(PyMongoError):
                done = do(client.shop.orders)
                if hasattr(done, "to_list"):
                    done.to_list()


def by_asyncio(port, *todo, **options):
    async def run():
        async with pymongo.AsyncMongoClient("127.0.0.1", port, **options) as client:
            for do in todo:
                with suppress(PyMongoError):
                    done = do(client.shop.orders)
                    await (done.to_list() if hasattr(done, "to_list") else done)

    asyncio.run(run())


@pytest.fixture(params=[by_sync, by_asyncio])
def use(request):
    return request.param


def insert(orders):
    return orders.insert_many([{"_id": 1, "a": SECRET}, {"_id": 2}])


def find(orders):
    return orders.find({"a": SECRET})


def frobnicate(orders):
    return orders.database.command("frobnicate", SECRET)


def series(value, **dimensions):
    given = {"db.system.name": "mongodb", **dimensions}
    return {",".join(f"{key}={given[key]}" for key in sorted(given)): value}


def of(name, **more):
    return {"db.operation.name": name, **more}


def test_commands_are_timed_and_their_errors_counted_by_name(use, port, registry):
    use(port, insert, find, find, frobnicate)
    said = read(registry)

    commands = said["db.client.operation"]
    commands = {key: commands[key] for key in commands if "endSessions" not in key}
    assert commands == {
        **series(1, **of("OTHER")),
        **series(2, **of("find")),
        **series(1, **of("insert")),
    }
    (failed,) = said["db.client.operation.errors"].items()
    assert failed[0].startswith(next(iter(series(1, **of("OTHER")))))
    assert sum(said["db.client.connect"].values()) >= 1


def test_what_finds_no_server_in_time_is_timed_and_counted_as_failed(use, free_port, registry):
    use(free_port(), insert, find, find, frobnicate, serverSelectionTimeoutMS=50)
    use(free_port(), find, serverSelectionTimeoutMS=50)
    said = read(registry)
    commands = said["db.client.operation"]

    assert {key: commands[key] for key in commands if "endSessions" not in key} == {
        **series(1, **of("OTHER")),
        **series(3, **of("find")),
        **series(1, **of("insert")),
    }
    why = {"error.type": "ServerSelectionTimeoutError"}
    errors = said["db.client.operation.errors"]
    assert {key: errors[key] for key in errors if "endSessions" not in key} == {
        **series(1, **of("OTHER"), **why),
        **series(3, **of("find"), **why),
        **series(1, **of("insert"), **why),
    }


def test_a_pymongo_that_looks_otherwise_for_servers_is_told_and_measured_all_the_same(
    way, only_stand_in, monkeypatch, caplog
):
    monkeypatch.setattr(ours, "Selection", absent)
    monkeypatch.setattr(faults, "_known", {})
    registry = Registry()
    ours.install(registry=registry)
    by_sync(only_stand_in, find)
    ours.uninstall()

    assert read(registry)["db.client.operation"].items() >= series(1, **of("find")).items()
    assert "operations that find no server are not measured" in caplog.text


def test_who_was_found_a_server_is_counted_once(use, port, registry):
    use(port, find, find)

    assert read(registry)["db.client.operation"] | series(1, **of("endSessions")) == {
        **series(2, **of("find")),
        **series(1, **of("endSessions")),
    }


def test_a_traced_command_is_a_span_with_its_collection_and_no_value(use, port, registry):
    with traced_request() as spans:
        use(port, insert, find, frobnicate)
    where = {
        "db.system.name": "mongodb",
        "db.namespace": "shop",
        "server.address": "127.0.0.1",
        "server.port": port,
    }
    kept = {span.name: span for span in spans}

    assert kept["insert orders"].attributes == {
        **where,
        "db.operation.name": "insert",
        "db.collection.name": "orders",
        "db.operation.batch.size": 2,
    }
    assert kept["find orders"].attributes == {
        **where,
        "db.operation.name": "find",
        "db.collection.name": "orders",
    }
    assert (kept["find orders"].kind, kept["find orders"].status) == (
        SpanKind.CLIENT,
        Status.UNSET,
    )
    (failed,) = [span for span in spans if span.status == Status.ERROR]
    assert failed.attributes["db.operation.name"] == "OTHER"
    assert failed.attributes["error.type"].startswith("pymongo.errors.")
    root = kept["request"]
    assert {span.parent_id for span in spans if span is not root} == {root.span_id}
    assert SECRET not in repr(spans)


def test_an_error_s_text_shows_no_value_that_it_names(use, only_stand_in, registry):
    with traced_request() as spans:
        use(only_stand_in, lambda orders: orders.update_one({"a": 1}, {"$set": {"a": SECRET}}))
    (span,) = [span for span in spans if span.name == "update orders"]

    assert (span.status, SECRET in repr(span)) == (Status.ERROR, False)


def test_names_that_nobody_knows_make_one_series(use, only_stand_in, registry):
    def named(number):
        return lambda orders: orders.database.command(f"evil{number}")

    use(only_stand_in, *map(named, range(20)))
    said = read(registry)["db.client.operation"]

    assert {key: n for key, n in said.items() if "endSessions" not in key} == series(
        20, **of("OTHER")
    )


def test_a_command_that_is_cancelled_ends_its_span(only_stand_in, registry):
    async def cancelled():
        async with pymongo.AsyncMongoClient("127.0.0.1", only_stand_in) as client:
            task = asyncio.ensure_future(client.shop.orders.aggregate([]))
            await asyncio.sleep(0.3)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await client.shop.orders.find({}).to_list()

    with traced_request() as spans:
        asyncio.run(cancelled())
    kept = {span.name: span for span in spans}

    assert kept["aggregate orders"].attributes["error.type"].endswith("CancelledError")
    assert kept["find orders"].parent_id == kept["request"].span_id
    said = read(registry)
    assert said["db.client.operation.errors"] == series(
        1, **of("aggregate", **{"error.type": "CancelledError"})
    )
    assert set(used_and_idle(said, only_stand_in)) == {0}


def test_a_command_that_a_signal_interrupts_ends_its_span(only_stand_in, registry):
    def interrupt():
        time.sleep(0.3)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    with (
        pymongo.MongoClient("127.0.0.1", only_stand_in) as client,
        traced_request() as spans,
    ):
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            client.shop.orders.aggregate([])
        thread.join()
        find(client.shop.orders).to_list()
    kept = {span.name: span for span in spans}

    assert kept["aggregate orders"].attributes["error.type"] == "KeyboardInterrupt"
    assert kept["find orders"].parent_id == kept["request"].span_id


def used_and_idle(said, port):
    pool = f"db.client.connection.pool.name=127.0.0.1:{port}"
    counts = said["db.client.connection.count"]
    return [counts[f"{pool},db.client.connection.state={state}"] for state in ("used", "idle")]


def test_a_pool_says_how_many_connections_are_used_and_idle(only_stand_in, registry):
    port = only_stand_in
    options = {"maxPoolSize": 1, "waitQueueTimeoutMS": 200, "retryReads": False}
    with pymongo.MongoClient("127.0.0.1", port, **options) as client:
        find(client.shop.orders).to_list()
        idle = used_and_idle(read(registry), port)
        slow = threading.Thread(target=lambda: client.shop.orders.aggregate([]))
        slow.start()
        time.sleep(0.2)
        waiter = threading.Thread(target=given_up, args=(client,))
        waiter.start()
        time.sleep(0.1)
        waiting = read(registry)
        waiter.join()
        slow.join()
        told = read(registry)
    after = used_and_idle(read(registry), port)

    pool = f"db.client.connection.pool.name=127.0.0.1:{port}"
    assert (idle, used_and_idle(waiting, port)) == ([0, 1], [1, 0])
    assert waiting["db.client.connection.pending_requests"] == {pool: 1}
    assert told["db.client.connection.pending_requests"] == {pool: 0}
    assert told["db.client.connection.timeouts"] == {pool: 1}
    assert told["db.client.connection.wait_time"] == {pool: 1}
    assert after == [0, 0]


def given_up(client):
    with suppress(PyMongoError):
        find(client.shop.orders).to_list()


def watched():
    """Whether a client that is closed still waits for what its watcher of servers asked."""
    return any(thread.name.startswith("pymongo_") for thread in threading.enumerate())


def test_bytes_are_those_that_the_server_counts(use, registry, wait_until):
    wait_until(lambda: not watched(), what="nobody asks the servers of other tests")
    registry.set_level("db.client", Level.DETAIL)
    messages = []
    with mongod(answer, ObjectId(), lambda *sizes: messages.append(sizes)) as port:
        # Servers are watched by connections of their own: until these have their answers.
        quiet = asyncio.sleep if use is by_asyncio else time.sleep
        use(port, insert, find, frobnicate, lambda _: quiet(0.3), serverMonitoringMode="poll")
    said = read(registry)

    received, sent = (sum(sizes) for sizes in zip(*messages, strict=True))
    assert said["db.client.sent.bytes"] == series(received)
    assert said["db.client.received.bytes"] == series(sent)


def test_an_integration_that_is_off_opens_no_span_and_times_nothing(use, port, registry):
    registry.set_level("integrations.pymongo", Level.OFF)
    with traced_request() as spans:
        use(port, find)

    assert [span.name for span in spans] == ["request"]
    # Of who waits events tell begin and end, which must not be told apart by a change of level.
    assert set(read(registry)) <= {"db.client.connection.pending_requests"}


def test_deep_down_a_command_says_where_it_was_called(use, port, registry):
    registry.set_level("integrations.pymongo", Level.DEEP)
    with traced_request() as spans:
        use(port, insert)
    (span,) = [span for span in spans if span.name == "insert orders"]

    assert span.attributes["code.file.path"] == "tests/real/test_pymongo.py"


def test_uninstalling_leaves_nothing_behind_and_silences_clients(only_stand_in, way):
    owners = [
        import_module(f"pymongo.{kind}.{module}")
        for kind in ("synchronous", "asynchronous")
        for module in ("command_runner", "pool")
    ]
    owners += [owner.Pool for owner in owners if hasattr(owner, "Pool")]

    def state():
        return [dict(vars(owner)) for owner in owners], [
            list(listeners) for listeners in monitoring._LISTENERS
        ]

    before = state()
    registry = Registry()

    assert (ours.install(registry=registry), ours.install(registry=registry)) == (True, False)
    assert state() != before
    with pymongo.MongoClient("127.0.0.1", only_stand_in) as client:
        find(client.shop.orders).to_list()
        assert "db.client.operation" in read(registry)
        ours.uninstall()
        assert state() == before
        find(client.shop.orders).to_list()
    assert "db.client.operation" not in read(registry)
    assert registry.followers == []
