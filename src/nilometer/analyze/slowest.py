"""`slowest`: which operations and statements the time went to."""

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

    from nilometer.analyze.question import Asked

COLUMNS: Final = (
    Column("service", TEXT, "", "which service"),
    Column("operation", TEXT, "", "what was done: the span's name"),
    Column("kind", TEXT, "", "server, client, internal, producer, consumer"),
    Column("statement", TEXT, "", "the statement without its values; empty if there is none"),
    Column("calls", WHOLE, "1", "how often"),
    Column("errors", WHOLE, "1", "how many of them failed"),
    Column("total_ns", WHOLE, "ns", "all durations together, with the time of children"),
    Column("total_share", NUMBER, "1", "of the total time of all operations"),
    Column("self_ns", WHOLE, "ns", "the time in which no child ran"),
    Column("self_share", NUMBER, "1", "of the self time of all operations: adds up to 1"),
    Column("average_ns", NUMBER, "ns", "the mean duration"),
    Column("max_ns", WHOLE, "ns", "the longest"),
)


def fold(rows: pa.Table, asked: Asked) -> pa.Table:
    """Shares of all; what took most time first."""
    found = rows_of(rows)
    first = "total_ns" if asked["order"] == "total" else "self_ns"
    names = ("service", "name", "kind", "statement")
    found.sort(key=lambda row: (-row[first], *(row[name] for name in names)))
    total_ns = sum(row["total_ns"] for row in found)
    self_ns = sum(row["self_ns"] for row in found)
    told = (
        {
            **row,
            "operation": row["name"],
            "total_share": ratio(row["total_ns"], total_ns),
            "self_share": ratio(row["self_ns"], self_ns),
            "average_ns": ratio(row["total_ns"], row["calls"]),
        }
        for row in found
    )
    return table_of(COLUMNS, told)


QUESTION: Final = Question(
    name="slowest",
    summary="Where the time goes: operations and statements by total and self time.",
    tables=("spans",),
    heads=("once", "shaped"),
    columns=COLUMNS,
    parameters=(
        Parameter(
            "by",
            "text",
            "statement",
            "Each statement apart, or an operation's all together.",
            ("statement", "operation"),
        ),
        Parameter("order", "text", "self", "What comes first: most of it.", ("self", "total")),
    ),
    fold=fold,
    because=(
        "A span's self time is its duration less the union of its children's times, each cut "
        "to the span's: time in which two children ran at once is taken off once. It is what "
        "`nilometer trace show` calls self, and of all spans together it counts no moment of a "
        "span twice, so its shares add up to 1. A child that started after the time asked for "
        "is not known, and takes nothing off."
    ),
    chart=Chart("bars", ("service", "operation", "kind", "statement"), ("self_ns",)),
)
