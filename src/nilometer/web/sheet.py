"""Tables as CSV, for spreadsheets: every cell stays what it is, and none becomes a formula."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet reckons what begins so; a service's name must not make it."""


class Sheet(NamedTuple):
    """A table: the names of its columns, and its rows."""

    columns: Sequence[str]
    rows: Iterable[Sequence[Any]]


def encode(sheet: Sheet) -> str:
    r"""CSV as RFC 4180 has it; numbers as they are, None as nothing.

    >>> encode(Sheet(("name", "n"), [("=1+1", -2), ("a,b", None)]))
    'name,n\r\n\'=1+1,-2\r\n"a,b",\r\n'
    """
    told = io.StringIO()
    writer = csv.writer(told)
    writer.writerow(sheet.columns)
    writer.writerows([_cell(value) for value in row] for row in sheet.rows)
    return told.getvalue()


def _cell(value: object) -> object:
    """Text with an apostrophe before what would be a formula; a number is none."""
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return value
