"""One HTTP exchange on the server's side, from its first byte to its last.

This file is the specification; ``_http.c`` is its fast twin and one test-suite runs on both.

An exchange stands where the server's own ``start_response`` (WSGI) or ``send`` (ASGI) stood, so
it sees the status and the bytes on their way out; `finish` reads the clock once more and feeds
the instruments, exactly once, whatever went wrong. It never raises anything of its own: what
the application raised passes through unchanged.
"""

from __future__ import annotations

from contextlib import suppress
from types import GeneratorType
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.exchange_pure import Exchange, Meters
from nilometer.integrations.http_words import (
    ATTENDED,
    CLOSED_EARLY,
    MARK,
    NO_RESPONSE,
    STATUS_MAX,
    WITH_BODY,
    announced_length,
    status_of,
)
from nilometer.integrations.routing_pure import Routing
from nilometer.trace.current import CURRENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = [
    "IMPLEMENTATION",
    "AsgiExchange",
    "Body",
    "Exchange",
    "Meters",
    "Routing",
    "SizedBody",
    "WsgiEntry",
    "WsgiExchange",
    "attend_all",
]

IMPLEMENTATION: Final = "python"


class WsgiExchange(Exchange):
    """One WSGI request. It is the ``start_response`` that the application is given."""

    __slots__ = ("headers", "_write")

    def __init__(
        self, meters: Meters, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> None:
        length = environ.get("CONTENT_LENGTH")
        self.request_bytes = announced_length(length) if length else 0
        self.headers: Any = None
        self._begin(meters, environ, environ.get("REQUEST_METHOD"), start_response)

    def __call__(self, status: str, headers: Any, exc_info: Any = None) -> Any:
        """Begin the response, as PEP 3333's ``start_response`` does."""
        if exc_info is None:
            self._write = self.respond(status, headers)
        else:  # raises if the first part of the body has gone out: then nothing changes here
            self._write = self.respond(status, headers, exc_info)
            self.handled = exc_info[1]
        self.status = status_of(status)
        self.headers = headers
        self._ask_route()
        return None if self._write is None else self.write

    def _ask_route(self) -> None:
        """Ask now: Flask takes its request out of the environ before the body is read."""
        if self.route is not None or self.finished:
            return
        try:
            self._find_route()
        except Exception as fault:  # noqa: BLE001  measuring must not fail what it measures
            self._route_failed = True
            self.meters.faulted(fault)

    def write(self, data: bytes) -> Any:
        """Send bytes past the body, as PEP 3333 allows old applications to."""
        result = self._write(data)
        self.response_bytes += len(data)
        return result

    def count_announced(self) -> None:
        """Count the bytes that the response's headers announce, for a body nobody sees."""
        with suppress(Exception):  # odd headers are the server's to refuse
            for name, value in self.headers or ():
                if name.lower() == "content-length":
                    self.response_bytes = announced_length(value)

    def body(self, result: Any) -> Body:
        """The result of the application, watched to its end."""
        return SizedBody(self, result) if hasattr(result, "__len__") else Body(self, result)


class Body:
    """An application's result on its way to the server; the exchange ends with it.

    It is over when it is exhausted (if nothing is left to close), when it is closed, or when
    nobody holds it any more.
    """

    __slots__ = ("exchange", "result", "_iterator", "_exhausted")

    def __init__(self, exchange: WsgiExchange, result: Iterable[bytes]) -> None:
        self.exchange = exchange
        self.result = result
        self._iterator: Iterator[bytes] | None = None
        self._exhausted = False

    def __iter__(self) -> Iterator[bytes]:
        if self._exhausted:  # read before, to learn its length: count the last reading
            self._exhausted = False
            self.exchange.response_bytes = 0
        self._begin()
        return self

    def _begin(self) -> Iterator[bytes]:
        try:
            self._iterator = iterator = iter(self.result)
        except BaseException as error:
            self.exchange.finish(error)
            raise
        return iterator

    def __next__(self) -> bytes:
        exchange = self.exchange
        try:
            chunk = next(self._iterator or self._begin())
        except StopIteration:
            self._exhausted = True
            if type(self.result) in _NOTHING_TO_CLOSE or not hasattr(self.result, "close"):
                exchange.finish()
            raise
        except BaseException as error:
            exchange.finish(error)
            raise
        try:  # noqa: SIM105  costs nothing; suppress() costs 0.3 us
            exchange.response_bytes += len(chunk)
        except TypeError:
            pass  # not bytes: the server will say so
        return chunk

    def close(self) -> None:
        """Close the application's result and end the exchange."""
        try:
            close = getattr(self.result, "close", None)
            if close is not None:
                close()
        except BaseException as error:
            self.exchange.finish(error)
            raise
        self._end()

    def _end(self) -> None:
        exchange = self.exchange
        begun = self._iterator is not None
        early = begun and not self._exhausted and exchange.method != "HEAD"
        exchange.finish(CLOSED_EARLY if early else None)

    def __del__(self) -> None:
        self._end()


class SizedBody(Body):
    """A body that knows how many parts it has, as servers like to know for Content-Length.

    Whoever reads it has a reading of his own, as of a list: gevent adds up the lengths of the
    parts when it has taken the first of them, and then goes on.
    """

    __slots__ = ("is_being_read", "is_left")

    def __init__(self, exchange: WsgiExchange, result: Iterable[bytes]) -> None:
        super().__init__(exchange, result)
        self.is_being_read = self.is_left = False

    def __len__(self) -> int:
        return len(self.result)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[bytes]:
        if self._exhausted or self.is_left:  # read before, to learn of it: count the last one
            self._exhausted = self.is_left = False
            self.exchange.response_bytes = 0
        return Reading(self, self._begin())


class Reading:
    """One reading of a sized body. Within another one it only looks: nothing of it counts."""

    __slots__ = ("body", "iterator", "_counts")

    def __init__(self, body: SizedBody, iterator: Iterator[bytes]) -> None:
        self.body = body
        self.iterator = iterator
        self._counts: bool | None = None  # until its first step

    def __iter__(self) -> Reading:
        return self

    def __next__(self) -> bytes:
        body = self.body
        if self._counts is None:
            self._counts = not body.is_being_read
            body.is_being_read = True
        if not self._counts:
            return next(self.iterator)
        body._iterator = self.iterator
        try:
            return Body.__next__(body)
        except StopIteration:
            body.is_being_read = self._counts = False
            raise

    def __del__(self) -> None:
        if self._counts:  # left before its end
            self.body.is_being_read = False
            self.body.is_left = True


class WsgiEntry:
    """The way into a WSGI application: what most requests need, and nothing else.

    A request that asks for more, or each by `attend_all`, is given to ``self.attend(environ,
    start_response)``, a result that is none of the plain ones to ``self.settle(exchange,
    result)``; a subclass has them.
    """

    app: Callable[..., Any]
    meters: Meters
    attend: Callable[[dict[str, Any], Callable[..., Any]], Any]
    settle: Callable[[WsgiExchange, Any], Any]

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        """Serve a request."""
        if MARK in environ:
            return self.app(environ, start_response)
        environ[MARK] = True
        for key in _attended:
            if key in environ:
                return self.attend(environ, start_response)
        if _current() is not None:  # perhaps of the request before
            return self.attend(environ, start_response)
        exchange = WsgiExchange(self.meters, environ, start_response)
        try:
            result = self.app(environ, exchange)
        except BaseException as error:
            exchange.finish(error)
            raise
        if type(result) in _NOTHING_TO_CLOSE:
            return exchange.body(result)
        return self.settle(exchange, result)


class AsgiExchange(Exchange):
    """One ASGI request. It is the ``send`` that the application is given.

    `triggered`: a header asks for a trace. `request_bytes`: what was announced, or -1 where a
    body may come of which nothing was. `attended`: there is either to do, or a span is current,
    which may be of the request before.
    """

    __slots__ = ("attended", "triggered", "_head", "_trailers")

    def __init__(
        self, meters: Meters, scope: dict[str, Any], send: Callable[[Any], Any]
    ) -> None:
        self.triggered = self._trailers = False
        self._head: Any = None
        self.request_bytes = -1
        headers = scope.get("headers", ())
        if type(headers) not in (list, tuple):  # the application needs them too
            try:
                headers = scope["headers"] = list(headers)
            except Exception:  # noqa: BLE001  odd ones are the application's to refuse
                headers = ()
        for pair in headers:
            try:
                name, value = pair
                if name == b"content-length":
                    self.request_bytes = announced_length(value)
                elif name in _TRIGGERS:
                    self.triggered = True
            except (TypeError, ValueError):
                continue  # odd ones are the application's to refuse
        self._begin(meters, scope, scope.get("method"), send)
        if self.request_bytes < 0 and self.method not in WITH_BODY:
            self.request_bytes = 0
        self.attended = (
            self.triggered
            or self.request_bytes < 0
            or _current() is not None
            or _attended is _EACH
        )

    def header(self, name: str) -> str | None:
        """A header by its lower-case name; several of that name in order, joined by commas."""
        wanted = name.encode()
        lines = []
        for pair in self.carrier.get("headers", ()) if self.carrier else ():
            try:
                given, value = pair
            except (TypeError, ValueError):
                continue  # odd ones are the application's to refuse
            if given == wanted and isinstance(value, bytes):
                lines.append(value.decode("latin-1"))
        return ",".join(lines) if lines else None

    def __call__(self, message: Mapping[str, Any]) -> Any:
        """Pass a message to the server; what that returns is awaited by the application."""
        sent = self.respond(message)
        try:  # noqa: SIM105  costs nothing; suppress() costs 0.3 us
            self._saw(message.get("type"), message)
        except (AttributeError, TypeError):
            pass  # no such message: the server will say so
        return sent

    def _saw(self, kind: object, message: Mapping[str, Any]) -> None:
        if kind == "http.response.body":
            self.response_bytes += len(message.get("body", b""))
            over = not message.get("more_body", False) and not self._trailers
        elif kind == "http.response.start":
            status = message.get("status")
            if not isinstance(status, int) or not 0 <= status <= STATUS_MAX:
                status = 0
            self.status = status
            self._trailers = bool(message.get("trailers", False))
            self._head = message  # looked at where a file is sent by its path
            return
        elif kind == "http.response.trailers":
            over = not message.get("more_trailers", False)
        elif kind == "http.response.zerocopysend":
            over = not message.get("more_body", False) and not self._trailers
        elif kind == "http.response.pathsend":
            self._count_announced()
            over = not self._trailers
        else:
            return
        if over:
            self.finish()

    def _count_announced(self) -> None:
        """Count the bytes that the response's head announced: the file itself nobody sees."""
        headers = self._head.get("headers") if self._head is not None else None
        for pair in headers if isinstance(headers, (list, tuple)) else ():
            if isinstance(pair, (list, tuple)) and len(pair) == 2 and pair[0] == _LENGTH:
                self.response_bytes = announced_length(pair[1])

    def ended(self, error: BaseException | str | None = None) -> None:
        """The application has returned or raised: what is not complete by now never will be.

        `error` is what it raised, or a word.
        """
        if not self.finished:
            self.finish(error or (CLOSED_EARLY if self.status else NO_RESPONSE))
        elif error is not None:  # a background task, after the response
            self.meters.failed(error)


def attend_all(on: bool) -> None:
    """Have each request attended to from now on, or only those that ask for it."""
    global _attended
    _attended = _EACH if on else ATTENDED


_EACH: Final = (MARK,)  # which we put into each environ ourselves
_attended: tuple[str, ...] = ATTENDED
_current: Final = CURRENT.get
_LENGTH: Final = b"content-length"
_TRIGGERS: Final = frozenset({b"x-trace-info", b"traceparent"})
_NOTHING_TO_CLOSE: Final = frozenset({list, tuple, GeneratorType})
"""Results that an exhausted iteration has finished with: closing them does nothing."""
