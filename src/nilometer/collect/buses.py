"""All brokers that notifications are consumed from, for the daemon to begin and to end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from nilometer.collect.notifications import Intake
from nilometer.errors import ConfigError, to_install

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.clock import Clock
    from nilometer.collect.bus import Consumer
    from nilometer.collect.bus_url import Bus
    from nilometer.collect.group import GroupCommit
    from nilometer.collect.instruments import Refusals
    from nilometer.model import Event
    from nilometer.store.query import Reader

WAITED_NS: Final = 3600 * 10**9
"""So old the points may be that are looked for when the collector starts: what takes longer is
not found by its stop, but by whoever asks for its trace."""


class Buses:
    """One consumer for each broker. ConfigError if the client for them is not installed."""

    def __init__(
        self,
        buses: Sequence[Bus],
        group: GroupCommit,
        refusals: Refusals,
        reader: Reader,
        clock: Clock,
    ) -> None:
        self._reader = reader
        self._clock = clock
        self._consumers = [
            self._consumer(bus, Intake(group, refusals, bus, clock=clock)) for bus in buses
        ]

    def _consumer(self, bus: Bus, intake: Intake) -> Consumer:
        try:
            from nilometer.collect.bus import Consumer
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"--notifications: this needs {error.name}: {to_install('notifications')}",
                slug="notifications-not-installed",
            ) from None
        return Consumer(bus, intake, self.lone)

    def lone(self) -> list[Event]:
        """The points in the tables that wait for the other of their pair."""
        return self._reader.lone_points(self._clock.wall_ns() - WAITED_NS)

    def start(self) -> None:
        """Begin to consume; commits are made in the running loop."""
        for consumer in self._consumers:
            consumer.start(asyncio.get_running_loop())

    async def close(self) -> None:
        """Take nothing more, acknowledge what is committed."""
        loop = asyncio.get_running_loop()
        stops = [loop.run_in_executor(None, consumer.stop) for consumer in self._consumers]
        await asyncio.gather(*stops)

    def troubles(self) -> list[str]:
        """Which brokers are not there, and what they said."""
        return [
            f"no notifications from {consumer.bus}: {consumer.trouble}"
            for consumer in self._consumers
            if consumer.trouble
        ]
