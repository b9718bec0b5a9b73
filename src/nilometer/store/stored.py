"""One Delta table: opened or made, its files written and committed, its file list kept.

A file is written and synced first and then committed, so nothing half-written is ever visible.
Each instance is used by one thread at a time; processes need no agreement, Delta's log is it.
"""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import (
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    Schema,
    Transaction,
)
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from nilometer.errors import StoreError
from nilometer.store.disk import (
    CHECKPOINT_EVERY,
    damaged,
    set_torn_end_aside,
    sync_names,
    sync_versions,
)
from nilometer.store.places import Place, store_error
from nilometer.store.tables import PARTITION, VERSION, Table, arrow_schema, file_schema

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

EPOCH: Final = date(1970, 1, 1)

ROW_GROUP: Final = 32_768
"""Rows that are read or skipped together. A trace among a million spans took 6.6 ms of CPU;
9 ms by groups half that size, as the footer grows, and 9 ms by groups twice that size."""

BOUND_CHARACTERS_MAX: Final = 64
"""Of a text's least and greatest value so much goes into the log: enough for a trace id."""

CONFIGURATION: Final = {
    "delta.checkpointInterval": str(CHECKPOINT_EVERY),
    # Else deltalake shows the bounds of the first 32 columns only, and `append` is beyond them.
    "delta.dataSkippingNumIndexedCols": "-1",
    # An hour of commits, one a second, is 3,600 entries; open ones read from the checkpoint on.
    "delta.logRetentionDuration": "interval 1 hours",
    "delta.deletedFileRetentionDuration": "interval 1 hours",
    # Cleaned in maintenance only, after the checkpoint that replaces the entries is synced.
    "delta.enableExpiredLogCleanup": "false",
}

_HOOKS: Final = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)


class DataFile(NamedTuple):
    """One file of a table as the log tells it; bounds are by column, None where not told."""

    path: str
    size: int
    rows: int
    date: date
    least: dict[str, Any]
    greatest: dict[str, Any]


class StoredTable:
    """One table of the store at its place.

    `torn` names the entries that were found torn at the end of its log, and set aside. By a
    power cut they were never acknowledged; by a failing disk they may have been. `broken` are
    paths of files that maintenance could not read, and leaves as they are.
    """

    def __init__(self, place: Place, table: Table, *, durable: bool) -> None:
        self.place = place
        self.table = table
        self._sync = durable and place.path is not None
        self.torn: list[str] = []
        self.broken: set[str] = set()
        self._delta = self._opened()
        self._synced = self._delta.version() - CHECKPOINT_EVERY

    @property
    def delta(self) -> DeltaTable:
        """The table as deltalake sees it, at the version last read or written."""
        return self._delta

    def refresh(self) -> None:
        """See what others have committed."""
        try:
            self._delta.update_incremental()
        except (DeltaError, OSError):  # the entries in between are cleaned up: read anew
            self._delta = self._opened()

    def files(self) -> list[DataFile]:
        """The table's files at the version last read or written."""
        return files_of(self._delta, self.table)

    def append(self, rows: pa.Table, days: pa.Array) -> None:
        """Add rows, each to the partition of its day; returns when they are committed."""
        written: list[AddAction] = []
        try:
            found = sorted(pc.unique(days).to_pylist())
            for day in found:
                here = pc.equal(days, pa.scalar(day, days.type))
                chosen = rows if len(found) == 1 else rows.filter(here)
                ordered = chosen.sort_by([(name, "ascending") for name in self.table.order])
                self.write(EPOCH + timedelta(days=day), [ordered], written, data_change=True)
            self.commit(written)
        except (DeltaError, OSError, pa.ArrowException) as error:
            self.forget(written)
            raise store_error(self.place, error, "append to") from error

    def write(
        self,
        day: date,
        pieces: Iterable[pa.Table | pa.RecordBatch],
        written: list[AddAction],
        *,
        data_change: bool,
    ) -> None:
        """Write one file and put the action that would add it on `written`.

        The action is there before the first byte, so that a failure can be cleaned up.
        """
        path = f"{PARTITION}={day.isoformat()}/{uuid4().hex}.parquet"
        action = AddAction(path, 0, {PARTITION: day.isoformat()}, 0, data_change, "{}")
        written.append(action)
        schema = file_schema(self.table.name)
        bounds = _Bounds(self.table)
        with self.place.create(path) as sink:
            with pq.ParquetWriter(sink, schema, **_writer_options(self.table)) as writer:
                for piece in pieces:
                    exact = piece.cast(schema) if piece.schema != schema else piece
                    whole = pa.table(exact) if isinstance(exact, pa.RecordBatch) else exact
                    writer.write_table(whole, row_group_size=ROW_GROUP)
                    bounds.add(whole)
            sink.flush()
        action.size, action.modification_time = self.place.finish(path, durable=self._sync)
        action.stats = bounds.as_json()

    def commit(
        self, actions: Sequence[AddAction | RemoveAction], turn: Transaction | None = None
    ) -> None:
        """Commit actions; with `turn` only if nobody took that turn meanwhile."""
        self._delta.create_write_transaction(
            list(actions),
            "append",
            Schema.from_arrow(arrow_schema(self.table.name)),
            [PARTITION],
            commit_properties=CommitProperties(app_transactions=[turn] if turn else None),
            post_commithook_properties=_HOOKS,
        )
        self._delta.update_incremental()
        self.sync({action.path for action in actions if isinstance(action, AddAction)})

    def checkpoint(self) -> None:
        """Sum up the log in a checkpoint, on the disk before any entry it replaces goes."""
        self._delta.create_checkpoint()
        self._synced = min(self._synced, self._delta.version() - 1)
        self.sync()

    def sync(self, written: Collection[str] = ()) -> None:
        """Have everything up to the version last seen on the disk, if that is asked for.

        Files that we wrote were synced when they were finished.
        """
        if self._sync and self.place.path is not None:
            version, root = self._delta.version(), self.place.path
            ours = {root / path for path in written}
            sync_versions(root, max(0, self._synced + 1), version, synced=ours)
            self._synced = version

    def _opened(self) -> DeltaTable:
        if self.place.path is not None:
            try:
                self.torn += set_torn_end_aside(self.place.path)
            except OSError as error:
                raise store_error(self.place, error, "open") from error
        return _open(self.place, self.table)

    def forget(self, written: Sequence[AddAction]) -> None:
        """Delete the files of a failed commit, if it is sure that the commit does not count."""
        try:
            self._delta = self._opened()
            listed = {file.path for file in self.files()}
            for action in written:
                if action.path not in listed:
                    self.place.remove(action.path)
        except (StoreError, DeltaError, OSError):
            return  # left for the vacuum; the error that is on its way says what is wrong


