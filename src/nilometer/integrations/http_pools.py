"""Connection pools of HTTP clients, and what is tried again: the same for all of them.

A pool is called by where it leads, ``host:port``. Where one pool of a library leads everywhere,
each of its connections is followed by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from nilometer.integrations import faults
from nilometer.integrations.pools import Awaited

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.calls import Depth
    from nilometer.measure import Registry


class HttpPools(Awaited):
    """The pools of an HTTP client's integration.

    Only those who find no connection free wait and are timed: in all others' way lies nothing.
    """

    __slots__ = ()

    def __init__(
        self, counts: Callable[[Any], tuple[int, int]], registry: Registry, depth: Depth
    ) -> None:
        super().__init__(
            counts,
            registry,
            registry.gauge(
                "http.client.connection.count",
                unit="{connection}",
                description="Open connections of HTTP clients, by state.",
            ),
            "http.client.connection.pool.name",
            "http.client.connection.state",
            depth,
            pending=registry.gauge(
                "http.client.connection.pending_requests",
                unit="{request}",
                description="Requests that wait for a connection of a pool.",
            ),
            timeouts=registry.counter(
                "http.client.connection.timeouts",
                unit="{timeout}",
                description="Connections that a pool did not give in time.",
            ),
            waits=registry.timer(
                "http.client.connection.wait_time",
                description="How long who found no connection free waited for one.",
            ),
        )

    def guarded(self, integration: str) -> Guard:
        """For a ``with`` statement in which a new connection is begun to be followed."""
        return Guard(integration, self._registry)


class Owned:
    """Connections that are followed one by one: each knows, weakly, the pool that made it.

    ``counts(pool, connection)`` says whether it is used, and whether idle.
    """

    def __init__(
        self,
        counts: Callable[[Any, Any], tuple[int, int]],
        integration: str,
        registry: Registry,
        depth: Depth,
    ) -> None:
        self.pools = HttpPools(self._counted, registry, depth)
        self._counts = counts
        self._integration = integration
        self._owners: WeakKeyDictionary[Any, ref[Any]] = WeakKeyDictionary()

    def _counted(self, connection: Any) -> tuple[int, int]:
        owner = self._owners.get(connection)
        pool = owner() if owner is not None else None
        return (0, 0) if pool is None else self._counts(pool, connection)

    def follow(self, name: Callable[[], str], pool: Any, connection: Any) -> Any:
        """Follow a connection that the pool of that name has just made, and give it back."""
        with self.pools.guarded(self._integration):
            self._owners[connection] = ref(pool)
            self.pools.watch(name(), connection)
        return connection


class Guard:
    """Lets a connection be used that is built otherwise than we know, and says so."""

    __slots__ = ("_integration", "_registry")

    def __init__(self, integration: str, registry: Registry) -> None:
        self._integration = integration
        self._registry = registry

    def __enter__(self) -> None:
        """Nothing has failed yet."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if not isinstance(error, Exception):
            return False
        faults.ours(self._integration, "a connection", error, self._registry)
        return True


class Retries:
    """What HTTP clients send again because it failed; a redirect is no retry."""

    __slots__ = ("_counter", "_depth")

    def __init__(self, registry: Registry, depth: Depth) -> None:
        self._depth = depth
        self._counter = registry.counter(
            "http.client.retries",
            unit="{retry}",
            description="Requests and connects that were tried again.",
        )

    def count(self, host: str, reason: object) -> None:
        """Count one: to which host, and after which error or status."""
        if not self._depth.on:
            return
        said = type(reason).__name__ if isinstance(reason, BaseException) else str(reason)
        self._counter.bind(**{"server.address": host, "error.type": said}).add()
