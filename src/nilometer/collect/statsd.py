"""statsd in: datagrams to aggregates, and at each flush aggregates to the tables.

Nobody is told whether a datagram arrived, so nobody can send it again: what the tables refuse
is kept here, within a bound, and tried again with the next flush; what exceeds the bound is
lost, oldest first, and counted.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections import deque
from typing import TYPE_CHECKING, Final

from nilometer.clock import Clock
from nilometer.collect.aggregate import Aggregator
from nilometer.collect.group import NotCommitted, Overloaded
from nilometer.collect.instruments import ACCEPTED, DATAGRAMS, LOST
from nilometer.model import Batch, Resource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nilometer.collect.group import GroupCommit
    from nilometer.collect.instruments import Refusals

log = logging.getLogger("nilometer.collector")

# Two flushes of as many series as there may be, or an hour of 300 series: some 100 MB.
BACKLOG_ROWS_MAX: Final = 100_000

STATSD_SERVICE: Final = "statsd"  # datagrams do not say who sent them


class StatsdDoor:
    """Aggregates packets and flushes them through the group commit."""

    def __init__(
        self,
        group: GroupCommit,
        refusals: Refusals,
        *,
        flush_s: float,
        clock: Clock | None = None,
        backlog_rows_max: int = BACKLOG_ROWS_MAX,
    ) -> None:
        self._group = group
        self._refusals = refusals
        self._flush_s = flush_s
        self._clock = clock or Clock()
        self._backlog_rows_max = backlog_rows_max
        self._aggregator = Aggregator(self._clock)
        self._resource = Resource(STATSD_SERVICE, host=socket.gethostname())
        self._backlog: deque[Batch] = deque()
        # No client sends a datagram again, so what two flushes say alike was said twice.
        self._door = f"{os.getpid()}.{self._clock.wall_ns()}"
        self._flushes = 0
        self._one = asyncio.Lock()

    def take(self, packet: bytes) -> None:
        """One datagram, from the receiver's thread."""
        DATAGRAMS.add()
        refused = self._aggregator.take(packet)
        if refused:
            self._refused(refused)

    def _refused(self, refused: Mapping[str, int]) -> None:
        for reason, lines in refused.items():
            self._refusals.count("statsd", reason, lines)

    async def run(self) -> None:
        """Flush at each interval until cancelled."""
        while True:
            await asyncio.sleep(self._flush_s)
            # Whole even if we end meanwhile: else its rows would be committed a second time.
            await asyncio.shield(self.flush())

    async def flush(self) -> None:
        """Write what was gathered, and what could not be written before."""
        async with self._one:
            await self._flush()

    async def _flush(self) -> None:
        # 50,000 series take some 0.2 s: in a thread, so that requests are answered meanwhile.
        loop = asyncio.get_running_loop()
        readings, events = await loop.run_in_executor(None, self._aggregator.flush)
        self._flushes += 1
        delivery = f"{self._door}.{self._flushes}"
        self._backlog.append(Batch(self._resource, readings, (), events, delivery))
        self._forget_oldest()
        waiting = [batch for batch in self._backlog if batch.rows]
        try:
            await self._group.submit(waiting)
        except (NotCommitted, Overloaded) as error:
            if isinstance(error, NotCommitted) and not error.may_retry:
                self._backlog.clear()
                self._lost(sum(batch.rows for batch in waiting), "not-storable")
            return
        self._backlog.clear()
        for batch in waiting:
            ACCEPTED.bind(door="statsd", kind="readings").add(len(batch.readings))
            ACCEPTED.bind(door="statsd", kind="events").add(len(batch.events))

    def _forget_oldest(self) -> None:
        """Keep the backlog within its bound; the newest flush always stays."""
        rows = sum(batch.rows for batch in self._backlog)
        while rows > self._backlog_rows_max and len(self._backlog) > 1:
            oldest = self._backlog.popleft()
            rows -= oldest.rows
            self._lost(oldest.rows, "not-committed")

    async def close(self) -> None:
        """A last flush; what even that cannot write is lost."""
        await self.flush()
        self._lost(sum(batch.rows for batch in self._backlog), "not-committed")

    def _lost(self, rows: int, reason: str) -> None:
        if rows:
            LOST.bind(what="statsd", reason=reason).add(rows)
            log.error("statsd: lost %d rows: %s", rows, reason)