def files_of(delta: DeltaTable, table: Table) -> list[DataFile]:
    """The files in a table's list, with the bounds of their columns."""
    told = pa.table(delta.get_add_actions(flatten=True)).to_pylist()
    return [
        DataFile(
            row["path"],
            row["size_bytes"],
            row["num_records"] or 0,
            row[f"partition.{PARTITION}"],
            {name: row.get(f"min.{name}") for name in table.bounded},
            {name: row.get(f"max.{name}") for name in table.bounded},
        )
        for row in told
    ]


def removal(file: DataFile, *, at_ms: int, data_change: bool) -> RemoveAction:
    """The action that takes a file out of the list; readers may still hold it open."""
    day: dict[str, str | None] = {PARTITION: file.date.isoformat()}
    return RemoveAction(file.path, data_change, at_ms, file.size, day)


def _writer_options(table: Table) -> dict[str, Any]:
    options: dict[str, Any] = {"compression": "zstd", "store_schema": False}
    if table.unlike:
        names = [column.name for column in table.columns if column.name != PARTITION]
        options["use_dictionary"] = [name for name in names if name not in table.unlike]
    if "trace_id" in table.bounded:  # a look at 8 kB tells that a trace is not in this file
        options["bloom_filter_options"] = {"trace_id": {"ndv": 5_000, "fpp": 0.01}}
    return options


class _Bounds:
    """Rows, least and greatest values of a file, as Delta keeps them for skipping."""

    def __init__(self, table: Table) -> None:
        self._names = table.bounded
        self._rows = 0
        self._least: dict[str, Any] = {}
        self._greatest: dict[str, Any] = {}

    def add(self, piece: pa.Table) -> None:
        if not piece.num_rows:
            return
        self._rows += piece.num_rows
        for name in self._names:
            found = pc.min_max(piece.column(name)).as_py()
            self._least[name] = min(found["min"], self._least.get(name, found["min"]))
            self._greatest[name] = max(found["max"], self._greatest.get(name, found["max"]))

    def as_json(self) -> str:
        told = {
            "numRecords": self._rows,
            "minValues": {name: _cut(value) for name, value in self._least.items()},
            "maxValues": {name: _cut(value, up=True) for name, value in self._greatest.items()},
            "nullCount": dict.fromkeys(self._least, 0),
        }
        # Not escaped: deltalake 1.6 reads an escaped pair of surrogates as another character.
        return json.dumps(told, ensure_ascii=False)


