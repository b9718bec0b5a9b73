"""The store as its writers see it: append batches, keep the tables in shape.

Delivery is at least once, and duplicates are told apart: an append touches a table per kind of
row, one commit each, and is acknowledged when all are committed. If one fails the sender sends
again, and the rows that were committed the first time come twice. Each row says which batch it
came in (`delivery`, a digest of the content) and which append wrote it: of one delivery the
readers count only the least append, and compaction drops the others.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from functools import partial
from itertools import islice
from random import getrandbits
from secrets import token_hex
from threading import Lock
from typing import TYPE_CHECKING, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from nilometer.clock import Clock
from nilometer.errors import StoreError
from nilometer.store.columns import Part, parts, table_of
from nilometer.store.compaction import VACUUM_AFTER, Maintained, maintain, tidy
from nilometer.store.objects import objects_at
from nilometer.store.places import Place, store_error
from nilometer.store.rollups import roll_up
from nilometer.store.stored import EPOCH, StoredTable
from nilometer.store.tables import TABLES, WHOLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from nilometer.model import Batch

Durability = Literal["disk", "os"]

NS_PER_S: Final = 10**9
NS_PER_DAY: Final = 24 * 3600 * NS_PER_S
PAST_DAYS: Final = 31
FUTURE_DAYS: Final = 1
"""Partitions lie this far around today at most; older rows go to today's, later to the last.

