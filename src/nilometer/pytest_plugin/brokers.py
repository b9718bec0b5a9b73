"""Hears what is published to brokers, where a client library writes it to its channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.callers import caller
from nilometer.pytest_plugin.recording import MESSAGES, Call, heard

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.patches import Patches

CHANNELS: Final[dict[str, tuple[str, ...]]] = {
    "pika.channel": ("basic_publish",),
    "amqp.channel": ("basic_publish", "_basic_publish"),
}
"""The module, whose class Channel publishes by these methods. amqp is what kombu, and with it
oslo.messaging and Celery, publish through; pika's other channels are adapters of this one."""


def listen_to_channels(module: Any, patches: Patches) -> None:
    """Hear all channels of this library, those that exist already too."""
    for method in CHANNELS[module.__name__]:
        patches.replace(module.Channel, method, _EXCHANGE_OF[module.__name__])


def _published(exchange_at: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Wraps a method that has the exchange's name at this place, or as ``exchange``."""

    def measured(original: Callable[..., Any]) -> Callable[..., Any]:
        def publish(channel: Any, *args: Any, **named: Any) -> Any:
            exchange = args[exchange_at] if len(args) > exchange_at else named.get("exchange")
            name = str(exchange or "(default)")
            heard(MESSAGES, lambda: Call(MESSAGES, f"to {name}", caller() or ""))
            return original(channel, *args, **named)

        return publish

    return measured


_EXCHANGE_OF: Final = {"pika.channel": _published(0), "amqp.channel": _published(1)}
