"""The statsd door when the collector ends in the midst of a flush: each row is written once."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from nilometer.collect.instruments import Refusals
from nilometer.collect.statsd import StatsdDoor


class SlowGroup:
    """Commits all rows, whoever waits for it, and says so once the test lets it."""

    def __init__(self):
        self.committed = []
        self.began, self.may = asyncio.Event(), asyncio.Event()

    async def submit(self, batches):
        self.committed += [reading.value for batch in batches for reading in batch.readings]
        self.began.set()
        await self.may.wait()


def test_a_flush_that_runs_when_the_collector_ends_is_finished_and_not_written_again():
    async def whole():
        group = SlowGroup()
        door = StatsdDoor(group, Refusals(), flush_s=0)
        door.take(b"jobs:7|c")
        running = asyncio.create_task(door.run())
        await group.began.wait()

        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        group.may.set()
        await door.close()
        return group.committed

    assert asyncio.run(whole()) == [7]
