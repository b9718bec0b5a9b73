"""redis-py against a real Redis: commands, pipelines, pools, connections, bytes, failover."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from contextlib import suppress

import pytest
import redis as redis_py
from redis import asyncio as redis_asyncio
from redis.asyncio import BlockingConnectionPool as AsyncBlockingConnectionPool
from redis.cluster import RedisCluster
from redis.sentinel import Sentinel as SentinelClient

from examples.servers.brokers import Redis, Sentinel, free_ports
from nilometer.integrations import redis as ours
from nilometer.integrations import traffic
from nilometer.measure import Registry
from nilometer.model import Level, SpanKind, Status
from tests.brokers import reachable_folder, redis  # noqa: F401
from tests.integrations.integration_kit import read, traced_request

pytestmark = pytest.mark.real

SECRET = "hunter2"


@pytest.fixture
def registry():
    registry = Registry()
    ours.install(registry=registry)
    yield registry
    ours.uninstall()


def by_sync(server, *commands):
    """What each command gave, or what it raised."""
    answers = []
    with redis_py.Redis(port=server.port) as client:
        for command in commands:
            try:
                answers.append(client.execute_command(*command))
            except redis_py.RedisError as error:
                answers.append(type(error).__name__)
    return answers


def by_asyncio(server, *commands):
    async def ask():
        answers = []
        async with redis_asyncio.Redis(port=server.port) as client:
            for command in commands:
                try:
                    answers.append(await client.execute_command(*command))
                except redis_py.RedisError as error:
                    answers.append(type(error).__name__)
        return answers

    return asyncio.run(ask())


@pytest.fixture(params=[by_sync, by_asyncio])
def ask(request):
    return request.param


def only(value, **dimensions):
    """One series of commands, as `read` gives it."""
    given = {"db.system.name": "redis", **dimensions}
    return {",".join(f"{key}={given[key]}" for key in sorted(given)): value}


def of(name):
    return {"db.operation.name": name}


def test_commands_are_timed_and_their_errors_counted_by_name(ask, redis, registry):  # noqa: F811
    answers = ask(redis, ("SET", "k", "v"), ("get", "k"), (b"GET", "k"), ("LPUSH", "k", "x"))
    said = read(registry)

    assert answers[1:] == [b"v", b"v", "ResponseError"]
    assert said["db.client.operation"] == {
        **only(2, **of("GET")),
        **only(1, **of("LPUSH")),
        **only(1, **of("SET")),
    }
    assert said["db.client.operation.errors"] == only(
        1, **of("LPUSH"), **{"error.type": "ResponseError"}
    )
    assert said["db.client.connect"] == only(1)


def test_a_traced_command_is_a_span_that_shows_where_and_no_value(ask, redis, registry):  # noqa: F811
    with traced_request() as spans:
        ask(redis, ("SET", "k", SECRET), ("FROBNICATE", SECRET))

    kept = {span.name: span for span in spans}
    where = {
        "server.address": "localhost",
        "server.port": redis.port,
        "db.namespace": "0",
        "db.system.name": "redis",
    }
    assert [span.name for span in spans] == ["CONNECT", "SET", "OTHER", "request"]
    assert kept["SET"].attributes == {**where, "db.operation.name": "SET"}
    assert (kept["SET"].kind, kept["SET"].status) == (SpanKind.CLIENT, Status.UNSET)
    assert kept["OTHER"].attributes == {
        **where,
        "db.operation.name": "OTHER",
        "error.type": "redis.exceptions.ResponseError",
    }
    assert kept["OTHER"].status == Status.ERROR
    assert SECRET not in repr(spans)


def test_names_that_redis_does_not_know_make_one_series(ask, redis, registry):  # noqa: F811
    ask(redis, *((f"EVIL{number}", "x") for number in range(50)), (" ", "x"))

    assert read(registry)["db.client.operation"] == only(51, **of("OTHER"))


def test_a_command_with_subcommands_is_one_name(ask, redis, registry):  # noqa: F811
    ask(redis, ("CONFIG GET", "save"), ("CONFIG", "GET", "save"))

    assert read(registry)["db.client.operation"] == only(2, **of("CONFIG"))


def test_a_call_without_a_command_fails_as_without_us(redis, registry):  # noqa: F811
    with redis_py.Redis(port=redis.port) as client:
        with pytest.raises(IndexError):
            client.execute_command()
        with pytest.raises(redis_py.DataError):
            client.execute_command(b"GET", {})


def run_pipeline(server, transaction, *commands):
    with redis_py.Redis(port=server.port) as client:
        pipeline = client.pipeline(transaction=transaction)
        for command in commands:
            pipeline.execute_command(*command)
        with suppress(redis_py.RedisError):
            pipeline.execute()


def run_async_pipeline(server, transaction, *commands):
    async def run():
        async with redis_asyncio.Redis(port=server.port) as client:
            pipeline = client.pipeline(transaction=transaction)
            for command in commands:
                pipeline.execute_command(*command)
            with suppress(redis_py.RedisError):
                await pipeline.execute()

    asyncio.run(run())


@pytest.mark.parametrize("run", [run_pipeline, run_async_pipeline])
@pytest.mark.parametrize(("transaction", "name"), [(True, "MULTI"), (False, "PIPELINE")])
def test_a_pipeline_is_one_span_and_counts_its_commands(
    run,
    transaction,
    name,
    redis,  # noqa: F811
    registry,
):
    with traced_request() as spans:
        run(redis, transaction, ("SET", "k", "v"), ("GET", "k"), ("GET", "k"))
    (span,) = [span for span in spans if span.name == name]
    said = read(registry)

    assert {key: span.attributes[key] for key in span.attributes if key.startswith("db")} == {
        "db.system.name": "redis",
        "db.operation.name": name,
        "db.operation.batch.size": 3,
        "db.query.summary": f"{name} SET GET",
        "db.namespace": "0",
    }
    assert said["db.client.operation"] == only(1, **of(name))
    assert said["db.client.batch.operation"] == {
        **only(2, **of("GET")),
        **only(1, **of("SET")),
    }


@pytest.mark.parametrize("run", [run_pipeline, run_async_pipeline])
def test_a_pipeline_that_fails_ends_its_span_and_shows_no_command(run, redis, registry):  # noqa: F811
    with traced_request() as spans:
        run(redis, True, ("SET", "k", "v"), ("LPUSH", "k", SECRET))
    (span,) = [span for span in spans if span.name == "MULTI"]

    assert (span.status, SECRET in repr(span)) == (Status.ERROR, False)
    assert read(registry)["db.client.operation.errors"] == only(
        1, **of("MULTI"), **{"error.type": "ResponseError"}
    )


def test_what_a_transaction_watches_and_reads_before_it_are_commands(redis, registry):  # noqa: F811
    with redis_py.Redis(port=redis.port) as client, client.pipeline() as pipeline:
        pipeline.watch("k")
        pipeline.get("k")
        pipeline.multi()
        pipeline.set("k", "v")
        pipeline.execute()

    assert read(registry)["db.client.operation"] == {
        **only(1, **of("GET")),
        **only(1, **of("MULTI")),
        **only(1, **of("WATCH")),
    }


def test_messages_that_arrive_are_no_commands(redis, registry):  # noqa: F811
    with redis_py.Redis(port=redis.port) as client, client.pubsub() as subscribed:
        subscribed.subscribe("news")
        assert subscribed.get_message(timeout=5)["type"] == "subscribe"
        client.publish("news", "x")
        assert subscribed.get_message(timeout=5)["data"] == b"x"

    assert read(registry)["db.client.operation"] == only(1, **of("PUBLISH"))


def test_a_command_that_is_cancelled_ends_its_span(redis, registry):  # noqa: F811
    async def wait():
        async with redis_asyncio.Redis(port=redis.port) as client:
            task = asyncio.create_task(client.blpop("nothing", 30))
            while not await client.client_list(_type="normal") or not any(
                one["cmd"] == "blpop" for one in await client.client_list()
            ):
                await asyncio.sleep(0.01)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    with traced_request() as spans:
        asyncio.run(wait())
    (span,) = [span for span in spans if span.name == "BLPOP"]

    assert span.attributes["error.type"] == "asyncio.exceptions.CancelledError"
    assert read(registry)["db.client.operation.errors"] == only(
        1, **of("BLPOP"), **{"error.type": "CancelledError"}
    )


def test_a_server_that_is_gone_fails_connects_and_commands(ask, registry, free_port):
    class Gone:
        port = free_port()

    with traced_request() as spans:
        assert ask(Gone, ("GET", "k")) == ["ConnectionError"]
    said = read(registry)

    assert {span.name: span.status for span in spans} == {
        "CONNECT": Status.ERROR,
        "GET": Status.ERROR,
        "request": Status.UNSET,
    }
    assert said["db.client.operation"] == only(1, **of("GET"))
    (attempts,) = said["db.client.connect"].values()
    assert said["db.client.connect.errors"] == only(
        attempts, **{"error.type": "ConnectionError"}
    )


def in_pool(server, **states):
    name = f"127.0.0.1:{server.port}/0"
    return {
        f"db.client.connection.pool.name={name},db.client.connection.state={state}": count
        for state, count in states.items()
    }


def test_a_pool_says_how_many_connections_are_used_and_idle(redis, registry):  # noqa: F811
    pool = redis_py.ConnectionPool(host="127.0.0.1", port=redis.port, max_connections=2)
    held = [pool.get_connection(), pool.get_connection()]
    pool.release(held[0])
    said = read(registry)["db.client.connection.count"]
    with suppress(redis_py.RedisError):
        pool.get_connection(), pool.get_connection()

    assert said == in_pool(redis, used=1, idle=1)
    assert read(registry)["db.client.connection.timeouts"] == {
        f"db.client.connection.pool.name=127.0.0.1:{redis.port}/0": 1
    }
    pool.release(held[1])
    pool.disconnect()
    said = read(registry)["db.client.connection.count"]
    assert said == in_pool(redis, used=1, idle=0), "it keeps it to open it again, and no server"
    del pool, held
    gc.collect()
    assert read(registry)["db.client.connection.count"] == in_pool(redis, used=0), (
        "what was used last is told to be none once"
    )
    assert "db.client.connection.count" not in read(registry), (
        "a pool that is gone says nothing"
    )


def wait_in_a_thread(server, registry):
    pool = redis_py.BlockingConnectionPool(
        max_connections=1, timeout=0.2, host="127.0.0.1", port=server.port
    )
    held = pool.get_connection()
    waiter = threading.Thread(target=late, args=(pool,))
    waiter.start()
    said = read(registry)
    while not any(said.get("db.client.connection.pending_requests", {}).values()):
        said = read(registry)
        time.sleep(0.01)
    waiter.join()
    pool.release(held)
    pool.disconnect()
    return said


def late(pool):
    with suppress(redis_py.ConnectionError):
        pool.get_connection()


def wait_in_a_task(server, registry):
    async def wait():
        pool = AsyncBlockingConnectionPool(
            max_connections=1, timeout=0.2, host="127.0.0.1", port=server.port
        )
        held = await pool.get_connection()
        waiter = asyncio.create_task(pool.get_connection())
        await asyncio.sleep(0.05)
        said = read(registry)
        with suppress(redis_py.ConnectionError):
            await waiter
        await pool.release(held)
        await pool.disconnect()
        return said

    return asyncio.run(wait())


@pytest.mark.parametrize("wait", [wait_in_a_thread, wait_in_a_task])
def test_who_waits_for_a_connection_is_seen_and_timed_and_may_time_out(wait, redis, registry):  # noqa: F811
    waiting = wait(redis, registry)
    said = read(registry)

    pool = f"db.client.connection.pool.name=127.0.0.1:{redis.port}/0"
    assert waiting["db.client.connection.pending_requests"] == {pool: 1}
    assert waiting["db.client.connection.count"] == in_pool(redis, used=1, idle=0)
    assert said["db.client.connection.pending_requests"] == {pool: 0}
    assert said["db.client.connection.timeouts"] == {pool: 1}
    assert said["db.client.connection.wait_time"] == {pool: 1}


def server_bytes(server):
    with redis_py.Redis(port=server.port, single_connection_client=True) as client:
        stats = client.info("stats")
    return stats["total_net_input_bytes"], stats["total_net_output_bytes"]


def test_bytes_are_those_that_the_server_counts(ask, redis, registry):  # noqa: F811
    registry.set_level("db.client.sent", Level.DETAIL)
    registry.set_level("db.client.received", Level.DETAIL)
    server_bytes(redis)
    read(registry)
    before = server_bytes(redis)
    asking = read(registry)
    ask(redis, ("SET", "k", "v" * 100_000), ("GET", "k"), ("LRANGE", "none", 0, -1))
    told = read(registry)
    after = server_bytes(redis)

    by_reading = [next(iter(asking[f"db.client.{way}.bytes"].values())) for way in WAYS]
    ours_moved = [next(iter(told[f"db.client.{way}.bytes"].values())) for way in WAYS]
    moved = [later - sooner for sooner, later in zip(before, after, strict=True)]
    # Redis counts what it was sent and has not answered yet, and an answer when it is written:
    # so each of its figures holds one reading's request, and the answer of the reading before.
    assert ours_moved[0] == moved[0] - by_reading[0]
    assert abs(ours_moved[1] - (moved[1] - by_reading[1])) <= 16, "INFO's own length varies"


WAYS = ("sent", "received")


def test_bytes_cost_nothing_at_another_level(redis, registry):  # noqa: F811
    from redis.connection import AbstractConnection

    assert AbstractConnection.send_packed_command.__module__ == "redis.connection"
    registry.set_level("db.client", Level.DETAIL)
    assert AbstractConnection.send_packed_command.__module__ == traffic.__name__
    registry.set_level("db.client", Level.BASIC)
    assert AbstractConnection.send_packed_command.__module__ == "redis.connection"


def test_an_integration_that_is_off_passes_all_on_untouched(ask, redis, registry):  # noqa: F811
    registry.set_level("integrations.redis", Level.OFF)
    with traced_request() as spans:
        ask(redis, ("SET", "k", "v"))
        run_pipeline(redis, True, ("GET", "k"))

    assert [span.name for span in spans] == ["request"]
    assert read(registry) == {}


def test_deep_down_a_command_says_where_it_was_called(ask, redis, registry):  # noqa: F811
    registry.set_level("integrations.redis", Level.DEEP)
    with traced_request() as spans:
        ask(redis, ("SET", "k", "v"))
    (span,) = [span for span in spans if span.name == "SET"]

    assert span.attributes["code.file.path"] == "tests/real/test_redis.py"
    assert span.attributes["code.function.name"] in ("by_sync", "by_asyncio.ask")


@pytest.fixture
def watched(tmp_path):
    """A master, its replica, and a Sentinel that knows both."""
    with Redis(tmp_path / "one") as master:
        options = ("--replicaof", "127.0.0.1", str(master.port))
        with (
            Redis(tmp_path / "two", options=options) as replica,
            Sentinel(tmp_path / "watch", master) as sentinel,
        ):
            client = redis_py.Redis(port=sentinel.port)
            until(lambda: client.sentinel_slaves(sentinel.service))
            until(lambda: client.sentinel_slaves(sentinel.service)[0]["port"] == replica.port)
            client.close()
            yield master, replica, sentinel


def until(happened):
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        with suppress(redis_py.RedisError):
            if happened():
                return
        time.sleep(0.05)
    raise AssertionError("it did not happen within a minute")


def test_after_a_failover_commands_go_to_the_new_master_and_say_so(watched, registry):
    master, replica, sentinel = watched
    finder = SentinelClient([("127.0.0.1", sentinel.port)], socket_timeout=1)
    client = finder.master_for(sentinel.service, socket_timeout=1)
    ports = []

    def put():
        with traced_request() as spans:
            client.set("k", "v")
        ports.extend(span.attributes["server.port"] for span in spans if span.name == "SET")
        return True

    put()
    read(registry)
    master.stop()
    until(put)
    said = read(registry)

    assert (ports[0], ports[-1]) == (master.port, replica.port)
    failed = said["db.client.operation.errors"]
    assert sum(n for series, n in failed.items() if "db.operation.name=SET" in series) >= 1
    assert said["db.client.connection.count"] == {
        "db.client.connection.pool.name=river,db.client.connection.state=idle": 1,
        "db.client.connection.pool.name=river,db.client.connection.state=used": 0,
        **{
            key: value
            for key, value in said["db.client.connection.count"].items()
            if f":{sentinel.port}/" in key
        },
    }


@pytest.fixture
def cluster(tmp_path):
    """A cluster of one node, which has all slots."""
    (bus,) = free_ports(1)
    options = (
        *("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"),
        *("--cluster-port", str(bus)),  # else 10,000 above its own, which there may not be
    )
    with Redis(tmp_path / "node", options=options) as node:
        with redis_py.Redis(port=node.port) as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            until(lambda: b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO"))
        yield node


def in_cluster(node):
    with RedisCluster(host="127.0.0.1", port=node.port) as client:
        client.set("k", "v")
        with client.pipeline() as pipeline:
            pipeline.get("k")
            pipeline.get("k")
            assert pipeline.execute() == [b"v", b"v"]


def in_cluster_async(node):
    async def ask():
        async with redis_asyncio.RedisCluster(host="127.0.0.1", port=node.port) as client:
            await client.set("k", "v")
            async with client.pipeline() as pipeline:
                pipeline.get("k")
                pipeline.get("k")
                assert await pipeline.execute() == [b"v", b"v"]

    asyncio.run(ask())


@pytest.mark.parametrize("use", [in_cluster, in_cluster_async])
def test_a_cluster_s_commands_and_pipelines_are_measured_once(use, cluster, registry):
    with traced_request() as spans:
        use(cluster)
    said = read(registry)

    asked = {
        series: count
        for series, count in said["db.client.operation"].items()
        if not any(word in series for word in ("CLUSTER", "INFO", "COMMAND"))  # how it looks
    }
    assert asked == {**only(1, **of("PIPELINE")), **only(1, **of("SET"))}
    assert said["db.client.batch.operation"] == only(2, **of("GET"))
    assert {"SET", "PIPELINE"} <= {span.name for span in spans}


def test_uninstalling_leaves_nothing_behind():
    from redis.asyncio import cluster as async_cluster
    from redis.asyncio import connection as async_connection

    owners = (
        *(redis_py.Redis, redis_asyncio.Redis, RedisCluster, async_cluster.RedisCluster),
        *(redis_py.client.Pipeline, redis_asyncio.client.Pipeline),
        *(redis_py.cluster.ClusterPipeline, async_cluster.ClusterPipeline),
        *(redis_py.connection.AbstractConnection, async_connection.AbstractConnection),
        *(redis_py.ConnectionPool, redis_py.BlockingConnectionPool),
        *(async_connection.ConnectionPool, async_connection.BlockingConnectionPool),
        redis_py._parsers.socket.SocketBuffer,
    )
    before = [dict(vars(owner)) for owner in owners]
    registry = Registry()
    registry.set_level("db.client", Level.DETAIL)

    assert (ours.install(registry=registry), ours.install(registry=registry)) == (True, False)
    assert [dict(vars(owner)) for owner in owners] != before
    ours.uninstall()
    assert [dict(vars(owner)) for owner in owners] == before
    assert registry.followers == []


def test_a_redis_py_that_is_built_otherwise_is_left_as_it_was(monkeypatch):
    before = redis_py.Redis.execute_command
    monkeypatch.delattr(redis_asyncio.client.Pipeline, "execute")

    with pytest.raises(AttributeError):
        ours.install(registry=Registry())
    assert redis_py.Redis.execute_command is before
