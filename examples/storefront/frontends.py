"""What listens to the shop: front ends, each with a queue of its own, and the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import uuid4

from examples.storefront.shop import CACHES, EVENTS, declare

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

FRONTENDS: Final = 3
MESSAGES_MAX: Final = 1000  # nobody reads them here: the oldest go


def listen(channel: BlockingChannel) -> None:
    """Declare and bind the queues, named as oslo.messaging names its fan-out queues."""
    declare(channel)
    limit = {"x-max-length": MESSAGES_MAX}
    for _ in range(FRONTENDS):
        queue = f"storefront_fanout_{uuid4().hex}"
        channel.queue_declare(queue, durable=True, arguments=limit)
        channel.queue_bind(queue, CACHES)
    channel.queue_declare("ledger", durable=True, arguments=limit)
    channel.queue_bind("ledger", EVENTS, "#")
