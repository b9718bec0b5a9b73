"""WSGI applications measured, and traced when a signed header asks for it.

    from nilometer.integrations.wsgi import Middleware

    application = Middleware(application)

A request lasts until its body has been read or closed, not until the application returned.
Untraced it costs two look-ups in the environ and the instruments; whatever the application
raises passes through unchanged. Where the level of `integrations.wsgi` is OFF, a traced request
has no span of its own, and what happens in it is the sender's child.
"""

from __future__ import annotations

from types import GeneratorType
from typing import TYPE_CHECKING, Any, Final

from nilometer.clock import Clock
from nilometer.integrations.exchange import WsgiEntry, WsgiExchange
from nilometer.integrations.flight import Running
from nilometer.integrations.http_meters import server_instruments
from nilometer.integrations.http_phases import ARRIVED
from nilometer.integrations.http_span import SizedSteps, Steps, close_root, open_root
from nilometer.integrations.wsgi_phases import sending, timing_input, timing_write
from nilometer.measure import REGISTRY
from nilometer.trace import CURRENT, Trace
from nilometer.trace.current import is_left_over
from nilometer.trace.twin import stand_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from nilometer.integrations.exchange import Meters
    from nilometer.measure import Registry
    from nilometer.trace.trigger import Triggers

    Environ = dict[str, Any]
    Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

HEADERS: Final = (
    *("HTTP_TRACEPARENT", "HTTP_TRACESTATE", "HTTP_X_TRACE_INFO", "HTTP_X_TRACE_HMAC"),
)
"""A trigger's headers as the environ names them, in the order of `trace.trigger.HEADERS`."""

ASKED, ASKED_OSPROFILER = HEADERS[0], HEADERS[2]
"""Without either of them nobody asks for a trace."""

_current: Final = CURRENT.get
_make_current: Final = CURRENT.set

_READY: Final = frozenset({list, tuple})
"""Results that run no code of the application when they are read."""

_PLAIN: Final = frozenset({list, tuple, GeneratorType})
"""Results that are never a server's file wrapper."""


