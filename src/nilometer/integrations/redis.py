"""Redis: redis-py's commands, pipelines, connections, pools; sync, asyncio, cluster, Sentinel.

A command is timed where the client executes it: with its wait for a connection and its
retries, so a failover shows as the time that it took. What arrives by publish and subscribe is
no command.
"""

from __future__ import annotations

from functools import partial
from queue import Empty
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations import databases
from nilometer.integrations.batch_pure import Stack
from nilometer.integrations.calls import Call, Calls
from nilometer.integrations.commands import Commands
from nilometer.integrations.patches import Patches
from nilometer.integrations.pools import Pools
from nilometer.integrations.redis_bytes import begin
from nilometer.integrations.redis_words import COMMANDS
from nilometer.integrations.traffic import Traffic
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.calls import Operation
    from nilometer.measure import Registry

_BATCH: Final = "PIPELINE", "MULTI"
"""What a batch is called: as it comes, or as a transaction."""

_STACK: Final = Stack("command_stack", *_BATCH, ("explicit_transaction", "transaction"))
_ASYNC_STACK: Final = _STACK._replace(flags=("explicit_transaction", "is_transaction"))
"""Where pipelines have their commands; a cluster's have theirs elsewhere."""

_patches: Final = Patches()


def install(*, registry: Registry = REGISTRY) -> bool:
    """Measure every client of redis-py; False if that is done already.

    AttributeError if this redis-py is built otherwise; then it is left as it was.
    """
    if _patches.active:
        return False
    from redis import asyncio as redis_asyncio
    from redis import client, cluster, connection
    from redis.asyncio import client as async_client
    from redis.asyncio import cluster as async_cluster
    from redis.asyncio import connection as async_connection

    commands = Commands(
        *("redis", "redis", COMMANDS),
        told=server_of,
        registry=registry,
        lasting="connection_pool",  # a pipeline is made for each batch
    )
    connects = Calls(
        "redis",
        "db.client.connect",
        description="Making new connections to databases.",
        registry=registry,
        rests=True,
    )
    pools = Pools(connections_of, registry, connects.depth)
    traffic = Traffic("redis", "redis", begin, registry)
    _patches.also_end(commands, connects.depth, pools, traffic)
    owner: Any
    with _patches:
        for owner in (client.Redis, redis_asyncio.Redis):
            _patches.swap(owner, "execute_command", commands.by_argument())
        for owner in (cluster.RedisCluster, async_cluster.RedisCluster):
            _patches.swap(owner, "execute_command", commands.by_argument())
        for owner, stack in ((client.Pipeline, _STACK), (async_client.Pipeline, _ASYNC_STACK)):
            _patches.swap(owner, "immediate_execute_command", commands.by_argument())
            _patches.swap(owner, "execute", commands.batch(stack.read, stack))
        for owner in (cluster.ClusterPipeline, async_cluster.ClusterPipeline):
            _patches.swap(owner, "execute", commands.batch(cluster_pipeline_of))
        for module in (connection, async_connection):
            _measure_connections(module, connects, pools)
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()


def server_of(client: Any, *, ended: bool = True) -> dict[str, object] | None:
    """Where a client's commands go, as attributes; a cluster's go to any of its nodes.

    A Sentinel's client knows it when the command has `ended`.
    """
    pool = getattr(client, "connection_pool", None)
    if pool is None:
        return {}
    said = pool.connection_kwargs
    host, port = said.get("host") or said.get("path"), said.get("port")
    if hasattr(pool, "service_name"):
        if not ended:
            return None
        host, port = pool.master_address or (host, port)
    told = {
        "server.address": host,
        "server.port": port,
        "db.namespace": str(said.get("db") or 0),
    }
    return {name: value for name, value in told.items() if value is not None}


def pool_name(pool: Any) -> str:
    """``host:port/db``, as OpenTelemetry recommends; of Sentinel's pools the service's name."""
    service = getattr(pool, "service_name", None)
    if service is not None:
        return f"{service}" if pool.is_master else f"{service} replicas"
    said = pool.connection_kwargs
    path = said.get("path")
    place = path or f"{said.get('host', 'localhost')}:{said.get('port', 6379)}"
    return f"{place}/{said.get('db') or 0}"