A sender with a wrong clock then makes at most 33 partitions, not one per day since 1970; and
what is older when it comes than rows are kept, as an imported trace may be, is kept from the
day on which it came, and does not go with the next maintenance.
"""

OURS: Final = {"journal", ".gitignore"}
"""What commands keep beside the tables, and put there before there are any."""

APPEND_RANDOM_BITS: Final = 12
"""Two processes append in the same 4 us once in 4,096 times with the same number; no matter,
unless it is the same delivery too."""


DELIVERIES_MAX: Final = 100_000
"""Remembered per table, to count what came again: of a hundred processes that send every 10 s
nearly three hours, longer than any sender goes on trying; some 10 MB."""


class Lake:
    """The tables at one place, to be written. Any number of processes may hold one each.

    `durability` "disk": what is acknowledged survives a power cut; "os": only a kill. `keep`
    is how long rows are kept; what is older when it comes is kept as long from then on.
    `clamped` counts, by table, rows of clocks so far off that their partition is not their day;
    `again` those that say the same as rows before them, as far as remembered: they count once.
    """

    def __init__(
        self,
        location: str | Path,
        *,
        durability: Durability = "disk",
        keep: timedelta | None = None,
        storage_options: Mapping[str, str] | None = None,
        clock: Clock = Clock(),  # noqa: B008
    ) -> None:
        self.place = Place.of(location, storage_options)
        self.clamped: Counter[str] = Counter()
        self.again: Counter[str] = Counter()
        self._known: dict[str, dict[int, None]] = {name: {} for name in TABLES}
        self._clock = clock
        self._durable = durability == "disk"
        self._keep = keep
        self._lock = Lock()
        self._maintaining = Lock()
        self._kept: dict[str, StoredTable] = {}
        self._tidied_ns: dict[str, int] = {}
        refuse_foreign(self.place)
        refuse_overwriting(self.place)
        self._tables = {
            name: StoredTable(self.place.inside(name), table, durable=self._durable)
            for name, table in TABLES.items()
        }

    def torn(self) -> dict[str, list[str]]:
        """By table the log entries that were torn and set aside since this lake was opened.

        By a power cut they were never acknowledged; by a failing disk they may have been.
        """
        found: dict[str, list[str]] = {}
        for table in (*self._tables.values(), *list(self._kept.values())):
            if table.torn:
                found.setdefault(table.table.name, []).extend(table.torn)
        return found

    def append(self, batches: Sequence[Batch]) -> None:
        """Add the batches' rows; returns when they are committed, and synced if asked for.

        Raises StoreError if not all is committed: then nothing is acknowledged, send it again.
        """
        gathered, twice = _gather(batches)
        append = append_number(self._clock.wall_ns())

        def add(name: str) -> tuple[str, int]:
            rows = table_of(name, gathered[name], append)
            days, clamped = days_of(name, rows, self._clock.wall_ns(), self._keep)
            self._tables[name].append(rows, days)
            self.again[name] += twice[name] + self._known_before(name, gathered[name])
            return name, clamped

        with self._lock:
            self.clamped.update(dict(_at_once(add, list(gathered))))

    def maintain(
        self, keep: timedelta | None = None, *, vacuum_after: timedelta = VACUUM_AFTER
    ) -> Maintained:
        """Merge small files, drop days that ended longer ago than `keep`, delete what was
        replaced long ago.

        Call it every minute or so, from any thread; appends go on meanwhile. Deleting and
        shortening the log take their turn once in `vacuum_after`. A table that fails holds up
        no other; the first StoreError is raised at the end.
        """
        now_ns = self._clock.wall_ns()
        today = EPOCH + timedelta(days=now_ns // NS_PER_DAY)
        oldest = None if keep is None else _day_before(now_ns, keep)
        done = Maintained()
        failed: list[StoreError] = []
        with self._maintaining:
            for name in TABLES:
                kept = self._keeper(name)
                merge = partial(maintain, kept, now_ns=now_ns, today=today, oldest=oldest)
                if name == "rollups":
                    readings = self._keeper("readings")
                    merge = partial(roll_up, readings, kept, now_ns=now_ns)
                for turn in (merge, partial(self._tidy, name, kept, vacuum_after)):
                    try:
                        done = done.plus(turn())
                    except StoreError as error:
                        failed.append(error)
        if failed:
            raise failed[0]
        return done

    def _tidy(self, name: str, kept: StoredTable, vacuum_after: timedelta) -> Maintained:
        elapsed_ns, tidied_ns = self._clock.elapsed_ns(), self._tidied_ns.get(name)
        after_ns = vacuum_after.total_seconds() * NS_PER_S
        if tidied_ns is not None and elapsed_ns - tidied_ns < after_ns:
            return Maintained()
        done = tidy(kept, vacuum_after=vacuum_after)
        self._tidied_ns[name] = elapsed_ns
        return done

    def _known_before(self, name: str, gathered: Sequence[Part]) -> int:
        """How many of these rows came before; from now on they all have."""
        known = self._known[name]
        again = sum(part.rows for part in gathered if part.delivery in known)
        known.update(dict.fromkeys(part.delivery for part in gathered))
        for oldest in list(islice(known, max(0, len(known) - DELIVERIES_MAX))):
            del known[oldest]
        return again

    def _keeper(self, name: str) -> StoredTable:
        """A second view of a table, so that appends need not wait for maintenance."""
        if name not in self._kept:
            place = self.place.inside(name)
            self._kept[name] = StoredTable(place, TABLES[name], durable=self._durable)
        return self._kept[name]


def _day_before(now_ns: int, keep: timedelta) -> date:
    """The day in which it was so long ago, to the hour; days before it ended longer ago."""
    at_ns = now_ns - keep // timedelta(microseconds=1) * 1000
    try:
        return EPOCH + timedelta(days=at_ns // NS_PER_DAY)
    except OverflowError:
        return date.min


def append_number(wall_ns: int) -> int:
    """The number of an append at that time; later ones have greater numbers."""
    return wall_ns >> APPEND_RANDOM_BITS << APPEND_RANDOM_BITS | getrandbits(APPEND_RANDOM_BITS)


def days_of(
    name: str, rows: pa.Table, now_ns: int, keep: timedelta | None = None
) -> tuple[pa.Array, int]:
    """Days since 1970, each moved into the window around today that is kept; how many had to
    be."""
    day = now_ns // NS_PER_DAY
    kept = day - PAST_DAYS if keep is None else (_day_before(now_ns, keep) - EPOCH).days
    first = pa.scalar(max(kept, day - PAST_DAYS), WHOLE)
    last = pa.scalar(day + FUTURE_DAYS, WHOLE)
    true = pc.divide(rows.column(TABLES[name].time), pa.scalar(NS_PER_DAY, WHOLE))
    late = pc.if_else(pc.less(true, first), pa.scalar(day, WHOLE), true)
    days = pc.min_element_wise(late, last)
    return days, pc.sum(pc.not_equal(true, days)).as_py() or 0


def _at_once(
    add: Callable[[str], tuple[str, int]], names: Sequence[str]
) -> list[tuple[str, int]]:
    """Call `add` for each table, each in a thread: a commit waits for the disk, and works
    outside the interpreter's lock. All have ended when it returns or raises the first error.
    """
    if len(names) == 1:
        return [add(names[0])]
    with ThreadPoolExecutor(max(1, len(names)), "nilometer-append") as pool:
        return list(pool.map(add, names))


def _gather(batches: Sequence[Batch]) -> tuple[dict[str, list[Part]], Counter[str]]:
    """The batches' rows by table, the same delivery only once; and how many rows came twice."""
    gathered: dict[str, list[Part]] = {}
    twice: Counter[str] = Counter()
    seen: set[tuple[str, int]] = set()
    for batch in batches:
        for name, part in parts(batch).items():
            if (name, part.delivery) not in seen:
                seen.add((name, part.delivery))
                gathered.setdefault(name, []).append(part)
            else:
                twice[name] += part.rows
    return gathered, twice


def refuse_foreign(place: Place) -> None:
    """Refuse a directory with other people's files in it and no table of ours."""
    if place.path is None:
        return
    try:
        found = {each.name for each in place.path.iterdir()} if place.path.exists() else set()
    except OSError as error:
        raise store_error(place, error, "open") from error
    if found - OURS and not found & TABLES.keys():
        raise StoreError(
            f"{place.url} is not empty and holds no tables of Nilometer "
            f"({', '.join(sorted(found)[:3])}); choose an empty directory",
            slug="store-foreign",
        )


def refuse_overwriting(place: Place) -> None:
    """Refuse an object store where one writer's commit could overwrite another's, unseen.

    Of two who put the next entry of a log as new, one has to be told that it is there. S3
    does; some that speak its language pass the condition over.
    """
    if place.path is not None:
        return
    try:
        is_kept = objects_at(place.url, place.options).is_kept(f"{token_hex(16)}.probe")
    except OSError as error:
        raise store_error(place, error, "write to") from error
    if not is_kept:
        raise StoreError(
            f"{place.url} would lose commits: this object store overwrites what is there when "
            "it is asked not to (If-None-Match); use one with conditional writes, or a "
            "directory",
            slug="store-overwrites",
        )
