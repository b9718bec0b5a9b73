"""All topics that messages are consumed from, for the daemon to begin and to end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from nilometer.collect.kafka_records import Records
from nilometer.errors import ConfigError, to_install

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.clock import Clock
    from nilometer.collect.group import GroupCommit
    from nilometer.collect.instruments import Refusals
    from nilometer.collect.kafka_consumer import Consumer
    from nilometer.collect.kafka_url import Topics


class KafkaTopics:
    """One consumer for each cluster. ConfigError if the client for them is not installed."""

    def __init__(
        self, told: Sequence[Topics], group: GroupCommit, refusals: Refusals, clock: Clock
    ) -> None:
        self._consumers = [
            _consumer(topics, Records(group, refusals, topics.signals, clock=clock))
            for topics in told
        ]

    def start(self) -> None:
        """Begin to consume; commits are made in the running loop."""
        for consumer in self._consumers:
            consumer.start(asyncio.get_running_loop())

    async def close(self) -> None:
        """Take nothing more, leave the groups with what is committed."""
        loop = asyncio.get_running_loop()
        stops = [loop.run_in_executor(None, consumer.stop) for consumer in self._consumers]
        await asyncio.gather(*stops)

    def troubles(self) -> list[str]:
        """Which clusters are not there, or topics not to be had, and what was said."""
        return [
            f"no messages from {consumer.topics}: {consumer.trouble}"
            for consumer in self._consumers
            if consumer.trouble
        ]


def _consumer(topics: Topics, records: Records) -> Consumer:
    try:
        from nilometer.collect.kafka_consumer import Consumer
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--kafka: this needs {error.name}: {to_install('kafka')}",
            slug="kafka-not-installed",
        ) from None
    return Consumer(topics, records)
