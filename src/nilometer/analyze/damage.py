"""Which file is why a question failed: one that is damaged, gone, or no file of that table."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from nilometer.errors import StoreError
from nilometer.store.places import said
from nilometer.store.tables import file_schema

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Shown(NamedTuple):
    """A file that a question reads: of which table, what it is called, where it is read."""

    table: str
    name: str
    path: Path


def damage_among(shown: Sequence[Shown]) -> Exception | None:
    """The error for the first file that is not one of ours or cannot be read to its end."""
    for table, name, path in shown:
        try:
            because = _wrong_with(table, path)
        except FileNotFoundError as gone:
            return gone
        except (OSError, pa.ArrowException) as damage:
            because = said(damage)
        if because:
            return damaged(name, because)
    return None


def damaged(name: str, because: str) -> StoreError:
    """The error that names a file."""
    return StoreError(
        f"{name} cannot be read: {because}; nothing was answered", slug="store-unreadable"
    )


def _wrong_with(table: str, path: Path) -> str:
    with pq.ParquetFile(path) as file:
        foreign = foreign_to(table, file.schema_arrow)
        if not foreign:
            for _ in file.iter_batches():
                pass
    return foreign


def foreign_to(table: str, there: pa.Schema) -> str:
    """Why a file with these columns cannot be one of that table's; empty if it can."""
    for field in file_schema(table):
        if field.name not in there.names:
            return f"it has no column {field.name}, so it is no file of {table}"
        if there.field(field.name).type != field.type:
            kind = there.field(field.name).type
            return f"its column {field.name} is {kind}, and not {field.type}"
    return ""


def columns_of(file: Path | IO[bytes]) -> pa.Schema:
    """The columns that a file's end tells of; the rest of it is not read."""
    return pq.read_schema(file)
