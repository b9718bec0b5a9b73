"""What WSGI and ASGI exchanges have in common: the specification of ``exchange.h``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.http_words import METHODS, NO_RESPONSE

if TYPE_CHECKING:
    from collections.abc import Callable


_ANSWERED_BY_500: Final = (Exception, SystemExit, KeyboardInterrupt)
"""Raised before the response began, or it never did: every server answers 500, unless the
request was cancelled or killed (asyncio, generators, greenlets): then nobody is there."""


class Meters:
    """The instruments of all exchanges of one protocol, as calls that are bound already.

    `times` finds the ``record`` of a series by method, or by (method, route); what is not there
    yet is asked of ``find(method, route)``. `responses` holds the ``add`` of each class of
    status, 0 standing for "none". ``failed(error)`` counts an exception or a word,
    ``route_of(carrier)`` is asked only if the carrier has one of `route_keys`, and
    ``closed(exchange)`` ends the span of a traced exchange. ``faulted(error)`` counts what went
    wrong in all this, which is no concern of the application's.
    """

    __slots__ = (
        "times",
        "find",
        "responses",
        "bytes_in",
        "bytes_out",
        "failed",
        "route_keys",
        "route_of",
        "closed",
        "faulted",
        "elapsed_ns",
        "_live",
    )

    def __init__(
        self,
        times: dict[Any, Callable[[int], None]],
        find: Callable[[str, str | None], Callable[[int], None]],
        responses: tuple[Callable[[], None], ...],
        bytes_in: Callable[[int], None],
        bytes_out: Callable[[int], None],
        failed: Callable[[object], None],
        route_keys: tuple[str, ...],
        route_of: Callable[[Any], str | None],
        closed: Callable[[Any], None],
        faulted: Callable[[BaseException], None],
        elapsed_ns: Callable[[], int],
    ) -> None:
        self.times = times
        self.find = find
        self.responses = responses
        self.bytes_in = bytes_in
        self.bytes_out = bytes_out
        self.failed = failed
        self.route_keys = route_keys
        self.route_of = route_of
        self.closed = closed
        self.faulted = faulted
        self.elapsed_ns = elapsed_ns
        self._live: set[int] = set()  # a set, because adding and discarding need no lock

    def in_flight(self) -> int:
        """How many exchanges have begun and not finished."""
        return len(self._live)

    def reset_after_fork(self) -> None:
        """What was in flight in the parent is not in flight here."""
        self._live.clear()


class Exchange:
    """What WSGI and ASGI have in common. Not made directly."""

    request_bytes: int

    __slots__ = (
        *("meters", "carrier", "method", "respond", "request_bytes", "response_bytes"),
        *("status", "error", "handled", "route", "span", "flight", "started_ns"),
        *("finished", "_route_failed"),
    )

    def _begin(self, meters: Meters, carrier: Any, method: object, respond: Any) -> None:
        self.finished = True  # nothing to tell, should the rest fail
        self.meters = meters
        self.carrier = carrier
        self.method = METHODS.get(method, "_OTHER")  # type: ignore[call-overload]
        self.respond = respond
        self.response_bytes = 0
        self.status = 0
        self.error: object = None
        self.handled: BaseException | None = None  # what the application made a response of
        self.route: str | None = None
        self._route_failed = False
        self.span: Any = None
        self.flight: Any = None  # the flight recorder's record of it
        self.started_ns = meters.elapsed_ns()
        meters._live.add(id(self))
        self.finished = False

    def __del__(self) -> None:
        self.finish()

    def finish(self, error: object = None) -> None:
        """The exchange is over: tell the instruments. `error` is an exception or a word."""
        if self.finished:
            return
        self.finished = True
        self.error = error
        if not self.status and (error is NO_RESPONSE or isinstance(error, _ANSWERED_BY_500)):
            self.status = 500
        meters = self.meters
        elapsed = meters.elapsed_ns() - self.started_ns
        meters._live.discard(id(self))
        try:
            self._tell(meters, elapsed)
        except Exception as fault:  # noqa: BLE001  measuring must not fail what it measures
            meters.faulted(fault)
        self.carrier = self.handled = None

    def _find_route(self) -> None:
        for key in self.meters.route_keys:
            if key in self.carrier:
                self.route = self.meters.route_of(self.carrier)
                break

    def _tell(self, meters: Meters, elapsed: int) -> None:
        if self.route is None and not self._route_failed:
            self._find_route()
        series = self.method if self.route is None else (self.method, self.route)
        record = meters.times.get(series) or meters.find(self.method, self.route)
        record(elapsed)
        meters.responses[self._status_class()]()
        error = self.error or self.handled
        if error is not None:
            meters.failed(error)
        if self.request_bytes > 0:
            meters.bytes_in(self.request_bytes)
        if self.response_bytes:
            meters.bytes_out(self.response_bytes)
        if self.span is not None:
            meters.closed(self)

    def _status_class(self) -> int:
        return self.status // 100 if 100 <= self.status < 600 else 0
