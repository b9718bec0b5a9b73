"""pika: messages published and processed, by blocking and by asynchronous channels."""

from __future__ import annotations

from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations import client_costs
from nilometer.integrations.messages import Messages, with_trace
from nilometer.integrations.patches import Patches
from nilometer.measure import REGISTRY
from nilometer.trace import CURRENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nilometer.measure import Registry
    from nilometer.trace.trigger import Triggers

SYSTEM: Final = "rabbitmq"
MARK: Final = "_nilometer_is_inner"

new: Final = object.__new__

_patches: Final = Patches()


def install(*, registry: Registry = REGISTRY, triggers: Triggers | None = None) -> bool:
    """Measure every channel of pika; False if that is done already.

    `triggers` says which traces are taken up. AttributeError if this pika is built otherwise.
    """
    if _patches.active:
        return False
    from pika.adapters.blocking_connection import BlockingChannel
    from pika.channel import Channel

    messages = Messages(
        "pika",
        registry=registry,
        triggers=triggers,
        costs=client_costs.pika_publish,
    )
    _patches.also_end(messages)
    with _patches:
        for owner, inner in ((BlockingChannel, _never), (Channel, _is_inner)):
            swap = partial(_patches.swap, owner)
            swap("basic_publish", partial(_publishing, messages=messages, is_inner=inner))
            swap("basic_consume", partial(_consuming, messages=messages, is_inner=inner))
        _patches.swap(BlockingChannel, "consume", lambda f: _iterating(f, messages))
        _patches.swap(Channel, "_set_cookie", _marking)
    return True


def uninstall() -> None:
    """Leave nothing behind; callbacks that were given meanwhile are passed on to."""
    _patches.undo()


def broker_of(channel: Any) -> tuple[str, int]:
    """The host and the port of the broker behind a channel of either kind, where it says so."""
    connection = channel.connection
    said = getattr(getattr(connection, "_impl", connection), "params", None)
    return getattr(said, "host", ""), getattr(said, "port", 0)


def headers_of(channel: Any, method: Any, properties: Any, body: Any) -> Any:  # noqa: ARG001
    """The headers of what a consumer's callback was given."""
    return properties.headers


def _is_inner(channel: Any) -> bool:
    """Whether a blocking channel is above this one, which is measured itself."""
    return channel._cookie is not None or MARK in vars(channel)


def _never(_channel: Any) -> bool:
    return False


def _marking(original: Callable[..., Any]) -> Callable[..., Any]:
    def set_cookie(channel: Any, cookie: object) -> Any:
        vars(channel)[MARK] = True  # one that is closed has lost its cookie
        return original(channel, cookie)

    return set_cookie


def _publishing(
    original: Callable[..., Any],
    messages: Messages,
    *,
    is_inner: Callable[[Any], bool] = _never,
) -> Callable[..., Any]:
    depth, current, only_headers = messages.depth, CURRENT.get, _only_headers()

    def sending(
        channel: Any, exchange: Any, key: Any, body: Any, properties: Any, mandatory: Any
    ) -> Any:
        given = None if properties is None else properties.headers
        headers = with_trace(given, "pika")
        if headers is not given:  # a copy, as the caller may send his again
            made = new(only_headers) if properties is None else copy(properties)
            made.headers = headers
            properties = made
        return original(channel, exchange, key, body, properties, mandatory)

    def basic_publish(
        channel: Any,
        exchange: Any,
        routing_key: Any,
        body: Any,
        properties: Any = None,
        mandatory: bool = False,
    ) -> Any:
        if not depth.on or is_inner(channel):
            return original(channel, exchange, routing_key, body, properties, mandatory)
        if current() is None:
            publish = messages.timed(original, SYSTEM, exchange, routing_key)
        else:
            place = broker_of(channel)
            publish = messages.inside(original, sending, SYSTEM, *place, exchange, routing_key)
        return publish(channel, exchange, routing_key, body, properties, mandatory)

    return basic_publish


def _only_headers() -> type:
    """The class of properties of which only the headers are set: pika sets fourteen, one by
    one, and they are made without that."""
    from pika.spec import BasicProperties

    return type("OnlyHeaders", (BasicProperties,), dict.fromkeys(vars(BasicProperties())))


def _consuming(
    original: Callable[..., Any], *, messages: Messages, is_inner: Callable[[Any], bool]
) -> Callable[..., Any]:
    def basic_consume(
        channel: Any, queue: Any, on_message_callback: Any, *args: Any, **options: Any
    ) -> Any:
        if messages.depth.on and not is_inner(channel) and callable(on_message_callback):
            on_message_callback = messages.processing(
                on_message_callback, SYSTEM, queue, headers_of
            )
        return original(channel, queue, on_message_callback, *args, **options)

    return basic_consume


def _iterating(original: Callable[..., Any], messages: Messages) -> Callable[..., Any]:
    """Messages in a loop: each lasts until the next is asked for, or none is any more."""

    def consume(channel: Any, queue: Any, *args: Any, **options: Any) -> Iterator[Any]:
        operation = messages.consuming(SYSTEM, queue)
        for delivered in original(channel, queue, *args, **options):
            method, properties, body = delivered
            if method is None or not messages.depth.on:  # nothing came in time
                yield delivered
                continue
            sent = messages.read(headers_of, channel, method, properties, body)
            with messages.process(operation, sent):
                try:
                    yield delivered
                except GeneratorExit:  # that is how a loop is left
                    return

    return consume
