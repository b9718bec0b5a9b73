"""pymemcache: commands of its clients (plain, pooled, hashed), connects, pools and bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from nilometer.integrations.calls import Call, Calls
from nilometer.integrations.commands import Commands
from nilometer.integrations.memcached_words import COMMANDS
from nilometer.integrations.patches import Patches
from nilometer.integrations.pools import Pools
from nilometer.integrations.traffic import Traffic
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.calls import Operation
    from nilometer.measure import Registry

_patches: Final = Patches()
_names: Final[WeakKeyDictionary[Any, str]] = WeakKeyDictionary()


def install(*, registry: Registry = REGISTRY) -> bool:
    """Measure every client of pymemcache; False if that is done already.

    AttributeError if this pymemcache is built otherwise; then it is left as it was.
    """
    if _patches.active:
        return False
    from pymemcache.client.base import Client, PooledClient
    from pymemcache.pool import ObjectPool

    commands = Commands(
        "pymemcache",
        "memcached",
        COMMANDS,
        told=server_of,
        registry=registry,
        fold=str.lower,
    )
    connects = Calls(
        "pymemcache",
        "db.client.connect",
        description="Making new connections to databases.",
        registry=registry,
    )
    pools = Pools(connections_of, registry, connects.depth)
    _patches.also_end(commands, connects.depth, pools)
    operation = connects.operation("CONNECT", "CONNECT", {"db.system.name": "memcached"})
    with _patches:
        for method, position in (("_fetch_cmd", 1), ("_store_cmd", 1), ("_misc_cmd", 2)):
            _patches.swap(Client, method, commands.by_argument(position))
        _patches.swap(Client, "_connect", lambda original: _connecting(original, operation))
        _patches.swap(PooledClient, "__init__", lambda original: _made(original, pools))
        _patches.swap(ObjectPool, "get", lambda original: _getting(original, pools))
        # It replaces `_connect` as well: put on last, it is taken off first.
        _patches.also_end(Traffic("pymemcache", "memcached", _count_bytes, registry))
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()
    _names.clear()


def server_of(client: Any, *, ended: bool = True) -> dict[str, object]:  # noqa: ARG001
    """Where a client's commands go, as attributes."""
    if isinstance(client.server, tuple):
        host, port = client.server
        return {"server.address": host, "server.port": port}
    return {"server.address": str(client.server)}


def connections_of(pool: Any) -> tuple[int, int]:
    """How many clients of a pool are used, and how many idle: each has one connection."""
    return len(pool._used_objs), len(pool._free_objs)


def _connecting(original: Callable[..., Any], operation: Operation) -> Callable[..., Any]:
    def connect(client: Any) -> Any:
        if not operation.calls.depth.on:
            return original(client)
        with Call(operation):
            return original(client)

    return connect


def _made(original: Callable[..., Any], pools: Pools) -> Callable[..., Any]:
    def init(client: Any, *args: Any, **options: Any) -> None:
        original(client, *args, **options)
        name = ":".join(map(str, server_of(client).values()))
        _names[client.client_pool] = name
        pools.watch(name, client.client_pool)

    return init


def _getting(original: Callable[..., Any], pools: Pools) -> Callable[..., Any]:
    """A pool does not let wait: one that is used up refuses, by a RuntimeError of its own."""

    def get(pool: Any) -> Any:
        try:
            return original(pool)
        except RuntimeError:
            if pool in _names:
                pools.timed_out(_names[pool])
            raise

    return get


def _count_bytes(traffic: Traffic) -> None:
    from pymemcache.client import base

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def connect(client: Any) -> None:
            original(client)
            client.sock = Counting(client.sock, traffic)

        return connect

    traffic.patches.swap(base.Client, "_connect", counted)


class Counting:
    """A socket that counts; one that was connected while bytes were counted stays it."""

    __slots__ = ("_socket", "_traffic")

    def __init__(self, socket: Any, traffic: Traffic) -> None:
        self._socket = socket
        self._traffic = traffic

    def sendall(self, data: bytes) -> None:
        """As the socket's."""
        self._traffic.sent(len(data))
        self._socket.sendall(data)

    def recv(self, size: int) -> bytes:
        """As the socket's."""
        data: bytes = self._socket.recv(size)
        self._traffic.received(len(data))
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)
