"""One Delta table: its files written and committed, its file list kept.

A file is written and synced first and then committed, so nothing half-written is ever visible.
Each instance is used by one thread at a time; processes need no agreement, Delta's log is it.
"""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple
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
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction

from nilometer.errors import StoreError
from nilometer.store.disk import CHECKPOINT_EVERY, set_torn_end_aside, sync_versions
from nilometer.store.opening import open_or_make
from nilometer.store.places import store_error
from nilometer.store.tables import PARTITION, arrow_schema, file_schema

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from nilometer.store.places import Place
    from nilometer.store.tables import Table

EPOCH: Final = date(1970, 1, 1)

BOUND_CHARACTERS_MAX: Final = 64
"""Of a text's least and greatest value so much goes into the log: enough for a trace id."""

TRIES: Final = 5
"""Of an append, each on the list of now. Whoever drops old days does that once a minute, so a
second try is enough but for several such processes at the same moment."""

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
    paths of files that maintenance could not read, and leaves as they are; `too_large` of those
    whose rows, two files at a time, are more than it has memory for.
    """

    def __init__(self, place: Place, table: Table, *, durable: bool) -> None:
        self.place = place
        self.table = table
        self._sync = durable and place.path is not None
        self.torn: list[str] = []
        self.broken: set[str] = set()
        self.too_large: set[str] = set()
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
            self._add(written)
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

        def fill(sink: IO[bytes]) -> None:
            with pq.ParquetWriter(sink, schema, **_writer_options(self.table)) as writer:
                for piece in pieces:
                    exact = piece.cast(schema) if piece.schema != schema else piece
                    whole = pa.table(exact) if isinstance(exact, pa.RecordBatch) else exact
                    writer.write_table(whole, row_group_size=self.table.row_group)
                    bounds.add(whole)

        action.size, action.modification_time = self.place.put(path, fill, durable=self._sync)
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

    def _add(self, written: Sequence[AddAction]) -> None:
        """Commit new files whatever others took away meanwhile: an append reads nothing.

        Delta has no way to say so, and refuses a commit on a list that has since lost files.
        """
        for tries_left in reversed(range(TRIES)):
            try:
                self.commit(written)
                return
            except CommitFailedError as error:
                if not (tries_left and is_conflict(error)):
                    raise
                self.refresh()

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
        return open_or_make(self.place, self.table)

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


def is_conflict(error: CommitFailedError) -> bool:
    """Whether a commit was refused for what others committed meanwhile, not for a fault."""
    return "oncurrent" in str(error)


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
