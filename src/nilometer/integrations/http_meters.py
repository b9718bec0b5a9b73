"""The always-on instruments of HTTP servers, made once per registry and bound beforehand.

All middleware of one registry feeds the same series, so two applications in one process add up.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from nilometer.integrations import costs, faults
from nilometer.integrations.calls import Depth
from nilometer.integrations.exchange import Meters
from nilometer.integrations.http_phases import Phases
from nilometer.integrations.http_words import error_type
from nilometer.integrations.routes import ASGI, WSGI, reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.clock import Clock
    from nilometer.measure import Registry

SERIES_KEPT_MAX: Final = 1000
"""Bound timers kept at hand, as many as a registry gives out for one instrument by default;
what exceeds them is looked up in the registry again, which puts it into its overflow series."""

READERS: Final = {"wsgi": WSGI, "asgi": ASGI}
COSTS: Final = {"wsgi": costs.wsgi_request, "asgi": costs.asgi_request}
PHASES: Final = {"wsgi": costs.wsgi_phases, "asgi": costs.asgi_phases}

CLASSES: Final = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")
"""What `http.response.status_class` may say; none: no response was ever begun."""


class ServerInstruments:
    """What one registry knows of HTTP served in this process."""

    def __init__(self, registry: Registry) -> None:
        # Of the spans of requests, by the protocol that they came by.
        self.depths = {one: Depth(one, registry) for one in ("wsgi", "asgi")}
        self._timer = registry.timer(
            "http.server.request", description="From the request to the end of its response."
        )
        responses = registry.counter(
            "http.server.responses",
            unit="{response}",
            description="By class of status.",
        )
        self._responses = tuple(
            responses.bind(**{"http.response.status_class": word}).add for word in CLASSES
        )
        self._bytes_in = registry.counter(
            "http.server.request.bytes", unit="By", description="Bodies of requests."
        )
        self._bytes_out = registry.counter(
            "http.server.response.bytes", unit="By", description="Bodies of responses."
        )
        self._errors = registry.counter(
            "http.server.request.errors",
            unit="{error}",
            description="Requests that raised or were broken off.",
        )
        self.phases = Phases(registry)
        self._lost = registry.counter("nilometer.lost", description="What we lost, and why.")
        registry.gauge(
            "http.server.in_flight",
            unit="{request}",
            description="Requests begun and not ended.",
            read=self.in_flight,
        )
        self._follow_connections(registry)
        self._costs_also = registry.costs_also
        self._times: dict[Any, Callable[[int], None]] = {}
        self._made: dict[str, Meters] = {}

    def _follow_connections(self, registry: Registry) -> None:
        """Make the instruments of WebSockets."""
        self._connections: set[int] = set()
        self._connection_timer = registry.timer(
            "websocket.server.connection", description="From the handshake to the close."
        )
        self._connection_errors = registry.counter(
            "websocket.server.connection.errors",
            unit="{error}",
            description="WebSockets whose application raised.",
        )
        registry.gauge(
            "websocket.server.in_flight",
            unit="{connection}",
            description="WebSockets connected and not closed.",
            read=self._connections.__len__,
        )

    def in_flight(self) -> int:
        """How many requests are being served now."""
        return sum(meters.in_flight() for meters in self._made.values())

    def reset_after_fork(self) -> None:
        """What the parent serves, this process does not."""
        for meters in self._made.values():
            meters.reset_after_fork()
        self._connections.clear()

    def meters(self, protocol: str, clock: Clock, closed: Callable[[Any], None]) -> Meters:
        """The meters of one protocol, "wsgi" or "asgi"."""
        made = self._made.get(protocol)
        if made is None or made.elapsed_ns is not clock.elapsed_ns:
            self._costs_also("http.server.request", COSTS[protocol])  # of both, the later one
            self._costs_also("http.server.response.processing", PHASES[protocol])
            made = self._made[protocol] = Meters(
                self._times,
                self._find,
                self._responses,
                self._bytes_in.add,
                self._bytes_out.add,
                self.failed,
                tuple(READERS[protocol]),
                reader(READERS[protocol]),
                closed,
                self.faulted,
                clock.elapsed_ns,
            )
        return made

    def connected(self, identity: int) -> None:
        """A WebSocket has begun."""
        self._connections.add(identity)

    def disconnected(
        self, identity: int, route: str | None, elapsed_ns: int, error: BaseException | None
    ) -> None:
        """A WebSocket has ended."""
        self._connections.discard(identity)
        timer = self._connection_timer
        (timer if route is None else timer.bind(**{"http.route": route})).record(elapsed_ns)
        if error is not None:
            self._connection_errors.bind(**{"error.type": error_type(error)}).add()

    def failed(self, error: object) -> None:
        """Count an exception by its class, or a word by itself."""
        self._errors.bind(**{"error.type": error_type(error)}).add()

    def faulted(self, error: BaseException) -> None:
        """Count what went wrong while measuring."""
        self._lost.bind(what="http.exchange", reason=error_type(error)).add()
        faults.tell("http", "a request", error)

    def _find(self, method: str, route: str | None) -> Callable[[int], None]:
        dimensions = {"http.request.method": method}
        if route is not None:
            dimensions["http.route"] = route
        record = self._timer.bind(**dimensions).record
        if len(self._times) < SERIES_KEPT_MAX:
            self._times[method if route is None else (method, route)] = record
        return record


_INSTRUMENTS: WeakKeyDictionary[Registry, ServerInstruments] = WeakKeyDictionary()


def server_instruments(registry: Registry) -> ServerInstruments:
    """The instruments of a registry, made at the first use."""
    instruments = _INSTRUMENTS.get(registry)
    if instruments is None:
        instruments = _INSTRUMENTS[registry] = ServerInstruments(registry)
    return instruments


def after_fork() -> None:
    """Start afresh in a child; also called where a server forks without telling Python."""
    for instruments in list(_INSTRUMENTS.values()):
        instruments.reset_after_fork()


os.register_at_fork(after_in_child=after_fork)
