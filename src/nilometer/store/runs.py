"""The history: every measured run, and the steps that somebody accepted.

It is the tables `runs` and `events` at one place, which may be a collector's store, too. A run
is one commit, synced before `append` returns, so that any number of processes can append at
once and a killed one loses nothing that was told to be recorded. What cannot be read of it is
told as a run that cannot be used, so that nobody takes a hole for a short history.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from datetime import timedelta
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.clock import Clock
from nilometer.errors import StoreError
from nilometer.model import Batch, Event, Resource
from nilometer.model.run import Accepted, Run
from nilometer.store.broken import Broken
from nilometer.store.columns import parts, table_of
from nilometer.store.compaction import FILES_MIN, VACUUM_AFTER, maintain, tidy
from nilometer.store.disk import LOG, is_cut, torn_end
from nilometer.store.lake import NS_PER_DAY, append_number, days_of, refuse_foreign
from nilometer.store.limits import TIME_MAX, TIME_MIN
from nilometer.store.places import Place
from nilometer.store.reading import MEMORY_MAX, Questions, Wanted, sql
from nilometer.store.rows import events_of
from nilometer.store.run_rows import SERVICE, part_of, runs_of
from nilometer.store.stored import EPOCH, StoredTable
from nilometer.store.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date
    from pathlib import Path

    from nilometer.store.columns import Part
    from nilometer.store.lake import Durability
    from nilometer.store.stored import DataFile

ACCEPTED: Final = "gate.accepted"
"""The name of the events that say what was accepted."""

ACCEPTED_MAX: Final = 100_000  # one a working day and counter for a hundred years and ten


class SuiteSummary(NamedTuple):
    """A suite, and the run of it that was recorded last.

    `append` grows with each run that is recorded: with `runs` it tells whether there is news.
    `row_count` says how large they are, parts of counters included.
    """

    suite: str
    runs: int
    row_count: int
    append: int
    run_id: str
    revision: str
    branch: str
    ended_ns: int


class History:
    """The runs at one place. Any number of processes may hold one each, one thread at a time.

    `upkeep_failed` says why small files could not be merged after the last append, which
    itself went well, and `lost` what was found torn at the end of the log, and set aside; both
    are empty if nothing is wrong. `broken` are the files of runs without which `suites` was
    answered last.
    """

    def __init__(
        self,
        location: str | Path | Place,
        *,
        durability: Durability = "disk",
        storage_options: Mapping[str, str] | None = None,
        clock: Clock = Clock(),  # noqa: B008
        memory_max: str = MEMORY_MAX,
    ) -> None:
        if not isinstance(location, Place):
            location = Place.of(location, storage_options)
        self.place = location
        self.upkeep_failed = ""
        self.broken: tuple[Broken, ...] = ()
        self._clock = clock
        self._durable = durability == "disk"
        self._opened: dict[str, StoredTable] = {}
        self._questions = Questions(self.place, memory_max=memory_max)
        refuse_foreign(self.place)

    def close(self) -> None:
        """Give the memory back; nothing can be asked after."""
        self._questions.close()

    # ---- writing -----------------------------------------------------------------------------

    def append(self, run: Run) -> None:
        """Add a run; returns when it is committed, and synced if asked for.

        Raises StoreError if it is not; then it may be appended again, and counts once.
        """
        self._append("runs", part_of(run), after=self._last_append())
        self._keep_up()

    def accept(self, accepted: Accepted) -> None:
        """Add what somebody accepted, as one event per counter. Raises StoreError."""
        events = tuple(_event_of(accepted, counter) for counter in accepted.counters or ("",))
        batch = Batch(Resource(SERVICE), events=events)
        self._append("events", parts(batch)["events"])

    @property
    def lost(self) -> str:
        """What the appends found torn at the log's end; a run may have been in it."""
        torn = [
            f"{table.place.url}/{LOG}/{entry}.torn"
            for table in self._opened.values()
            for entry in table.torn
        ]
        return f"torn, and set aside: {', '.join(torn)}; see store-damaged" if torn else ""

    def _last_append(self) -> int:
        """The number of the latest append, by a clock that may have been ahead."""
        table = self._table("runs")
        table.refresh()
        return max((file.greatest.get("append") or 0 for file in table.files()), default=0)

    def _append(self, name: str, part: Part, *, after: int = 0) -> None:
        now_ns = self._clock.wall_ns()
        rows = table_of(name, [part], max(append_number(now_ns), after + 1))
        days, _ = days_of(name, rows, now_ns)
        self._table(name).append(rows, days)

    def _table(self, name: str) -> StoredTable:
        if name not in self._opened:
            place = self.place.inside(name)
            self._opened[name] = StoredTable(place, TABLES[name], durable=self._durable)
        return self._opened[name]

    def _keep_up(self) -> None:
        """Merge the small files of a day once there are several; the run is safe already.

        A history grows by one file a run: merging eight at a time keeps a day at a few files,
        and the log is shortened only when something was merged.
        """
        self.upkeep_failed = ""
        now_ns = self._clock.wall_ns()
        today = EPOCH + timedelta(days=now_ns // NS_PER_DAY)
        table = self._table("runs")
        if not _worth_merging(table.files(), today):
            return
        try:
            done = maintain(table, now_ns=now_ns, today=today, oldest=None)
            if done.merged:
                tidy(table, vacuum_after=VACUUM_AFTER)
        except StoreError as error:
            self.upkeep_failed = str(error)

    # ---- reading -----------------------------------------------------------------------------

    def runs(
        self,
        suite: str | None = None,
        *,
        since_ns: int | None = None,
        limit: int | None = None,
        parts: bool = True,
    ) -> list[Run]:
        """The runs of a suite, or of all, that ended since then, or the latest of them.

        Oldest first, as they were appended: clocks are set, and differ. Without `parts` only
        totals are read, which is a tenth. Rows that cannot be read become a run with a
        `because`; so does a file that is damaged, or an emptied end of the log, with neither id
        nor counts. Raises StoreError if there is no reading of the whole table.
        """
        since = TIME_MIN if since_ns is None else max(TIME_MIN, since_ns)
        wanted: Wanted = {"ended_ns": (since, None), "suite": (suite, suite)}
        values = {
            "suite": suite,
            "since_ns": since,
            "parts": parts,
            "runs_max": TIME_MAX if limit is None else max(0, limit),
        }
        try:
            found = self._questions.folded(runs_of, sql("runs"), "runs", wanted, values)
        except StoreError as error:
            if error.slug != "store-unreadable":
                raise
            found = self._salvaged(wanted, values, suite, error)
        return found + self._unlisted(suite)

    def suites(self, limit: int = 1000) -> list[SuiteSummary]:
        """Whose runs there are, the suite with the latest first; without what cannot be read,
        which `unread` tells.

        Raises StoreError if there is no reading of any.
        """
        values = {"rows_max": max(0, limit)}
        bad: list[tuple[DataFile, str]] = []
        try:
            rows = self._questions.ask("suites", "runs", {}, values)
        except StoreError as error:
            bad = self._questions.unreadable("suites", "runs", {}, values)
            if error.slug != "store-unreadable" or not bad:
                raise
            without = [file for file, _ in bad]
            rows = self._questions.ask("suites", "runs", {}, values, without=without)
        self.broken = tuple(Broken("runs", file.path, file.rows, why) for file, why in bad)
        return [SuiteSummary(**row) for row in rows]

    def unread(self) -> list[str]:
        """What of the runs is lost, as far as `suites` met it when it was asked last."""
        return [_told(one, one.because) for one in self.broken] + self._torn("runs")

    def _unlisted(self, suite: str | None) -> list[Run]:
        """One for what each torn entry at the log's end committed: it lists no file."""
        return [
            Run("", suite or "", 0, 0, exit_status=None, because=because)
            for because in self._torn("runs")
        ]

    def _torn(self, table: str) -> list[str]:
        """What is lost with the end of a table's log until the next append sets it aside."""
        root = self.place.inside(table).path
        told = []
        for entry in torn_end(root) if root is not None else ():
            why = _why_torn(entry)
            told.append(f"lost: {entry.name} of the history's log {why}; see store-damaged")
        return told

    def _salvaged(
        self,
        wanted: Wanted,
        values: Mapping[str, object],
        suite: str | None,
        error: StoreError,
    ) -> list[Run]:
        """The runs in the files that can be read, and one for each that cannot.

        It stands where the last of its runs was recorded: that may be the latest of all.
        """
        bad = self._questions.unreadable("runs", "runs", wanted, values)
        if not bad:  # it is not the files
            raise error
        without = [file for file, _ in bad]
        rows = self._questions.ask("runs", "runs", wanted, values, without=without)
        appends = {(row["run_id"], row["delivery"]): row["append"] for row in rows}
        placed = list(zip(appends.values(), runs_of(rows), strict=True))  # in the same order
        for file, why in bad:
            placed.append((file.greatest.get("append") or 0, _lost(file, why, suite)))
        return [run for _, run in sorted(placed, key=itemgetter(0))]

    def accepted(self, suite: str | None = None) -> list[Accepted]:
        """What was accepted, in a suite or in all, oldest first.

        A file that cannot be read becomes one without a run, whose reason says why: what was
        accepted in it may be of any suite. Raises StoreError if there is no reading of any.
        """
        wanted: Wanted = {"name": (ACCEPTED, ACCEPTED)}
        values = {
            "name": ACCEPTED,
            "service": None,
            "trace_id": None,
            "since_ns": TIME_MIN,
            "last_ns": TIME_MAX,
            "rows_max": ACCEPTED_MAX,
        }
        bad: list[tuple[DataFile, str]] = []
        try:
            rows = self._questions.ask("events", "events", wanted, values)
        except StoreError as error:
            bad = self._questions.unreadable("events", "events", wanted, values)
            if error.slug != "store-unreadable" or not bad:
                raise
            without = [file for file, _ in bad]
            rows = self._questions.ask("events", "events", wanted, values, without=without)
        events = [event for _, event in events_of(rows)]
        found = [one for one in _accepted_of(events) if suite is None or one.suite == suite]
        lost = [_told(file, why) for file, why in bad] + self._torn("events")
        return [Accepted(suite or "", "", 0, because) for because in lost] + found


def _worth_merging(files: Sequence[DataFile], today: date) -> bool:
    """Whether a day has files enough to be merged, as `maintain` counts; that costs a look."""
    days = Counter(file.date for file in files)
    ended = today - timedelta(days=1)
    return any(number >= (2 if day < ended else FILES_MIN) for day, number in days.items())


def _why_torn(entry: Path) -> str:
    with suppress(FileNotFoundError):  # a writer set it aside just now
        if entry.stat().st_size:
            return "is cut before it names a file" if is_cut(entry) else "cannot be read"
    return "is empty"


def _lost(file: DataFile, why: str, suite: str | None) -> Run:
    """What stands for the runs of a file that cannot be read."""
    ended_ns = file.greatest.get("ended_ns") or 0
    because = _told(file, why)
    told = file.least.get("suite") or "" if suite is None else suite
    return Run("", told, ended_ns, ended_ns, exit_status=None, because=because)


def _told(file: DataFile | Broken, why: str) -> str:
    return f"lost: {file.path} of the history, {file.rows} rows, cannot be read: {why}"


def _event_of(accepted: Accepted, which: str) -> Event:
    backend, _, counter = which.partition(":")
    return Event(
        ACCEPTED,
        accepted.at_ns,
        {
            "suite": accepted.suite,
            "run_id": accepted.run_id,
            "backend": backend,
            "counter": counter,
            "which": which,
            "reason": accepted.reason,
            "by": accepted.by,
        },
        body=f"{which or 'all counters'} accepted from run {accepted.run_id} on",
    )


def _accepted_of(events: Sequence[Event]) -> list[Accepted]:
    """Events, the latest first, back into what was accepted."""

    def told(event: Event) -> tuple[str, str, int, str, str]:
        text = {key: str(value) for key, value in event.attributes.items()}
        suite, run_id = text.get("suite", ""), text.get("run_id", "")
        return suite, run_id, event.at_ns, text.get("reason", ""), text.get("by", "")

    found = []
    for (suite, run_id, at_ns, reason, by), same in groupby(
        sorted(events, key=lambda e: (e.at_ns, *told(e))), told
    ):
        which = (str(event.attributes.get("which", "")) for event in same)
        counters = tuple(sorted({one for one in which if one}))
        found.append(Accepted(suite, run_id, at_ns, reason, by, counters))
    return found
