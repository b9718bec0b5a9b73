"""The root span of a request that came over HTTP: how it begins, and what it ends with.

Attributes follow OpenTelemetry's conventions for HTTP servers. The query is left out: it is
where tokens and names of people are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nilometer.integrations.http_words import error_type
from nilometer.model import Status
from nilometer.trace import CURRENT, Trace, start_root

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.exchange import AsgiExchange, WsgiExchange
    from nilometer.trace import Joined, Span
    from nilometer.trace.pure import Untraced


def open_root(
    request: Trace | Joined, method: str, path: object, server: str
) -> Span | Joined | Untraced:
    """Start the span of a request (or join it) and make it the current one."""
    attributes: dict[str, object] = {
        "http.request.method": method,
        "url.path": path if isinstance(path, str) else repr(path),
    }
    if server:
        attributes["nilometer.server"] = server
    if isinstance(request, Trace):
        request.lasting = True  # background tasks belong to it, if not to its time
    return start_root(method, request=request, attributes=attributes).start()


def close_root(exchange: WsgiExchange | AsgiExchange) -> None:
    """End the span of an exchange that is over, with what is known of it by now."""
    flight = exchange.flight
    if flight is None:
        _close(exchange, is_told=True)
        return
    is_kept = flight.keeps(exchange)
    try:
        _close(exchange, is_told=is_kept)
    finally:
        flight.end(is_kept)


def _close(exchange: WsgiExchange | AsgiExchange, *, is_told: bool) -> None:
    span = exchange.span
    error = exchange.error
    if is_told and span.recording:
        _describe(span, exchange)
    was_current = CURRENT.get() is span
    span.finish(error if isinstance(error, BaseException) else None)
    if was_current:
        CURRENT.set(
            span
        )  # what still runs (background tasks) belongs to it, if not to its time


def _describe(span: Span, exchange: WsgiExchange | AsgiExchange) -> None:
    error = exchange.error
    if exchange.route is not None:
        span.name = f"{exchange.method} {exchange.route}"
        span.set_attribute("http.route", exchange.route)
    if exchange.status:
        span.set_attribute("http.response.status_code", exchange.status)
    if exchange.request_bytes > 0:
        span.set_attribute("http.request.body.size", exchange.request_bytes)
    span.set_attribute("http.response.body.size", exchange.response_bytes)
    if exchange.handled is not None:
        span.record_exception(exchange.handled)
    if isinstance(error, str):
        span.set_attribute("error.type", error_type(error))
        span.set_status(Status.ERROR, error)
    elif exchange.status >= 500 and error is None:
        span.set_attribute("error.type", str(exchange.status))
        span.set_status(Status.ERROR)


class Steps:
    """The body of a traced request: each step of it runs where its last one left off.

    Between two steps the server's thread has its own current span back, so that a body which
    nobody reads to its end cannot lend its span to the thread's next request.
    """

    __slots__ = ("body", "current")

    def __init__(self, body: Any, current: Any) -> None:
        self.body = body
        self.current = current

    def _step(self, call: Callable[[], Any]) -> Any:
        before = CURRENT.get()
        CURRENT.set(self.current)
        try:
            return call()
        finally:
            self.current = CURRENT.get()
            CURRENT.set(before)

    def __iter__(self) -> Steps:
        self._step(self.body.__iter__)
        return self

    def __next__(self) -> bytes:
        return self._step(self.body.__next__)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Close the body, inside its span."""
        self._step(self.body.close)


class SizedSteps(Steps):
    """Steps of a body that knows how many parts it has: each reading has steps of its own."""

    __slots__ = ()

    def __iter__(self) -> Steps:
        return Steps(self._step(self.body.__iter__), self.current)

    def __len__(self) -> int:
        return len(self.body)
