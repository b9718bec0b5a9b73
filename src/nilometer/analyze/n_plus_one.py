"""`n-plus-one`: statements that are asked once for each of a list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nilometer.analyze.question import (
    NUMBER,
    TEXT,
    WHOLE,
    Chart,
    Column,
    Parameter,
    Question,
    ratio,
    rows_of,
    table_of,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from nilometer.analyze.question import Asked, Row

COLUMNS: Final = (
    Column("service", TEXT, "", "which service asks"),
    Column("operation", TEXT, "", "the name of the spans that repeat"),
    Column("kind", TEXT, "", "their kind, client most often"),
    Column("statement", TEXT, "", "the statement without its values"),
    Column("parent_service", TEXT, "", "the service of the span below which they are"),
    Column("parent", TEXT, "", "its name; empty where it is not there"),
    Column("calls", WHOLE, "1", "how often, all together"),
    Column("total_ns", WHOLE, "ns", "all their durations together"),
    Column("spare_ns", WHOLE, "ns", "of it what all calls but one for each span took"),
    Column("traces", WHOLE, "1", "in how many traces"),
    Column("parents", WHOLE, "1", "below how many spans"),
    Column("calls_average", NUMBER, "1", "how often below one span, on average"),
    Column("calls_p50", WHOLE, "1", "below half of these spans no more often"),
    Column("calls_max", WHOLE, "1", "the most below one span"),
)


def fold(rows: pa.Table, _asked: Asked) -> pa.Table:
    """What could be spared most first."""
    found = [_told(row) for row in rows_of(rows)]
    names = ("service", "operation", "kind", "statement", "parent_service", "parent")
    found.sort(key=lambda row: (-row["spare_ns"], *(row[name] for name in names)))
    return table_of(COLUMNS, found)


def _told(row: Row) -> Row:
    calls, parents, total_ns = row["calls"], row["parents"], row["total_ns"]
    return {
        **row,
        "operation": row["name"],
        "parent": row["parent_name"],
        "calls_average": ratio(calls, parents),
        "spare_ns": total_ns * (calls - parents) // calls,
    }


QUESTION: Final = Question(
    name="n-plus-one",
    summary="Which statements are repeated below one span, where one for all would do.",
    tables=("spans",),
    heads=("once", "shaped"),
    columns=COLUMNS,
    parameters=(
        Parameter("least", "whole", "5", "How often below one span, at least.", least=2),
    ),
    fold=fold,
    because=(
        "Spans with the same parent, service, name, kind and statement, values and the lengths "
        "of lists left out of it, are one repetition if there are `--least` of them. The time "
        "to spare is total · (calls - parents) / calls: what is left is one call of mean "
        "duration for each parent. One statement for all takes longer than one of those that "
        "it replaces, so it is the most that can be won."
    ),
    chart=Chart("bars", ("service", "statement"), ("spare_ns",)),
)
