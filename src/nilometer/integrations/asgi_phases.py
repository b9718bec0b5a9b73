"""The phases of an ASGI request, seen from what it receives and sends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.http_words import CLOSED_EARLY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from nilometer.integrations.exchange import AsgiExchange
    from nilometer.integrations.http_phases import Stopwatch

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]

_HEAD: Final = "http.response.start"
"""The message that begins a response; servers keep it until its first part comes."""


def timed_app(app: Application, exchange: AsgiExchange, watch: Stopwatch) -> Application:
    """The application, whose request is received and answered in the sight of its stopwatch."""
    has_body = exchange.request_bytes != 0  # none announced may be some

    async def called(scope: dict[str, Any], receive: Receive, _send: Send) -> None:
        receive = timed_receive(receive, exchange, watch, is_complete=not has_body)
        await app(scope, receive, timed_send(exchange, watch))

    return called


def timed_receive(
    receive: Receive, exchange: AsgiExchange, watch: Stopwatch, *, is_complete: bool
) -> Receive:
    """`receive`, timed until the body is complete; after that it waits for the client to go."""

    async def timed() -> Message:
        nonlocal is_complete
        if is_complete:
            message = await receive()
            if message.get("type") == "http.disconnect" and not exchange.finished:
                watch.send_failed(CLOSED_EARLY)
            return message
        started = watch.now()
        try:
            message = await receive()
        except BaseException as error:
            watch.receive_failed(error)
            raise
        finally:
            watch.received(started)
        if message.get("type") == "http.disconnect":
            watch.receive_failed(CLOSED_EARLY)
        is_complete = not message.get("more_body", False)
        return message

    return timed


def timed_send(exchange: AsgiExchange, watch: Stopwatch) -> Send:
    """The exchange as `send`, each message timed until the server has taken it."""

    async def timed(message: Message) -> None:
        is_part = message.get("type") != _HEAD
        started = watch.part() if is_part else watch.now()
        try:
            await exchange(message)
        except BaseException as error:
            watch.send_failed(error)
            raise
        finally:
            watch.sent(started)
        if exchange.finished:
            watch.tell(exchange)

    return timed
