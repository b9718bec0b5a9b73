"""Connection pools of database clients: used, idle, waited for, and timed out.

A pool tells how many connections it has only when it is asked, at each collect: nothing is
counted up and down while the service works, so nothing can drift. Pools of one name (they lead
to the same place) are one series.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self
from weakref import WeakSet

from nilometer.clock import elapsed_ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.measure import Registry

POOLS_MAX: Final = 1000
"""Names of pools that are followed, 1 KiB each with their series; as many as an instrument has
series. What exceeds it is counted in `nilometer.lost`."""

_POOL: Final = "db.client.connection.pool.name"
_STATE: Final = "db.client.connection.state"


class Followed:
    """Pools whose used and idle connections a gauge shows; ``counts(pool)`` gives both.

    `pool` and `state` are the gauge's dimensions.
    """

    __slots__ = ("_registry", "_counts", "_pools", "_gauge", "_pool", "_state")

    def __init__(
        self,
        counts: Callable[[Any], tuple[int, int]],
        registry: Registry,
        gauge: Any,
        pool: str,
        state: str,
    ) -> None:
        self._registry = registry
        self._counts = counts
        self._pools: dict[str, WeakSet[Any]] = {}
        self._gauge = gauge
        self._pool = pool
        self._state = state

    def watch(self, name: str, pool: Any) -> None:
        """Read this pool, too, at each collect, for as long as it lives."""
        known = self._pools.get(name)
        if known is None:
            if len(self._pools) >= POOLS_MAX:
                self._registry.lost("pools", "too_many")
                return
            known = self._pools[name] = WeakSet()
            for position, state in enumerate(("used", "idle")):
                series = self._gauge.bind(**{self._pool: name, self._state: state})
                series.read = self._reader(known, position)
            if self._registry.on_read is not None:
                self._registry.on_read()
        known.add(pool)

    def _reader(self, pools: WeakSet[Any], position: int) -> Callable[[], int | None]:
        def read() -> int | None:
            counted = [self._counts(pool)[position] for pool in list(pools)]
            return sum(counted) if counted else None

        return read

    def end(self) -> None:
        """Follow no pool any more."""
        for pools in self._pools.values():
            pools.clear()
        self._pools.clear()


class Pools(Followed):
    """The pools of a database client's integration, with what waits for them."""

    __slots__ = ("_pending", "_timeouts", "_waits")

    def __init__(self, counts: Callable[[Any], tuple[int, int]], registry: Registry) -> None:
        gauge = registry.gauge(
            "db.client.connection.count",
            unit="{connection}",
            description="Connections in pools, by state.",
        )
        super().__init__(counts, registry, gauge, _POOL, _STATE)
        self._pending = registry.gauge(
            "db.client.connection.pending_requests",
            unit="{request}",
            description="Who waits for a connection of a pool.",
        )
        self._timeouts = registry.counter(
            "db.client.connection.timeouts",
            unit="{timeout}",
            description="Connections that a pool did not give, or not in time.",
        )
        self._waits = registry.timer(
            "db.client.connection.wait_time",
            description="From asking a pool that lets wait to an open connection of it.",
        )

    def timed_out(self, name: str) -> None:
        """Count that a pool had no connection to give."""
        self._timeouts.bind(**{_POOL: name}).add()

    def wait(self, name: str, is_timeout: Callable[[BaseException], bool]) -> Wait:
        """For a ``with`` statement around asking a pool that lets wait."""
        return Wait(self, name, is_timeout, *self.series(name))

    def series(self, name: str) -> tuple[Any, Any]:
        """The gauge of who waits for this pool, and the timer of how long."""
        given = {_POOL: name}
        return self._pending.bind(**given), self._waits.bind(**given)


class Wait:
    """One request to a pool: pending, then timed; of errors, `is_timeout` says which is one."""

    __slots__ = ("_pools", "_name", "_is_timeout", "_pending", "_waits", "_started")

    def __init__(
        self,
        pools: Pools,
        name: str,
        is_timeout: Callable[[BaseException], bool],
        pending: Any,
        waits: Any,
    ) -> None:
        self._pools = pools
        self._name = name
        self._is_timeout = is_timeout
        self._pending = pending
        self._waits = waits

    def __enter__(self) -> Self:
        self._pending.add(1)
        self._started = elapsed_ns()
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._waits.record(elapsed_ns() - self._started)
        self._pending.add(-1)
        if error is not None and self._is_timeout(error):
            self._pools.timed_out(self._name)
