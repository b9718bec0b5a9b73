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
from nilometer.integrations.calls import OPERATIONS_MAX, Call
from nilometer.integrations.mongo_commands import (
    SYSTEM,
    MongoCommands,
    collection_of,
    dimensions_of,
    name_of,
    place_of,
    tell_size,
)
from nilometer.integrations.mongo_words import MANY
from nilometer.integrations.patches import Patches
from nilometer.integrations.pools import Pools, Wait
from nilometer.integrations.standing import chosen, switched
from nilometer.measure.decorate import kind_of
from nilometer.trace import CURRENT, current_span

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.calls import Inside
    from nilometer.measure import Registry

PACKAGES = ("pymongo.synchronous", "pymongo.asynchronous")


class Runner(MongoCommands):
    """Patches of pymongo; AttributeError or ImportError if it is built otherwise."""

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry, client_costs.mongo_command)
        self._pools = Pools(connections_of, registry, self.connects.depth)
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

        measured = get_async if kind_of(original) == "coroutine" else get
        return switched(self.connects.depth, original, measured)

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
    of = Ways(commands, original).of

    def choose(
        conn: Any, cmd: Any, dbname: str, *_: Any, listeners: Any = None, **__: Any
    ) -> Callable[..., Any]:
        return original if listeners is None else of(conn, cmd, dbname)

    return chosen(commands.calls.depth, original, choose)


class Ways:
    """How commands are run: by name where nothing is traced, else by all that spans show."""

    def __init__(self, commands: MongoCommands, original: Callable[..., Any]) -> None:
        self._commands = commands
        self._original = original
        self._timed: dict[str, Callable[..., Any]] = {}
        self._by_name: dict[str, Callable[..., Any]] = {}
        self._inside: dict[tuple[str, str, str, Any], Inside] = {}

    def of(self, conn: Any, cmd: Any, dbname: str) -> Callable[..., Any]:
        """What runs this command."""
        given = next(iter(cmd))
        if CURRENT.get() is None:
            return self._timed.get(given) or self._find(given)
        key = given, dbname, collection_of(cmd, given), conn.address
        inside = self._inside.get(key) or self._find_inside(key)
        return inside[self._commands.calls.depth.deep]

    def _find(self, given: str) -> Callable[..., Any]:
        name = name_of(given)
        found = self._by_name.get(name)
        if found is None:
            timed = self._commands.calls.timed(dimensions_of(given))
            found = self._by_name[name] = timed(self._original)
        if given == name:
            self._timed[given] = found
        return found

    def _find_inside(self, key: tuple[str, str, str, Any]) -> Inside:
        function = _telling(self._original, key[0]) if key[0] in MANY else self._original
        made = self._commands.calls.timed_inside(function, self._commands.operation(key))
        if len(self._inside) < OPERATIONS_MAX:
            self._inside[key] = made
        return made


def _telling(original: Callable[..., Any], given: str) -> Callable[..., Any]:
    """The original whose span says how many things the command does."""

    def tell(conn: Any, cmd: Any, *rest: Any, **named: Any) -> Any:
        tell_size(current_span(), given, named.get("orig") or cmd)
        return original(conn, cmd, *rest, **named)

    async def tell_async(conn: Any, cmd: Any, *rest: Any, **named: Any) -> Any:
        tell_size(current_span(), given, named.get("orig") or cmd)
        return await original(conn, cmd, *rest, **named)

    return tell_async if kind_of(original) == "coroutine" else tell