def connections_of(pool: Any) -> tuple[int, int]:
    """How many connections of a pool are used, and how many idle: those that are open."""
    queue = getattr(pool, "pool", None)  # the pool that lets threads wait
    if queue is not None:
        kept = [one for one in list(queue.queue) if one is not None]
        return len(pool._connections) - len(kept), sum(map(_is_open, kept))
    return len(pool._in_use_connections), sum(map(_is_open, list(pool._available_connections)))


def _is_open(connection: Any) -> bool:
    """A pool keeps the objects of connections that it closed, to open them again."""
    told = getattr(connection, "is_connected", None)  # those of threads have it since 7
    return told if isinstance(told, bool) else getattr(connection, "_sock", True) is not None


def cluster_pipeline_of(pipeline: Any) -> tuple[str, list[object]]:
    """What a cluster's pipeline is, and the names of the commands in it."""
    strategy = getattr(
        pipeline, "_execution_strategy", None
    )  # before redis-py 6 there was none
    stack = (
        getattr(pipeline, "_command_stack", None) or pipeline.command_stack
        if strategy is None
        else strategy._command_queue
    )
    is_transaction = type(strategy).__name__ == "TransactionStrategy"
    return _BATCH[is_transaction], [command.args[0] for command in stack]


def _measure_connections(module: Any, connects: Calls, pools: Pools) -> None:
    """Both `redis.connection` and `redis.asyncio.connection`."""
    operation = connects.operation("CONNECT", "CONNECT", {"db.system.name": "redis"})
    connection, pool, blocking = (
        module.AbstractConnection,
        module.ConnectionPool,
        module.BlockingConnectionPool,
    )
    # Up to redis-py 5 `connect` itself did what others ask `connect_check_health` for now.
    method = (
        "connect_check_health" if hasattr(connection, "connect_check_health") else "connect"
    )
    # Some versions wrap their coroutine functions in functions that do not look like ones.
    is_async = module.__name__.startswith("redis.asyncio")
    _patches.swap(connection, method, partial(_connecting, operation, is_async))
    _patches.swap(blocking, "get_connection", partial(_waiting, pools, is_async))
    _patches.swap(pool, "make_connection", partial(_making, pools))
    if "make_connection" in vars(blocking):
        _patches.swap(blocking, "make_connection", partial(_making, pools))
    if hasattr(pool, "get_available_connection"):
        _patches.swap(pool, "get_available_connection", partial(_making, pools))


def _connecting(
    operation: Operation, is_async: bool, original: Callable[..., Any]
) -> Callable[..., Any]:
    """Called before each command: all but the first find a connection there."""
    depth = operation.calls.depth

    def connect(connection: Any, *args: Any, **options: Any) -> Any:
        with Call(operation):
            return original(connection, *args, **options)

    async def connect_async(connection: Any, *args: Any, **options: Any) -> Any:
        if connection.is_connected or not depth.on:
            return await original(connection, *args, **options)
        with Call(operation):
            return await original(connection, *args, **options)

    if is_async:
        return connect_async
    made = databases.Connecting(original, connect, "_sock")
    depth.switch(made)
    return made


def _waiting(pools: Pools, is_async: bool, original: Callable[..., Any]) -> Callable[..., Any]:
    def get(pool: Any, /, *args: Any, **options: Any) -> Any:
        with pools.wait(pool_name(pool), _is_timeout):
            return original(pool, *args, **options)

    async def get_async(pool: Any, /, *args: Any, **options: Any) -> Any:
        with pools.wait(pool_name(pool), _is_timeout):
            return await original(pool, *args, **options)

    return get_async if is_async else get


def _is_timeout(error: BaseException) -> bool:
    """redis-py raises the same error where a pool was empty for too long and for much else."""
    return isinstance(error.__cause__ or error.__context__, (Empty, TimeoutError)) and (
        "No connection available" in str(error)
    )


def _making(pools: Pools, original: Callable[..., Any]) -> Callable[..., Any]:
    """Where a pool makes a connection, or refuses to: it is known from now on."""

    def make(pool: Any, *args: Any, **options: Any) -> Any:
        try:
            made = original(pool, *args, **options)
        except Exception as error:
            if type(error).__name__ == "MaxConnectionsError":
                pools.timed_out(pool_name(pool))
            raise
        pools.watch(pool_name(pool), pool)
        return made

    return make
