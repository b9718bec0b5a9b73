"""Roll-ups: the readings of one file, merged over five minutes, so that days can be asked for.

A roll-up is a function of one file of `readings`, which never changes, and stands in a file of
its own that names it. So nothing has to agree: a file that has none is read itself, and one
whose readings are gone counts for nothing and is taken away.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final

import duckdb
import pyarrow as pa
from deltalake.exceptions import DeltaError

from nilometer.store.compaction import MEMORY_MAX, Maintained, is_out_of_memory, take_turn
from nilometer.store.copies import Copies, CutError
from nilometer.store.places import NS_PER_MS, store_error
from nilometer.store.reading import database, show, sql
from nilometer.store.stored import removal
from nilometer.store.tables import file_schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deltalake.transaction import AddAction

    from nilometer.store.stored import DataFile, StoredTable

ROWS_MIN: Final = 100_000
"""Smaller files are read as they are, in 30 ms each, and are merged away soon."""

FILES_A_TURN: Final = 4
"""So many files are rolled up at a maintenance, at some 2 s of CPU each: a store that never had
any roll-ups gets them little by little."""


def roll_up(readings: StoredTable, rollups: StoredTable, *, now_ns: int) -> Maintained:
    """Roll up files that are large enough and were not; take away what is of files now gone."""
    readings.refresh()
    rollups.refresh()
    listed = {file.path: file for file in readings.files()}
    made = rolled_up(rollups.files())
    gone = [file for path, file in made.items() if path not in listed]
    if gone:
        _remove(rollups, gone, at_ms=now_ns // NS_PER_MS)
    wanted = [file for path, file in listed.items() if path not in made and _is_worth_it(file)]
    left_alone = readings.broken | readings.too_large | rollups.too_large
    wanted = [file for file in wanted if file.path not in left_alone]
    written = 0
    for file in sorted(wanted, key=lambda each: each.date, reverse=True)[:FILES_A_TURN]:
        written += _make(readings, rollups, file)
    return Maintained(written=written, dropped=len(gone))


def rolled_up(files: Sequence[DataFile]) -> dict[str, DataFile]:
    """Files of roll-ups by the path of the file of readings that each is of."""
    return {file.least["file"]: file for file in files}


def _is_worth_it(file: DataFile) -> bool:
    least = file.least.get("ended_ns")
    return file.rows >= ROWS_MIN and least is not None and least >= 0


def _make(readings: StoredTable, rollups: StoredTable, file: DataFile) -> int:
    """Roll up one file; how many were made."""
    written: list[AddAction] = []
    try:
        with (
            closing(Copies()) as copies,
            copies.of(readings.place, [file]) as paths,
            database(MEMORY_MAX) as connection,
        ):
            show(connection, "readings", paths)
            answer = connection.sql(_text(), params={"file": file.path})
            batches = answer.to_arrow_reader(rollups.table.row_group)
            rollups.write(file.date, batches, written, data_change=True)
        if take_turn(rollups, written):
            return 1
    except (duckdb.Error, pa.ArrowException, FileNotFoundError, CutError):
        # Sums beyond 64 bits, too little memory, or a file that was merged away or is broken:
        # questions read it as it is, if they can.
        rollups.too_large.add(file.path)
    except (DeltaError, OSError) as error:
        if not is_out_of_memory(error):
            rollups.forget(written)
            raise store_error(rollups.place, error, "roll up") from error
        rollups.too_large.add(file.path)
    rollups.forget(written)
    return 0


def _text() -> str:
    columns = ", ".join(file_schema("rollups").names)
    return f"SELECT {columns} FROM ({sql('rollup')})"  # noqa: S608 - the names are ours


def _remove(rollups: StoredTable, gone: Sequence[DataFile], *, at_ms: int) -> None:
    try:
        take_turn(rollups, [removal(file, at_ms=at_ms, data_change=True) for file in gone])
    except (DeltaError, OSError) as error:
        raise store_error(rollups.place, error, "drop roll-ups of") from error
