"""ASGI applications measured, and traced when a signed header asks for it.

    from nilometer.integrations.asgi import Middleware

    app = Middleware(app)

A request lasts until the last part of its response has been given to the server, or until the
application returned or raised. What runs after that (background tasks) belongs to no request's
time, but its spans still belong to its trace. A WebSocket lasts from its connection to its end
and has its own instruments; lifespan messages pass untouched.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nilometer.clock import Clock
from nilometer.integrations.asgi_phases import timed_app
from nilometer.integrations.exchange import AsgiExchange
from nilometer.integrations.flight import Running
from nilometer.integrations.http_meters import server_instruments
from nilometer.integrations.http_phases import ARRIVED_KEY
from nilometer.integrations.http_span import close_root, open_root
from nilometer.integrations.http_words import CLOSED_EARLY, MARK
from nilometer.integrations.websocket import Connection
from nilometer.measure import REGISTRY
from nilometer.trace import CURRENT, Trace
from nilometer.trace.current import is_left_over
from nilometer.trace.twin import stand_in

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from nilometer.integrations.http_phases import Stopwatch
    from nilometer.measure import Registry
    from nilometer.trace import Joined
    from nilometer.trace.trigger import Triggers

    Scope = dict[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class Middleware:
    """An ASGI application around another one.

    `triggers` says which requests are traced (none without it), `server` names in the span
    which server runs the application.
    """

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
        self._triggers = triggers
        self._server = server
        self._clock = clock or Clock()
        self._instruments = server_instruments(registry)
        self._depth = self._instruments.depths["asgi"]
        self._meters = self._instruments.meters("asgi", self._clock, close_root)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or a connection, or the application's life."""
        if scope["type"] != "http" or MARK in scope:
            await self._other(scope, receive, send)
            return
        scope[MARK] = True
        exchange = AsgiExchange(self._meters, scope, send)
        before, entered, watch = None, False, None
        app = self.app
        if exchange.attended:
            before = CURRENT.get()
            if entered := is_left_over(before):
                CURRENT.set(None)
            if self._instruments.phases.on:
                watch = self._watch(scope, exchange)
                app = timed_app(app, exchange, watch)
            if exchange.request_bytes < 0:
                receive = _counting(receive, exchange)
            request = self._request(exchange.header) if exchange.triggered else None
            if (entered or before is None) and not isinstance(request, Trace):
                request = self._recorded(exchange, request)
            if request is not None:
                entered = True
                exchange.span = self._span(request, exchange.method, scope)
            entered = entered or watch is not None
        try:
            await app(scope, receive, exchange)
        except BaseException as error:
            exchange.ended(error)
            raise
        else:
            if exchange.status or exchange.finished:
                exchange.ended()
            else:
                exchange.ended(CLOSED_EARLY if _has_gone(receive) else None)
        finally:
            if entered:  # the same task may serve another request: keep-alive, tests
                CURRENT.set(before)
                if watch is not None:
                    watch.tell(exchange)

    def _watch(self, scope: Scope, exchange: AsgiExchange) -> Stopwatch:
        arrived_ns = scope.pop(ARRIVED_KEY, 0)
        return self._instruments.phases.watch(exchange.meters.elapsed_ns, arrived_ns)

    def _request(self, headers: Callable[[str], str | None]) -> Trace | Joined | None:
        return None if self._triggers is None else self._triggers.accept(headers)

    def _recorded(self, exchange: AsgiExchange, joined: Joined | None) -> Trace | Joined | None:
        """The request as the flight recorder has it, if that is on."""
        recorder = Running.recorder if self._triggers is not None and self._depth.on else None
        recording = None if recorder is None else recorder.begin(joined)
        if recording is None:
            return joined
        exchange.flight = recording
        return recording.trace

    def _span(self, request: Trace | Joined, method: str, scope: Scope) -> Any:
        """The request's own, or what stands for whoever sent it, where that is off."""
        if self._depth.on or not isinstance(request, Trace):
            return open_root(request, method, scope.get("path", ""), self._server)
        return stand_in(request)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket" or MARK in scope:
            await self.app(scope, receive, send)
            return
        scope[MARK] = True
        request = self._request(_header(scope))
        before = CURRENT.get()
        if is_left_over(before):
            CURRENT.set(None)
        connection = Connection(self._instruments, scope, receive, send, self._clock)
        if request is not None:
            connection.span = self._span(request, "WEBSOCKET", scope)
        try:
            await self.app(scope, connection.receive, connection.send)
        except BaseException as error:
            connection.finish(error)
            raise
        else:
            connection.finish()
        finally:
            CURRENT.set(before)


def _header(scope: Scope) -> Callable[[str], str | None]:
    """Looks up a header by its lower-case name; several of it in order, joined by commas."""
    headers: dict[bytes, list[str]] = {}
    for pair in scope.get("headers") or ():
        try:
            name, value = pair
            headers.setdefault(name, []).append(value.decode("latin-1"))
        except (TypeError, ValueError, AttributeError):
            continue  # odd ones are the application's to refuse
    return lambda name: ",".join(headers.get(name.encode("ascii"), ())) or None


def _has_gone(receive: Receive) -> bool:
    """Whether the server says at once that the client has gone; nobody else asks any more."""
    try:
        asked = receive().__await__()
        next(asked)
    except StopIteration as answer:
        return bool(answer.value.get("type") == "http.disconnect")
    except Exception:  # noqa: BLE001  a server that minds says nothing
        return False
    with suppress(Exception):  # it may mind being left in the midst of its waiting
        asked.close()
    return False


def _counting(receive: Receive, exchange: AsgiExchange) -> Receive:
    """`receive`, with the bytes of the request's body counted as they come."""
    exchange.request_bytes = 0

    async def counted() -> Message:
        message = await receive()
        exchange.request_bytes += len(message.get("body") or b"")
        return message

    return counted