def _cut(value: Any, *, up: bool = False) -> Any:
    """A text's first characters; as an upper bound, followed by the greatest one there is."""
    if not isinstance(value, str) or len(value) <= BOUND_CHARACTERS_MAX:
        return value
    return value[:BOUND_CHARACTERS_MAX] + ("\U0010ffff" if up else "")


# ---- opening ---------------------------------------------------------------------------------


def _open(place: Place, table: Table) -> DeltaTable:
    """The table at its place, made if there is none."""
    delta = open_existing(place, table, repair=True)
    if delta is None:
        delta = _make(place, table)
    return delta


def open_existing(place: Place, table: Table, *, repair: bool = False) -> DeltaTable | None:
    """The table at its place, or None; foreign, newer or damaged ones are refused.

    With `repair` an empty one of an earlier schema is given the columns of today. Where files
    of a table are left without its log, it is damaged and not new: a new log would list none of
    them, and maintenance would delete them as nobody's.
    """
    found = _opened(place, table, repair=repair)
    try:
        left = place.first_of(f"{PARTITION}=", ".parquet") if found is None else ""
    except (DeltaError, OSError) as error:
        raise store_error(place, error, "open") from error
    if left:
        found = _opened(place, table, repair=repair)  # somebody made it just now, log first
        if found is None:
            lost = FileNotFoundError(f"there is none, but files such as {left}")
            raise damaged(place.url, lost)
    return found


def _opened(place: Place, table: Table, *, repair: bool) -> DeltaTable | None:
    try:
        if place.path is not None and not (place.path / "_delta_log").is_dir():
            return None
        delta = DeltaTable(place.url, storage_options=place.options)
    except TableNotFoundError:
        return None
    except OSError as error:
        raise store_error(place, error, "open") from error
    except DeltaError as error:
        raise damaged(place.url, error) from error
    if _check(place, table, delta) < table.since and repair:
        return _migrated(place, table, delta)
    return delta


def _check(place: Place, table: Table, delta: DeltaTable) -> int:
    """The version of the table's schema, which we know; others' tables are refused."""
    told = delta.metadata()
    if told.name != f"nilometer.{table.name}":
        raise StoreError(
            f"{place.url} holds a table {told.name!r} that Nilometer did not make; "
            "choose an empty directory",
            slug="store-foreign",
        )
    version = int((told.description or "schema 0").rpartition(" ")[2])
    if version > VERSION:
        raise StoreError(
            f"{place.url} has schema {version}, this Nilometer knows up to {VERSION}",
            slug="store-newer",
        )
    if version < table.since and delta.version() and delta.file_uris():
        raise StoreError(
            f"{place.url} has rows of schema {version}, and none was ever written by Nilometer "
            f"before schema {table.since}; move it away",
            slug="store-older",
        )
    return version


def _migrated(place: Place, table: Table, delta: DeltaTable) -> DeltaTable:
    """Give an empty table of an earlier schema the columns of today.

    No row is touched, and nobody's append is lost: what was committed since `delta` was read
    makes the commit fail, and then it is looked at anew.
    """
    try:
        delta.create_write_transaction(
            [],
            "overwrite",
            Schema.from_arrow(arrow_schema(table.name)),
            [PARTITION],
            commit_properties=CommitProperties(max_commit_retries=0),
        )
        delta.update_incremental()
        delta.alter.set_table_description(f"schema {VERSION}")
    except CommitFailedError:
        migrated = open_existing(place, table, repair=True)  # another process was there first
        if migrated is None:
            raise
        return migrated
    except (DeltaError, OSError) as error:
        raise store_error(place, error, "migrate") from error
    if place.path is not None:
        sync_versions(place.path, 0, delta.version())
    return DeltaTable(place.url, storage_options=place.options)


def _make(place: Place, table: Table) -> DeltaTable:
    try:
        if place.path is not None:
            place.path.mkdir(parents=True, exist_ok=True)
        DeltaTable.create(
            place.url,
            schema=Schema.from_arrow(arrow_schema(table.name)),
            mode="ignore",
            partition_by=[PARTITION],
            name=f"nilometer.{table.name}",
            description=f"schema {VERSION}",
            configuration=CONFIGURATION,
            storage_options=place.options,
            # Else the second of two that make it at once would describe it again, as version 1,
            # and fail the appends of those who had opened version 0.
            commit_properties=CommitProperties(max_commit_retries=0),
        )
    except (DeltaError, OSError) as error:
        made = open_existing(place, table)
        if made is None:
            raise store_error(place, error, "make") from error
        return made  # another process made it at the same moment
    if place.path is not None:
        sync_versions(place.path, 0, 0)
        sync_names(place.path.parent, up_to=place.path.parent.parent)
    made = open_existing(place, table)
    if made is None:
        raise StoreError(f"{place.url} cannot be opened after it was made", slug="store-failed")
    return made
