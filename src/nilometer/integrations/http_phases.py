"""What a request's time goes to: coming to us, being received, thought about, and answered.

Watching costs more than all that is measured of a request otherwise, so it is done while the
level asks for it only (`levels = {"http.server" = "detail"}`). A request is one sample of each
phase that it had; the samples are told at its end, by method and route.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from nilometer.integrations.attendance import attend_for
from nilometer.integrations.http_words import error_type
from nilometer.model import Level

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.exchange import AsgiExchange, WsgiExchange
    from nilometer.measure import Registry
    from nilometer.measure.pure import Counter, Timer

    Exchange = AsgiExchange | WsgiExchange

SERIES_KEPT_MAX: Final = 1000
"""Bound timers kept at hand, as many as a registry gives out for one instrument by default."""

ARRIVED: Final = ContextVar("nilometer.arrived", default=0)
"""When the server had the request that is next in this thread or greenlet; 0: it says not."""

ARRIVED_KEY: Final = "nilometer.arrived"
"""The same, in the scope of an ASGI request."""

TIMEOUT: Final = "TimeoutError"
CANCELLED: Final = frozenset({"CancelledError", "Cancelled"})
"""What asyncio and trio raise where they cancel; the second is trio's."""

_UWSGI_TIMEOUT: Final = "timeout during read("
"""How uWSGI begins the text of an IOError that is a timeout."""


def is_timeout(error: object) -> bool:
    """Whether an exception is a timeout: Python's, eventlet's and gevent's, or uWSGI's.

    >>> is_timeout(TimeoutError()), is_timeout(OSError("broken")), is_timeout("closed_early")
    (True, False, False)
    """
    if isinstance(error, OSError):
        return isinstance(error, TimeoutError) or str(error).startswith(_UWSGI_TIMEOUT)
    return any(kind.__name__ == "Timeout" for kind in type(error).__mro__)


class Phase:
    """One timer, by method and route, and what failed in its time."""

    __slots__ = ("_timer", "_errors", "_timeouts", "_records")

    def __init__(self, timer: Timer, errors: Counter, timeouts: Counter | None = None) -> None:
        self._timer = timer
        self._errors = errors
        self._timeouts = timeouts
        self._records: dict[tuple[str, str | None], Callable[[int], None]] = {}

    @property
    def is_on(self) -> bool:
        """Whether the level asks for it."""
        return bool(self._timer.on)

    def record(self, method: str, route: str | None, elapsed_ns: int) -> None:
        """One request spent so much in it."""
        record = self._records.get((method, route))
        if record is None:
            dimensions = {"http.request.method": method}
            if route is not None:
                dimensions["http.route"] = route
            record = self._timer.bind(**dimensions).record
            if len(self._records) < SERIES_KEPT_MAX:
                self._records[method, route] = record
        record(elapsed_ns)

    def failed(self, error: object) -> None:
        """Count an exception or a word; a timeout as both an error and a timeout."""
        word = error_type(error)
        self._errors.bind(**{"error.type": word}).add()
        if self._timeouts is not None and (word == TIMEOUT or is_timeout(error)):
            self._timeouts.bind(**{"error.type": word}).add()


