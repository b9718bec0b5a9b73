"""Batches into Parquet files with the columns of the tables, for engines to read.

What came as one line, or one document, is a delivery: if the same came twice, it counts once,
as it does in the tables.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from nilometer.errors import StoreError
from nilometer.model import Batch
from nilometer.store.columns import digest, parts, table_of
from nilometer.store.stored import DataFile
from nilometer.store.tables import WHOLE, file_schema

if TYPE_CHECKING:
    from typing import Any

    from nilometer.model import Resource
    from nilometer.store.places import Place

KINDS: Final = ("spans", "readings", "events")
"""What a batch holds, and the tables that are written."""

ROWS_AT_ONCE: Final = 50_000
"""Rows that wait to be written: at some 2 kB each as Python's objects, 100 MB."""

ANY_DAY: Final = date(1970, 1, 1)


class Writing:
    """Gathers batches, and writes them by the tens of thousands of rows."""

    def __init__(self, place: Place) -> None:
        self.files: dict[str, list[DataFile]] = {kind: [] for kind in KINDS}
        self._place = place
        self._waiting: dict[str, dict[Resource, list[tuple[Any, int, int]]]] = {}
        self._rows = 0
        self._added = 0

    def add(self, batch: Batch, told: bytes) -> None:
        """Add a batch; `told` is what it was read from, by which it is known again."""
        delivery = digest(told)
        self._added += 1
        for kind in KINDS:
            if rows := getattr(batch, kind):
                by_resource = self._waiting.setdefault(kind, {})
                listed = by_resource.setdefault(batch.resource, [])
                listed += [(row, delivery, self._added) for row in rows]
                self._rows += len(rows)
        if self._rows >= ROWS_AT_ONCE:
            self.finish()

    def finish(self) -> None:
        """Write what waits. Raises StoreError where there is no room for it."""
        for kind, by_resource in self._waiting.items():
            self._write(kind, by_resource)
        self._waiting.clear()
        self._rows = 0

    def _write(self, kind: str, gathered: dict[Resource, list[tuple[Any, int, int]]]) -> None:
        made = []
        deliveries: list[int] = []
        appends: list[int] = []
        for resource, listed in gathered.items():
            rows, delivery, append = zip(*listed, strict=True)
            told: dict[str, Any] = {kind: rows}
            made.append(parts(Batch(resource, **told))[kind])
            deliveries += delivery
            appends += append
        table = table_of(kind, made, 0)
        for name, column in (("delivery", deliveries), ("append", appends)):
            at = table.column_names.index(name)
            table = table.set_column(at, name, pa.array(column, WHOLE))
        path = f"{len(self.files[kind])}.parquet"
        place = self._place.inside(kind)
        assert place.path is not None, "a folder of this machine"
        target = place.path / path
        try:
            target.parent.mkdir(exist_ok=True)
            pq.write_table(table.cast(file_schema(kind)), target, compression="zstd")
            size = target.stat().st_size
        except (OSError, pa.ArrowException) as error:
            raise StoreError(
                f"what logs tell cannot be written to {target.parent}: {error}; make room "
                "there, or say with TMPDIR where there is some",
                slug="store-full",
            ) from error
        self.files[kind].append(DataFile(path, size, table.num_rows, ANY_DAY, {}, {}))