class Manners:
    """What a request may need beyond the way in: tracing, counting its input, files."""

    app: Application
    meters: Meters

    def __init__(
        self,
        app: Application,
        *,
        triggers: Triggers | None = None,
        registry: Registry = REGISTRY,
        server: str = "",
        clock: Clock | None = None,
    ) -> None:
        self.app = app
        instruments = server_instruments(registry)
        self.meters = instruments.meters("wsgi", clock or Clock(), close_root)
        self._phases = instruments.phases
        # One look instead of five: `__getattr__` below makes each of them slow.
        self._means = triggers, instruments.depths["wsgi"], self._phases, server

    def attend(
        self,
        environ: Environ,
        start_response: Callable[..., Any],
        exchange: WsgiExchange | None = None,
    ) -> Iterable[bytes]:
        """Serve a request that asks for a trace, or whose body must be counted, or that comes
        while a span is current, or the flight recorder or the level of a phase is on."""
        triggers, depth, phases, server = self._means
        if exchange is None:
            if phases.on:
                return self._watched(environ, start_response)
            exchange = WsgiExchange(self.meters, environ, start_response)
        before = _current()
        if before is not None and is_left_over(before):
            before = None
            _make_current(None)
        request = recording = None
        if triggers is not None:
            if ASKED in environ or ASKED_OSPROFILER in environ:
                request = triggers.accept(environ.get, HEADERS)
            recorder = Running.recorder if before is None and depth.on else None
            if recorder is not None and not isinstance(request, Trace):
                recording = recorder.begin(request)
        if recording is not None:
            exchange.flight, request = recording, recording.trace
        if request is not None:
            if depth.on or not isinstance(request, Trace):
                path = environ.get("PATH_INFO", "")
                exchange.span = open_root(request, exchange.method, path, server)
            else:
                exchange.span = stand_in(request)
        if "HTTP_TRANSFER_ENCODING" in environ:
            _count_input(exchange, environ)
        try:
            result = self.app(environ, exchange)
        except BaseException as error:
            exchange.finish(error)
            raise
        finally:
            current = _current()
            _make_current(before)
        if type(result) in _READY:
            body: Iterable[bytes] = exchange.body(result)
            return body
        if request is None or _is_file(result, environ):
            return self.settle(exchange, result)
        steps = SizedSteps if hasattr(result, "__len__") else Steps
        return steps(exchange.body(result), current)

    def _watched(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Attend to a request in the sight of its stopwatch."""
        arrived_ns = ARRIVED.get()
        watch = self._phases.watch(self.meters.elapsed_ns, arrived_ns)
        if arrived_ns:
            ARRIVED.set(0)  # the next one on this connection comes at another time
        start_response = timing_write(watch, start_response)
        exchange = WsgiExchange(self.meters, environ, start_response)
        timing_input(environ, watch, exchange.request_bytes)
        try:
            result = self.attend(environ, start_response, exchange)
        except BaseException:
            watch.tell(exchange)
            raise
        if not _is_file(result, environ):
            return sending(result, watch, exchange)
        watch.part()
        watch.tell(exchange)
        return result

    def settle(self, exchange: WsgiExchange, result: Any) -> Iterable[bytes]:
        """What the server gets: its own file wrapper as it is, all else watched to its end."""
        if _is_file(result, exchange.carrier):
            return _file(exchange, result)
        body: Iterable[bytes] = exchange.body(result)
        return body

    def __getattr__(self, name: str) -> Any:
        """What else the application offers; some servers and frameworks look for it."""
        if name == "app":  # not yet there while unpickling or copying
            raise AttributeError(name)
        return getattr(self.app, name)


class Middleware(Manners, WsgiEntry):
    """A WSGI application around another one.

    `triggers` says which requests are traced (none without it), `server` names in the span
    which server runs the application.
    """


def _is_file(result: Any, environ: Environ) -> bool:
    """Whether the result is the server's own file wrapper, which it recognises by identity."""
    wrapper = environ.get("wsgi.file_wrapper")
    if wrapper is None or type(result) in _PLAIN:
        return False
    if isinstance(wrapper, type):
        return isinstance(result, wrapper)
    return hasattr(result, "read")  # uWSGI's is a function that gives the file itself back


def _file(exchange: WsgiExchange, result: Any) -> Iterable[bytes]:
    """Hand the wrapper on as it is, or the server could not send the file by the kernel.

    The exchange ends when it is closed; if that cannot be seen, it ends now. Nobody iterates
    here, so the bytes are those that the application announced.
    """
    exchange.count_announced()
    close = getattr(result, "close", None)

    def closing() -> None:
        try:
            if close is not None:
                close()
        except BaseException as error:
            exchange.finish(error)
            raise
        exchange.finish()

    try:
        result.close = closing
    except (AttributeError, TypeError):
        exchange.finish()
    return result  # type: ignore[no-any-return]


class CountingInput:
    """``wsgi.input`` of a request that did not announce its length."""

    def __init__(self, stream: Any, exchange: WsgiExchange) -> None:
        self._stream = stream
        self._exchange = exchange

    def _counted(self, data: bytes) -> bytes:
        self._exchange.request_bytes += len(data)
        return data

    def read(self, *size: int) -> bytes:
        """As the server's."""
        return self._counted(self._stream.read(*size))

    def readline(self, *size: int) -> bytes:
        """As the server's."""
        return self._counted(self._stream.readline(*size))

    def readlines(self, *hint: int) -> list[bytes]:
        """As the server's."""
        return [self._counted(line) for line in self._stream.readlines(*hint)]

    def __iter__(self) -> Iterator[bytes]:
        return map(self._counted, self._stream)

    def __next__(self) -> bytes:
        return self._counted(next(self._stream))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _count_input(exchange: WsgiExchange, environ: Environ) -> None:
    stream = environ.get("wsgi.input")
    if stream is not None and not environ.get("CONTENT_LENGTH"):
        environ["wsgi.input"] = CountingInput(stream, exchange)