class Phases:
    """The phases of all requests that one registry is told of; `on` while any is asked for."""

    def __init__(self, registry: Registry) -> None:
        detail = Level.DETAIL
        dispatch = registry.timer(
            "http.server.dispatch",
            level=detail,
            description="From a request's first moment in its server to the application.",
        )
        receive = registry.timer(
            "http.server.request.receive",
            level=detail,
            description="Reading the body of a request: waiting for the client included.",
        )
        processing = registry.timer(
            "http.server.response.processing",
            level=detail,
            description="From the request, complete, to the first part of its response.",
        )
        send = registry.timer(
            "http.server.response.send",
            level=detail,
            description="What the server takes to send the parts of a response.",
        )
        receive_timeouts = registry.counter(
            "http.server.request.receive.timeouts",
            unit="{timeout}",
            level=detail,
            description="Bodies of requests that did not come in time.",
        )
        send_timeouts = registry.counter(
            "http.server.response.send.timeouts",
            unit="{timeout}",
            level=detail,
            description="Responses that could not be sent in time.",
        )

        def errors(timer: Timer) -> Counter:
            name = timer.name  # which made it already
            return registry.counter(f"{name}.errors", unit="{error}", level=detail)

        self.dispatch = Phase(dispatch, errors(dispatch))
        self.receive = Phase(receive, errors(receive), receive_timeouts)
        self.processing = Phase(processing, errors(processing))
        self.send = Phase(send, errors(send), send_timeouts)
        self.on = False
        registry.followers.append(self.follow)
        self.follow()

    def follow(self) -> None:
        """Take over what the levels say now."""
        all_of_them = self.dispatch, self.receive, self.processing, self.send
        self.on = any(phase.is_on for phase in all_of_them)
        attend_for(self, self.on)

    def watch(self, elapsed_ns: Callable[[], int], arrived_ns: int) -> Stopwatch:
        """A request comes to its application; the server had it at `arrived_ns`, if not 0."""
        return Stopwatch(self, elapsed_ns, arrived_ns)


class Stopwatch:
    """The phases of one request. What it does in the midst of one is the wrappers' to say."""

    __slots__ = (
        *("now", "_phases", "_began", "_arrived", "_received", "_has_received", "_ready"),
        *("_answered", "_sent", "_failures", "_cancelled", "_is_told"),
    )

    def __init__(self, phases: Phases, elapsed_ns: Callable[[], int], arrived_ns: int) -> None:
        self.now = elapsed_ns
        self._phases = phases
        self._arrived = arrived_ns
        self._received = self._sent = 0
        self._answered: int | None = None
        self._has_received = self._is_told = False
        self._failures: set[Phase] = set()
        self._cancelled: dict[Phase, object] = {}
        self._began = self._ready = elapsed_ns()

    # --- what happens ------------------------------------------------------------------------

    def received(self, started_ns: int) -> None:
        """A reading of the body that began then is over, however it ended."""
        now = self.now()
        self._has_received = True
        self._received += now - started_ns
        if self._answered is None:
            self._ready = now

    def part(self) -> int:
        """A part of the response goes to the server: the time."""
        now = self.now()
        if self._answered is None:
            self._answered = now
        return now

    def sent(self, started_ns: int) -> None:
        """The server has taken the part that it was given then, or failed."""
        self._sent += self.now() - started_ns

    def starts_over(self) -> None:
        """What was given to the server so far was only looked at, to learn its length."""
        self._sent, self._answered = 0, None

    def receive_failed(self, error: object) -> None:
        """Reading the body raised, or the client has gone."""
        self._failed(self._phases.receive, error)

    def send_failed(self, error: object) -> None:
        """Sending a part raised, or the client has gone."""
        self._failed(self._phases.send, error)

    def _failed(self, phase: Phase, error: object) -> None:
        if phase in self._failures:
            return  # of one request one failure of each: what follows comes of the first
        self._failures.add(phase)
        if type(error).__name__ in CANCELLED:
            self._cancelled[phase] = error  # why, its end will show
        else:
            phase.failed(error)

    # --- the end -----------------------------------------------------------------------------

    def tell(self, exchange: Exchange) -> None:
        """The request is over: tell the instruments, once."""
        if self._is_told:
            return
        self._is_told = True
        try:
            self._tell(exchange)
        except Exception as fault:  # noqa: BLE001  measuring must not fail what it measures
            exchange.meters.faulted(fault)

    def _tell(self, exchange: Exchange) -> None:
        phases, series = self._phases, (exchange.method, exchange.route)
        if self._arrived:
            phases.dispatch.record(*series, max(0, self._began - self._arrived))
        if self._has_received:
            phases.receive.record(*series, self._received)
        if self._answered is not None:
            phases.processing.record(*series, self._answered - self._ready)
            phases.send.record(*series, self._sent)
        for phase, error in self._cancelled.items():
            # A request that goes on after one of its steps was cancelled had set it a limit:
            # that is how `asyncio.timeout` and `wait_for` do it.
            ended = exchange.error
            phase.failed(TIMEOUT if ended is None or is_timeout(ended) else error)
