"""pymongo's commands and pools where it runs them, for versions that run all in one place.

Its events cost 3 us a command before anybody has looked at one; a function around the one that
sends and receives costs a tenth of that, and sees cancellations, too. Pools are read.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from nilometer.integrations import client_costs
from nilometer.integrations.calls import Call
from nilometer.integrations.mongo_commands import (
    SYSTEM,
    MongoCommands,
    dimensions_of,
    name_of,
    place_of,
    tell_size,
)
from nilometer.integrations.patches import Patches
from nilometer.integrations.pools import Pools, Wait
from nilometer.measure.decorate import kind_of
from nilometer.trace import CURRENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.measure import Registry

PACKAGES = ("pymongo.synchronous", "pymongo.asynchronous")


class Runner(MongoCommands):
    """Patches of pymongo; AttributeError or ImportError if it is built otherwise."""

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry, client_costs.mongo_command)
        self._pools = Pools(connections_of, registry)
        self._waits: WeakKeyDictionary[Any, Callable[[], Wait]] = WeakKeyDictionary()
        self._patches = Patches()
        try:
            for package in PACKAGES:
                runner = import_module(f"{package}.command_runner")
                pool: Any = import_module(f"{package}.pool").Pool
                self._patches.swap(runner, "_run_command", partial(running, self))
                self._patches.swap(pool, "__init__", self._making)
                self._patches.swap(pool, "_get_conn", self._getting)
                self._patches.swap(pool, "connect", self._connecting)
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Leave nothing behind in pymongo."""
        self._patches.undo()
        super().end()
        self._pools.end()

    def _making(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def init(pool: Any, *args: Any, **named: Any) -> None:
            original(pool, *args, **named)
            if not pool.is_sdam:  # else a monitor's
                name = place_of(pool.address)
                pending, waits = self._pools.series(name)
                self._waits[pool] = lambda: Wait(self._pools, name, _is_timeout, pending, waits)
                self._pools.watch(name, pool)

        return init

    def _getting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def get(pool: Any, *args: Any, **named: Any) -> Any:
            wait = self._waits.get(pool)
            if wait is None:
                return original(pool, *args, **named)
            with wait():
                return original(pool, *args, **named)

        async def get_async(pool: Any, *args: Any, **named: Any) -> Any:
            wait = self._waits.get(pool)
            if wait is None:
                return await original(pool, *args, **named)
            with wait():
                return await original(pool, *args, **named)

        return get_async if kind_of(original) == "coroutine" else get

    def _connecting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        operation = self.connects.operation("CONNECT", "CONNECT", {"db.system.name": SYSTEM})
        depth = self.connects.depth

        def connect(pool: Any, *args: Any, **named: Any) -> Any:
            if not depth.on or pool.is_sdam:
                return original(pool, *args, **named)
            with Call(operation):
                return original(pool, *args, **named)

        async def connect_async(pool: Any, *args: Any, **named: Any) -> Any:
            if not depth.on or pool.is_sdam:
                return await original(pool, *args, **named)
            with Call(operation):
                return await original(pool, *args, **named)

        return connect_async if kind_of(original) == "coroutine" else connect


def connections_of(pool: Any) -> tuple[int, int]:
    """How many connections of a pool are used, and how many idle."""
    return pool.active_sockets, len(pool.conns)


def _is_timeout(error: BaseException) -> bool:
    return type(error).__name__ == "WaitQueueTimeoutError"


def running(commands: MongoCommands, original: Callable[..., Any]) -> Callable[..., Any]:
    """Around the function that sends a command and takes its answer.

    What nobody is to hear of (a pool that greets, a monitor) has no listeners.
    """
    depth, current = commands.calls.depth, CURRENT.get
    timed: dict[str, Callable[..., Any]] = {}
    by_name: dict[str, Callable[..., Any]] = {}

    def find(given: str) -> Callable[..., Any]:
        name = name_of(given)
        found = by_name.get(name)
        if found is None:
            found = by_name[name] = commands.calls.timed(dimensions_of(given))(original)
        if given == name:
            timed[given] = found
        return found

    def run(conn: Any, cmd: Any, dbname: str, *rest: Any, **named: Any) -> Any:
        if not depth.on or named.get("listeners") is None:
            return original(conn, cmd, dbname, *rest, **named)
        given = next(iter(cmd))
        if current() is None:
            return (timed.get(given) or find(given))(conn, cmd, dbname, *rest, **named)
        with commands.call(given, cmd, dbname, conn.address) as call:
            tell_size(call, given, named.get("orig") or cmd)
            return original(conn, cmd, dbname, *rest, **named)

    async def run_async(conn: Any, cmd: Any, dbname: str, *rest: Any, **named: Any) -> Any:
        if not depth.on or named.get("listeners") is None:
            return await original(conn, cmd, dbname, *rest, **named)
        given = next(iter(cmd))
        if current() is None:
            run = timed.get(given) or find(given)
            return await run(conn, cmd, dbname, *rest, **named)
        with commands.call(given, cmd, dbname, conn.address) as call:
            tell_size(call, given, named.get("orig") or cmd)
            return await original(conn, cmd, dbname, *rest, **named)

    return run_async if kind_of(original) == "coroutine" else run
