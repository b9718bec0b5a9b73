"""Keeping the tables in shape: merge small files, drop old days, delete what nobody reads.

All of it runs beside appends, which never conflict with it: an append only adds files, and
maintenance only replaces files that it saw. Two maintainers would conflict; each takes a
numbered turn in the table's log with its commit, and Delta lets only one have it.
"""

from __future__ import annotations

from contextlib import closing, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import duckdb
import pyarrow as pa
from deltalake import Transaction
from deltalake.exceptions import CommitFailedError, DeltaError

from nilometer.errors import StoreError
from nilometer.store.broken import broken_of
from nilometer.store.copies import Copies, CutError
from nilometer.store.places import NS_PER_MS, store_error
from nilometer.store.reading import database, show, sql
from nilometer.store.stored import is_conflict, removal
from nilometer.store.tables import ROW_GROUP

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from deltalake.transaction import AddAction

    from nilometer.store.stored import DataFile, StoredTable

TURN: Final = "nilometer.maintenance"

ROWS_MAX: Final = 1_000_000
"""Of a merged file: some 100 MB of spans in Arrow's memory, 30 MB on the disk."""

FILES_MIN: Final = 8
"""So many small files are merged: at a commit a second that is every maintenance."""

MEMORY_MAX: Final = "1GB"
"""Ten times a merged file; sorting beyond it goes through temporary files."""

VACUUM_AFTER: Final = timedelta(hours=1)
"""A replaced file stays this long for readers that still hold the old list."""


class Maintained(NamedTuple):
    """What one maintenance did: files merged, files made of them, dropped by age, deleted."""

    merged: int = 0
    written: int = 0
    dropped: int = 0
    deleted: int = 0

    def plus(self, other: Maintained) -> Maintained:
        """Both together."""
        return Maintained(*(one + two for one, two in zip(self, other, strict=True)))


def maintain(
    stored: StoredTable, *, now_ns: int, today: date, oldest: date | None
) -> Maintained:
    """Drop days before `oldest`, then merge the small files of every day left.

    A day that cannot be merged holds up no other; the first StoreError is raised at the end.
    """
    stored.refresh()
    done = Maintained()
    if oldest is not None:
        done = done.plus(_drop(stored, oldest, at_ms=now_ns // NS_PER_MS))
    days = {file.date for file in stored.files()}
    failed: list[StoreError] = []
    for day in sorted(days):
        ended = day < today - timedelta(days=1)
        try:
            merged = _merge(stored, day, now_ns // NS_PER_MS, 2 if ended else FILES_MIN)
            done = done.plus(merged)
        except StoreError as error:
            failed.append(error)
    if failed:
        raise failed[0]
    return done


def chosen(files: Sequence[DataFile], files_min: int) -> list[DataFile]:
    """The files of one day to merge now: the smallest, while their sum stays below the limit.

    A file larger than all smaller ones together waits until they have grown to its size: so
    a row is written log2(ROWS_MAX / rows of an append) times, not at every maintenance.
    """
    found: list[DataFile] = []
    rows = 0
    for file in sorted(files, key=lambda each: each.rows):
        if rows + file.rows > ROWS_MAX or (file.rows > rows and len(found) >= files_min):
            break
        found.append(file)
        rows += file.rows
    return found if len(found) >= files_min else []


def _merge(
    stored: StoredTable, day: date, at_ms: int, files_min: int, files_max: int | None = None
) -> Maintained:
    left_alone = stored.broken | stored.too_large
    here = [file for file in stored.files() if file.date == day]
    old = chosen([file for file in here if file.path not in left_alone], files_min)
    old = old[:files_max]
    if not old:
        return Maintained()
    written: list[AddAction] = []
    try:
        _write_merged(stored, day, old, written)
        removed = [removal(file, at_ms=at_ms, data_change=False) for file in old]
        took = take_turn(stored, [*removed, *written])
    except (DeltaError, OSError, pa.ArrowException, duckdb.Error) as error:
        stored.forget(written)
        if is_out_of_memory(error):  # rows of megabytes: fewer at once
            if len(old) > 2:
                return _merge(stored, day, at_ms, files_min, max(2, len(old) // 2))
            stored.too_large.update(each.path for each in old)
            return Maintained()
        if isinstance(error, duckdb.Error | pa.ArrowException | FileNotFoundError | CutError):
            if not {file.path for file in old} <= {file.path for file in stored.files()}:
                return Maintained()  # another maintainer took files away while we read them
            broken = broken_of(stored.place, stored.table.name, old)
            if broken:
                stored.broken.update(each.path for each in broken)
                return _merge(stored, day, at_ms, files_min)
        raise store_error(stored.place, error, "merge files of") from error
    if not took:
        stored.forget(written)
        return Maintained()
    return Maintained(merged=len(old), written=len(written))


def _write_merged(
    stored: StoredTable, day: date, old: Sequence[DataFile], written: list[AddAction]
) -> None:
    with (
        closing(Copies()) as copies,
        copies.of(stored.place, old) as paths,
        database(MEMORY_MAX) as connection,
    ):
        show(connection, stored.table.name, paths)
        answer = connection.sql(sql(f"merge_{stored.table.name}"))
        batches = answer.to_arrow_reader(ROW_GROUP)
        stored.write(day, batches, written, data_change=False)


def is_out_of_memory(error: Exception) -> bool:
    """Whether DuckDB had too little; in the midst of an answer it is Arrow that tells it."""
    return isinstance(error, duckdb.OutOfMemoryException) or "Out of Memory" in str(error)


def _drop(stored: StoredTable, oldest: date, *, at_ms: int) -> Maintained:
    old = [file for file in stored.files() if file.date < oldest]
    if not old:
        return Maintained()
    try:
        removed = [removal(file, at_ms=at_ms, data_change=True) for file in old]
        took = take_turn(stored, removed)
    except (DeltaError, OSError) as error:
        raise store_error(stored.place, error, "drop old days of") from error
    return Maintained(dropped=len(old) if took else 0)


def take_turn(stored: StoredTable, actions: Sequence[Any]) -> bool:
    """Commit as the next maintainer; False if another had that turn, and nothing is changed."""
    turn = Transaction(TURN, (stored.delta.transaction_version(TURN) or 0) + 1)
    try:
        stored.commit(actions, turn)
    except CommitFailedError as error:
        if not is_conflict(error):
            raise
        stored.refresh()
        return False
    return True


def tidy(stored: StoredTable, *, vacuum_after: timedelta) -> Maintained:
    """Checkpoint the log and shorten it; delete files replaced or orphaned so long ago."""
    hours = -(-vacuum_after // timedelta(hours=1))
    try:
        stored.refresh()
        deleted = stored.delta.vacuum(
            retention_hours=hours, dry_run=False, enforce_retention_duration=False, full=True
        )
        stored.refresh()
        stored.checkpoint()
        stored.delta.cleanup_metadata()
        stored.refresh()
    except (DeltaError, OSError) as error:
        raise store_error(stored.place, error, "tidy") from error
    _remove_empty_days(stored)
    return Maintained(deleted=len(deleted))


def _remove_empty_days(stored: StoredTable) -> None:
    """Remove the directories of days that have no file left; a writer makes its own anew."""
    if stored.place.path is None:
        return
    listed = {f"date={file.date.isoformat()}" for file in stored.files()}
    for folder in stored.place.path.glob("date=*"):
        if folder.name not in listed:
            with suppress(OSError):  # not empty: an append is under way, or a vacuum to come
                folder.rmdir()
