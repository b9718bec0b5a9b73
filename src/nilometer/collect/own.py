"""What the collector measures about itself, on its way into the collector's own tables.

Nothing of it is lost while the tables refuse commits: what could not be written is tried again,
and until it is written the instruments go on gathering, which takes no more memory.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections import Counter
from typing import TYPE_CHECKING, Final

from nilometer.collect.group import NotCommitted
from nilometer.collect.instruments import CLAMPED, DUPLICATES, LOST, Sayer, taken
from nilometer.errors import NilometerError
from nilometer.model import Batch, Resource

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.collect.group import GroupCommit
    from nilometer.store.broken import Broken
    from nilometer.store.lake import Lake
    from nilometer.store.query import Reader

log = logging.getLogger("nilometer.collector")

OWN_SERVICE: Final = "nilometer-collector"


class OwnReadings:
    """Counts what the tables and the kernel tell, and commits all of our own readings.

    `dropped` says how many datagrams the kernel dropped since it was last asked.
    """

    def __init__(self, group: GroupCommit, lake: Lake, reader: Reader, sayer: Sayer) -> None:
        self.dropped: Callable[[], int] = int
        self._group = group
        self._lake = lake
        self._reader = reader
        self._sayer = sayer
        self._resource = Resource(OWN_SERVICE, host=socket.gethostname(), pid=os.getpid())
        self._unwritten = Batch(self._resource)
        self._one = asyncio.Lock()
        self._clamped: Counter[str] = Counter()
        self._again: Counter[str] = Counter()
        self._torn: set[tuple[str, str]] = set()
        self._broken: set[Broken] = set()

    async def write(self) -> None:
        """Commit what was measured; quietly, so that this is no news."""
        async with self._one:
            await self._write()

    async def _write(self) -> None:
        self.count()
        if await self._written(self._unwritten):
            readings, events = taken()
            await self._written(Batch(self._resource, readings, (), events))

    async def _written(self, batch: Batch) -> bool:
        self._unwritten = batch
        try:
            await self._group.submit([batch], quiet=True)
        except NilometerError as error:
            if not isinstance(error, NotCommitted) or error.may_retry:
                return False
            LOST.bind(what="own-readings", reason=error.slug).add(batch.rows)
        self._unwritten = Batch(self._resource)
        return True

    async def close(self) -> None:
        """Write a last time; what even that cannot write is lost, and said."""
        await self.write()
        if self._unwritten.rows:
            log.error("lost %d readings of the collector itself", self._unwritten.rows)

    # ---- what others know ----------------------------------------------------------------

    def count(self) -> None:
        """Count what the kernel and the tables noticed since the last time, and say so."""
        dropped = self.dropped()
        if dropped:
            LOST.bind(what="datagrams", reason="kernel-buffer-full").add(dropped)
            self._sayer.say("statsd: the kernel dropped datagrams", times=dropped)
        self._count_clamped()
        self._count_again()
        self._count_torn()
        self._count_broken()

    def _count_clamped(self) -> None:
        so_far = Counter(self._lake.clamped)
        for kind, rows in (so_far - self._clamped).items():
            CLAMPED.bind(kind=kind).add(rows)
            self._sayer.say(
                f"{kind} far from today: a clock off by weeks, old traces", times=rows
            )
        self._clamped = so_far

    def _count_again(self) -> None:
        so_far = Counter(self._lake.again)
        for kind, rows in (so_far - self._again).items():
            DUPLICATES.bind(kind=kind).add(rows)
        self._again = so_far

    def _count_torn(self) -> None:
        found = {(name, entry) for name, torn in self._lake.torn().items() for entry in torn}
        for name, entry in sorted(found - self._torn):
            LOST.bind(what="commits", reason="torn").add()
            matter = f"the last commit in the log of {name} was torn and is set aside"
            self._sayer.say(matter, f"{entry}.torn; see store-damaged")
        self._torn |= found

    def _count_broken(self) -> None:
        found = set(self._reader.broken())
        for each in sorted(found - self._broken):
            LOST.bind(what=f"stored-{each.table}", reason="unreadable").add(each.rows)
            matter = f"a file of {each.table} cannot be read, and answers leave it out"
            self._sayer.say(matter, f"{each.path}: {each.because}")
        self._broken |= found
