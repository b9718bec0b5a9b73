"""How busy the servers of this process are: who works, who is idle, what waits for one.

A server is asked at each collect; nothing is counted up and down while it works, so nothing
can drift. Each process tells of itself alone, so that processes add up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

from nilometer.integrations import faults
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.measure import Registry


class Load(NamedTuple):
    """What a server says of itself; None is what it does not tell.

    `used` and `idle` are its workers (threads, greenlets, tasks), `waiting` is what was
    accepted and waits for one, `connections` are open.
    """

    used: int | None = None
    idle: int | None = None
    waiting: int | None = None
    connections: int | None = None


class Servers:
    """The gauges of one registry, by server's name."""

    def __init__(self, registry: Registry = REGISTRY) -> None:
        self._registry = registry
        self._workers = registry.gauge(
            "server.workers",
            unit="{worker}",
            description="Threads, greenlets or tasks that serve a request each, by state.",
        )
        self._waiting = registry.gauge(
            "server.waiting",
            unit="{request}",
            description="Connections and requests that were accepted and wait for a worker.",
        )
        self._connections = registry.gauge(
            "server.connections", unit="{connection}", description="Open, idle ones included."
        )
        self._known: dict[str, WeakSet[Any]] = {}

    def watch(self, name: str, server: object, load: Callable[[Any], Load]) -> None:
        """Ask this server, too, at each collect, for as long as it lives."""
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = WeakSet()
            ours = {"nilometer.server": name}
            for field, series in (
                ("used", self._workers.bind(**ours, state="used")),
                ("idle", self._workers.bind(**ours, state="idle")),
                ("waiting", self._waiting.bind(**ours)),
                ("connections", self._connections.bind(**ours)),
            ):
                series.read = self._reader(name, load, field)
            if self._registry.on_read is not None:
                self._registry.on_read()
        known.add(server)

    def _reader(
        self, name: str, load: Callable[[Any], Load], field: str
    ) -> Callable[[], int | None]:
        servers = self._known[name]

        def read() -> int | None:
            told = []
            for server in list(servers):
                try:
                    value = getattr(load(server), field)
                except AttributeError as error:  # of another version: once is enough
                    servers.discard(server)
                    faults.ours(name, "how busy it is", error, self._registry)
                else:
                    told += [] if value is None else [value]
            return sum(told) if told else None

        return read

    def end(self, name: str) -> None:
        """Ask servers of this name no more."""
        known = self._known.get(name)
        if known is not None:
            known.clear()
