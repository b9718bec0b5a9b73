"""What a question is: the SQL that sums up, the function that makes the answer of the sums.

The SQL is written in DuckDB's dialect, and only with what a cluster translates to the same
answer: it gives back aggregates in whole numbers, never spans one by one. Ratios are made of
those whole numbers in `fold`, here, so that two engines that add in different orders agree to
the last digit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TEXT: Final = pa.string()
WHOLE: Final = pa.int64()
NUMBER: Final = pa.float64()
FLAG: Final = pa.bool_()

WHOLE_MIN: Final = -(2**63)
WHOLE_MAX: Final = 2**63 - 1

Asked = dict[str, Any]
"""The values that a question's SQL and its fold are given, by their names in the SQL: always
`since_ns` and `last_ns` (the first and the last nanosecond), `sight_ns` (how far before that
readings are looked for that others moved from), `service` (a pattern for
`LIKE $service ESCAPE '!'`), and those of the question's own parameters."""

Row = dict[str, Any]


class Column(NamedTuple):
    """One column of an answer: its name, its type, its unit in UCUM, and what it means.

    A column in nanoseconds is called `..._ns`, a share from 0 to 1 `..._share`.
    """

    name: str
    type: pa.DataType
    unit: str
    meaning: str


class Parameter(NamedTuple):
    """What a question can be told beside time, service and limit; `--name` on a command line.

    Of a duration ("250ms") and a moment ("2h", ISO 8601) the value is whole nanoseconds, of a
    glob ("shop-*") a pattern for `LIKE ... ESCAPE '!'`.
    `least` and `greatest` bound it, and `choices` are all that a text may be, if there are any.
    A default of None leaves the value out: SQL sees NULL.
    """

    name: str
    kind: Literal["text", "glob", "whole", "number", "duration", "moment"]
    default: str | None
    meaning: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    greatest: float | None = None

    @property
    def key(self) -> str:
        """Its name in SQL and in `Asked`: `--window` of a duration is `$window_ns`."""
        name = self.name.replace("-", "_")
        return f"{name}_ns" if self.kind in ("duration", "moment") else name


class Chart(NamedTuple):
    """How an answer is drawn: which columns name a point, which one or several are its height.

    `by` is a column of which each value is a line, or a colour, of its own.
    """

    kind: Literal["bars", "lines", "points"]
    x: tuple[str, ...]
    y: tuple[str, ...]
    by: tuple[str, ...] = ()


def as_it_is(rows: pa.Table, _asked: Asked) -> pa.Table:
    """The fold of a question whose SQL says it all."""
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question: what it asks, what of, and what its answer means.

    `tables` are those that its SQL reads as views of these names. `heads` are the texts whose
    WITH its own goes on with. `because` has the formulas and where they come from. The fold
    gives the rows in the order in which they are shown, the one that says most first; it need
    not cut them to a limit, and its columns may have the engine's types.
    """

    name: str
    summary: str
    tables: tuple[str, ...]
    columns: tuple[Column, ...]
    because: str
    parameters: tuple[Parameter, ...] = ()
    heads: tuple[str, ...] = ()
    fold: Callable[[pa.Table, Asked], pa.Table] = as_it_is
    chart: Chart | None = None

    @property
    def text(self) -> str:
        """The whole SQL: analyze/sql/<name>.sql, and its heads before it."""
        return sql(*self.heads, self.name)

    @property
    def schema(self) -> pa.Schema:
        """The columns as Arrow has them."""
        return pa.schema((column.name, column.type) for column in self.columns)

    def answer(self, rows: pa.Table, asked: Asked) -> pa.Table:
        """What the fold makes of an engine's rows, in the question's columns and types."""
        folded = self.fold(rows, asked)
        made = (settled(folded[column.name], column.type) for column in self.columns)
        return pa.table(list(made), schema=self.schema)


def table_of(columns: Iterable[Column], rows: Iterable[Row]) -> pa.Table:
    """Rows as a fold returns them; whole numbers beyond 64 bits become the nearest of 64.

    >>> calls = Column("calls", WHOLE, "1", "how many")
    >>> table_of([calls], [{"calls": 2**70}]).to_pylist()
    [{'calls': 9223372036854775807}]
    """
    listed = list(rows)
    return pa.table(
        {
            column.name: pa.array(
                [_within(row[column.name], column.type) for row in listed], column.type
            )
            for column in columns
        }
    )


def rows_of(table: pa.Table) -> list[Row]:
    """An engine's rows for a fold in Python: every number without a fraction is an `int`."""
    whole = [f.name for f in table.schema if pa.types.is_decimal(f.type) and not f.type.scale]
    rows: list[Row] = table.to_pylist()
    for row in rows:
        for name in whole:
            row[name] = None if row[name] is None else int(row[name])
    return rows


def ratio(part: float | None, of: float | None) -> float | None:
    """The quotient of two numbers; None without a number, or of nothing.

    >>> ratio(1, 4), ratio(1, 0), ratio(None, 2)
    (0.25, None, None)
    """
    return None if part is None or not of else part / of


def settled(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """A column in that type; a sum, which engines give in 128 bits, becomes 64 of them."""
    if column.type == kind:
        return column
    if kind == WHOLE and pa.types.is_decimal(column.type):
        return pa.chunked_array([[_within(each, kind) for each in column.to_pylist()]], kind)
    return column.cast(kind)


def _within(value: Any, kind: pa.DataType) -> Any:
    if kind != WHOLE or value is None:
        return value
    return max(WHOLE_MIN, min(WHOLE_MAX, int(value)))


@cache
def sql(*names: str) -> str:
    """The texts of analyze/sql/<name>.sql, one going on with the other's WITH."""
    folder = files("nilometer.analyze") / "sql"
    return "".join((folder / f"{name}.sql").read_text(encoding="utf-8") for name in names)
