"""kombu: messages published by producers and processed by consumers, over any transport.

What is measured is each attempt to publish: one that kombu makes again is signed anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations import client_costs, faults
from nilometer.integrations.messages import Messages, with_trace
from nilometer.integrations.patches import Patches, expect
from nilometer.integrations.standing import chosen, switched
from nilometer.measure import REGISTRY
from nilometer.trace import CURRENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.measure import Registry
    from nilometer.trace.trigger import Triggers

SYSTEMS: Final = {"amqp": "rabbitmq"}
"""OpenTelemetry's names of what kombu calls otherwise."""

WITH_HOST: Final = frozenset({"amqp", "redis"})
"""Transports whose connection says a host; others keep URLs there, with passwords in them."""

PUBLISH: Final = (
    *("self", "body", "priority", "content_type", "content_encoding", "headers"),
    *("properties", "routing_key", "mandatory", "immediate", "exchange"),
)
"""What kombu's own `_publish` is given first; it is the same since kombu 4."""

ROUTING_KEY: Final = PUBLISH.index("routing_key") - 1  # of what follows the producer
EXCHANGE: Final = PUBLISH.index("exchange") - 1

_patches: Final = Patches()


def install(*, registry: Registry = REGISTRY, triggers: Triggers | None = None) -> bool:
    """Measure every producer and consumer of kombu; False if that is done already.

    `triggers` says which traces are taken up. AttributeError if this kombu is built otherwise.
    """
    if _patches.active:
        return False
    from kombu.messaging import Consumer, Producer

    expect(Producer._publish, *PUBLISH)
    messages = Messages(
        "kombu",
        registry=registry,
        triggers=triggers,
        costs=client_costs.kombu_publish,
    )
    _patches.also_end(messages)
    with _patches:
        _patches.swap(Producer, "_publish", lambda f: _publishing(f, messages))
        _patches.swap(Consumer, "_receive_callback", lambda f: _consuming(f, messages))
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()


def broker_of(connection: Any) -> tuple[str, str, int | None]:
    """A connection's messaging system, and the host and port of its broker if it has one."""
    if connection is None:
        return "rabbitmq", "", None
    kind = connection.transport.driver_type
    system = SYSTEMS.get(kind, kind)
    if kind not in WITH_HOST:
        return system, "", None
    return system, connection.hostname or "localhost", connection.port


def _connection(entity: Any) -> Any:
    """The connection of a producer or a consumer, without connecting; None if it has none."""
    made = getattr(entity, "__connection__", None)
    channel = getattr(entity, "_channel", None) or getattr(entity, "channel", None)
    return made or getattr(getattr(channel, "connection", None), "client", None)


def _publishing(original: Callable[..., Any], messages: Messages) -> Callable[..., Any]:
    current = CURRENT.get

    def sending(
        producer: Any,
        body: Any,
        priority: Any,
        content_type: Any,
        content_encoding: Any,
        headers: Any,
        *args: Any,
        **options: Any,
    ) -> Any:
        given = producer, body, priority, content_type, content_encoding
        return original(*given, with_trace(headers, "kombu"), *args, **options)

    def choose(producer: Any, *args: Any, **named: Any) -> Callable[..., Any]:
        if len(args) > EXCHANGE:
            routing_key, exchange = args[ROUTING_KEY], args[EXCHANGE]
        else:  # somebody calls it who is not kombu
            routing_key, exchange = named.get("routing_key"), named.get("exchange")
        system, host, port = _told(producer)
        if current() is None:
            return messages.timed(original, system, exchange, routing_key)
        return messages.inside(original, sending, system, host, port, exchange, routing_key)

    return chosen(messages.depth, original, choose)


def _told(entity: Any) -> tuple[str, str, int | None]:
    try:
        return broker_of(_connection(entity))
    except Exception as error:  # noqa: BLE001  a transport of another kind works without us
        REGISTRY.lost("attributes", "unreadable")
        faults.tell("kombu", "a connection", error)
        return broker_of(None)


def _consuming(original: Callable[..., Any], messages: Messages) -> Callable[..., Any]:
    def _receive_callback(consumer: Any, message: Any) -> Any:
        operation = messages.consuming(_told(consumer)[0], *queue_of(consumer, message))
        with messages.process(operation, messages.read(headers_of, message)):
            return original(consumer, message)

    return switched(messages.depth, original, _receive_callback)


def headers_of(message: Any) -> Any:
    """The headers of a message, as kombu made it or as py-amqp did."""
    made = getattr(message, "headers", None)
    return message.properties.get("application_headers") if made is None else made


def queue_of(consumer: Any, message: Any) -> tuple[object, ...]:
    """The queue that a message came from; its routing key if the consumer does not say."""
    try:
        said = message.delivery_info
        tag = said.get("consumer_tag")
        queue = next((name for name, one in consumer._active_tags.items() if one == tag), None)
        return queue, said.get("routing_key")
    except Exception as error:  # noqa: BLE001  a transport of another kind works without us
        REGISTRY.lost("attributes", "unreadable")
        faults.tell("kombu", "the name of a queue", error)
        return ()
