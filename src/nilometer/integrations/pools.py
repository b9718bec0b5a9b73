"""Connection pools of clients of databases and HTTP: used, idle, waited for, and timed out.

A pool tells how many connections it has only when it is asked, at each collect: nothing is
counted up and down while the service works, so nothing can drift. Pools of one name (they lead
to the same place) are one series.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final, Self
from weakref import WeakSet

from nilometer.clock import elapsed_ns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from nilometer.integrations.calls import Depth
    from nilometer.measure import Registry

POOLS_MAX: Final = 1000
"""Names of pools that are followed, 1 KiB each with their series; as many as an instrument has
series. What exceeds it is counted in `nilometer.lost`."""


class Followed:
    """Pools whose used and idle connections a gauge shows; ``counts(pool)`` gives both.

    Of what a pool does not know it gives None, and then it has no part in that gauge.
    What is followed may also be each connection by itself, where a library tells of those.
    `pool` and `state` are the gauge's dimensions. `depth` is the integration's: where it is off
    nothing is asked.
    """

    __slots__ = ("_registry", "_counts", "_pools", "_gauge", "_pool", "_state", "_depth")

    def __init__(
        self,
        counts: Callable[[Any], Sequence[int | None]],
        registry: Registry,
        gauge: Any,
        pool: str,
        state: str,
        depth: Depth | None = None,
    ) -> None:
        self._depth = depth
        self._registry = registry
        self._counts = counts
        self._pools: dict[str, WeakSet[Any]] = {}
        self._gauge = gauge
        self._pool = pool
        self._state = state

    @property
    def on(self) -> bool:
        """Whether it measures."""
        return self._depth is None or self._depth.on

    def watch(self, name: str, pool: Any) -> None:
        """Read this pool, too, at each collect, for as long as it lives."""
        known = self._pools.get(name)
        if known is None:
            if len(self._pools) >= POOLS_MAX:
                self._registry.lost("pools", "too_many")
                return
            known = self._pools[name] = WeakSet()
            for position, series in enumerate(self._series_of(name)):
                series.read = self._reader(known, position)
            if self._registry.on_read is not None:
                self._registry.on_read()
        known.add(pool)

    def _series_of(self, name: str) -> Sequence[Any]:
        """The gauges of the pools of one name, in the order of what is counted."""
        given = {self._pool: name}
        return [self._gauge.bind(**given, **{self._state: s}) for s in ("used", "idle")]

    def _reader(self, pools: Any, position: int) -> Callable[[], int | None]:
        told = 0

        def read() -> int | None:
            nonlocal told
            if not self.on:
                told = 0
                return None
            # Not the set itself, which other threads may add to while it is gone through.
            living = [pool for pool in (one() for one in list(pools.data)) if pool is not None]
            counted = [self._counts(pool)[position] for pool in living]
            known = [count for count in counted if count is not None]
            before, told = told, sum(known)
            return told if known or before else None  # the last of them leaves a 0 behind

        return read

    def end(self) -> None:
        """Follow no pool any more."""
        for pools in self._pools.values():
            pools.clear()
        self._pools.clear()


class Awaited(Followed):
    """Pools that let wait, or refuse: with the instruments of that, by the same `pool`."""

    __slots__ = ("_pending", "_timeouts", "_waits")

    def __init__(
        self,
        counts: Callable[[Any], tuple[int, int]],
        registry: Registry,
        gauge: Any,
        pool: str,
        state: str,
        depth: Depth | None,
        *,
        pending: Any,
        timeouts: Any,
        waits: Any,
    ) -> None:
        super().__init__(counts, registry, gauge, pool, state, depth)
        self._pending = pending
        self._timeouts = timeouts
        self._waits = waits

    def timed_out(self, name: str) -> None:
        """Count that a pool had no connection to give."""
        if self.on:
            self._timeouts.bind(**{self._pool: name}).add()

    def wait(
        self, name: str, is_timeout: Callable[[BaseException], bool]
    ) -> AbstractContextManager[object]:
        """For a ``with`` statement around asking a pool that lets wait."""
        return Wait(self, name, is_timeout, *self.series(name)) if self.on else _UNMEASURED

    def series(self, name: str) -> tuple[Any, Any]:
        """The gauge of who waits for this pool, and the timer of how long."""
        given = {self._pool: name}
        return self._pending.bind(**given), self._waits.bind(**given)


_UNMEASURED: Final = nullcontext()


class Wait:
    """One request to a pool: pending, then timed; of errors, `is_timeout` says which is one."""

    __slots__ = ("_pools", "_name", "_is_timeout", "_pending", "_waits", "_started")

    def __init__(
        self,
        pools: Awaited,
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


class Pools(Awaited):
    """The pools of a database client's integration."""

    __slots__ = ()

    def __init__(
        self,
        counts: Callable[[Any], tuple[int, int]],
        registry: Registry,
        depth: Depth | None = None,
    ) -> None:
        super().__init__(
            counts,
            registry,
            registry.gauge(
                "db.client.connection.count",
                unit="{connection}",
                description="Connections in pools, by state.",
            ),
            "db.client.connection.pool.name",
            "db.client.connection.state",
            depth,
            pending=registry.gauge(
                "db.client.connection.pending_requests",
                unit="{request}",
                description="Who waits for a connection of a pool.",
            ),
            timeouts=registry.counter(
                "db.client.connection.timeouts",
                unit="{timeout}",
                description="Connections that a pool did not give, or not in time.",
            ),
            waits=registry.timer(
                "db.client.connection.wait_time",
                description="From asking a pool that lets wait to an open connection of it.",
            ),
        )
