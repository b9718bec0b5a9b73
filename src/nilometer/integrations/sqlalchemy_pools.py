"""SQLAlchemy's pools: who waits, what is used, making and pinging connections.

What is put into a pool refers to it and it to that, and nobody else does: an engine's
``dispose()`` makes a new pool each time, and the old ones must be able to go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from nilometer.clock import elapsed_ns
from nilometer.integrations import costs, databases
from nilometer.integrations.drivers import CONNECTING
from nilometer.integrations.patches import Patches
from nilometer.integrations.pools import Pools

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.databases import Database, Instruments


class EnginePools:
    """All pools of measured engines, in one registry."""

    __slots__ = ("instruments", "shared", "_timeout", "_pings", "_all")

    def __init__(self, instruments: Instruments, timeout: type[Exception]) -> None:
        registry = instruments.registry
        self.instruments = instruments
        self.shared = Pools(EnginePool.counts, registry, instruments.depth)
        registry.costs_also("db.client.connection.wait_time", costs.pool_wait)
        self._timeout = timeout
        self._pings = registry.counter(
            "db.client.ping.errors",
            unit="{error}",
            description="Connections that were found dead when they were to be used.",
        )
        self._all: WeakSet[EnginePool] = WeakSet()
        registry.followers.append(self._follow)  # behind that of the depth, which it reads

    def watch(self, pool: Any, name: str, database: Database) -> None:
        """Measure this pool, unless it is measured already."""
        if isinstance(vars(pool).get("connect"), databases.Asked):
            return
        made = EnginePool(self, pool, name, database)
        try:
            made.begin()
        except BaseException:
            made.patches.undo()
            raise
        self._all.add(made)
        self.shared.watch(name, made)

    def pinging(self, database: Database) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """For the place of a dialect's ``do_ping``."""

        def failed(error: BaseException | None) -> None:  # None: as SQLAlchemy 1.4 says it
            why = "disconnected" if error is None else type(error).__name__
            self.ping_failed(database.system, why)

        return lambda original: databases.Asked(original, failed)

    def is_timeout(self, error: BaseException) -> bool:
        """Whether that is how a pool says that it had no connection in time."""
        return isinstance(error, self._timeout)

    def ping_failed(self, system: str, why: str) -> None:
        """Count one ping without an answer."""
        if self.instruments.depth.on:
            self._pings.bind(**{"db.system.name": system, "error.type": why}).add()

    def _follow(self) -> None:
        for pool in list(self._all):
            pool.follow()

    def end(self) -> None:
        """Put everything back."""
        registry = self.instruments.registry
        if self._follow in registry.followers:
            registry.followers.remove(self._follow)
        for pool in list(self._all):
            pool.patches.undo()
            pool.asked.on = False  # where somebody has wrapped it
        self.shared.end()


class EnginePool:
    """One pool, with what was put into it.

    Most pools know how many connections they have; of the others we remember what they let out
    and got back, and count what they opened and closed. No call lies in between of reading and
    writing a number, so that no thread comes in between.
    """

    __slots__ = (
        "patches",
        "asked",
        "_of",
        "_pool",
        "_name",
        "_database",
        "_out",
        "_open",
        "__weakref__",
    )

    def __init__(self, of: EnginePools, pool: Any, name: str, database: Database) -> None:
        self.patches = Patches()
        self._of = of
        self._pool = pool
        self._name = name
        self._database = database
        self._out: set[Any] = set()
        self._open = 0

    def begin(self) -> None:
        """Put all in. AttributeError if this pool is built otherwise."""
        swap = self.patches.swap
        swap(self._pool, "connect", self._connecting)
        swap(self._pool, "_invoke_creator", self._creating)
        swap(self._pool, "recreate", self._recreating)
        if not hasattr(self._pool, "checkedout"):
            swap(self._pool, "_do_get", self._getting)
            swap(self._pool, "_do_return_conn", self._returning)
            swap(self._pool, "_close_connection", self._closing)

    def counts(self) -> tuple[int, int]:
        """Connections that are used, and that are not."""
        if hasattr(self._pool, "checkedout"):
            # One that was disposed of while connections were out counts below zero.
            return max(0, self._pool.checkedout()), self._pool.checkedin()
        used = len(self._out)
        return used, max(0, self._open - used)

    def follow(self) -> None:
        """Take over what the levels say now."""
        self.asked.on = self._of.instruments.depth.on

    def _connecting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        of, name = self._of, self._name
        pending, waits = of.shared.series(name)

        def failed(error: BaseException | None) -> None:
            if error is not None and of.is_timeout(error):
                of.shared.timed_out(name)

        self.asked = databases.Asked(original, failed, pending.add, waits.record, elapsed_ns)
        self.follow()
        return self.asked

    def _creating(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def create(*args: Any, **named: Any) -> Any:
            token = CONNECTING.set(True)
            try:
                if self._of.instruments.depth.on:
                    with self._database.connecting():
                        made = original(*args, **named)
                else:
                    made = original(*args, **named)
            finally:
                CONNECTING.reset(token)
            self._open += 1
            return made

        return create

    def _recreating(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def recreate(*args: Any, **named: Any) -> Any:
            made = original(*args, **named)
            try:
                self._of.watch(made, self._name, self._database)
            except Exception as error:  # noqa: BLE001  it serves all the same
                self._of.instruments.failed(f"the pool {self._name}", error)
            return made

        return recreate

    def _getting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def get(*args: Any, **named: Any) -> Any:
            record = original(*args, **named)
            self._out.add(record)
            return record

        return get

    def _returning(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def give_back(record: Any) -> Any:
            self._out.discard(record)
            return original(record)

        return give_back

    def _closing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def close(*args: Any, **named: Any) -> Any:
            self._open -= 1
            return original(*args, **named)

        return close
