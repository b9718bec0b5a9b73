"""One WebSocket connection on the server's side, from its handshake to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.http_words import error_type
from nilometer.integrations.routes import ASGI, reader
from nilometer.model import Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from nilometer.clock import Clock
    from nilometer.integrations.http_meters import ServerInstruments

    Message = MutableMapping[str, Any]

_route_of: Final = reader(ASGI)


class Connection:
    """Watches the messages both ways; only the closing code is kept of them."""

    __slots__ = (
        "_instruments",
        "_scope",
        "_receive",
        "_send",
        "_clock",
        "_started_ns",
        "code",
        "span",
    )

    def __init__(
        self,
        instruments: ServerInstruments,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
        clock: Clock,
    ) -> None:
        self._instruments = instruments
        self._scope = scope
        self._receive = receive
        self._send = send
        self._clock = clock
        self.code = 0
        self.span: Any = None
        instruments.connected(id(self))
        self._started_ns = clock.elapsed_ns()

    async def receive(self) -> Message:
        """As the server's."""
        message = await self._receive()
        if message.get("type") == "websocket.disconnect":
            self.code = message.get("code") or 1005  # RFC 6455 7.1.5: no status was received
        return message

    async def send(self, message: Message) -> None:
        """As the server's."""
        if message.get("type") == "websocket.close":
            self.code = message.get("code") or 1000
        await self._send(message)

    def finish(self, error: BaseException | None = None) -> None:
        """The connection is over."""
        elapsed = self._clock.elapsed_ns() - self._started_ns
        route = None
        try:
            route = _route_of(self._scope)
            self._instruments.disconnected(id(self), route, elapsed, error)
        except Exception as fault:  # noqa: BLE001  measuring must not fail what it measures
            self._instruments.faulted(fault)
        span = self.span
        if span is None:
            return
        if span.recording:
            if route is not None:
                span.name = f"WEBSOCKET {route}"
                span.set_attribute("http.route", route)
            if self.code:
                span.set_attribute("websocket.close_code", self.code)
            if error is not None:
                span.set_attribute("error.type", error_type(error))
                span.set_status(Status.ERROR)
        span.finish(error)
