"""`cost`: what a unit of work costs in counters of backends, from revision to revision."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
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

NORMAL_PER_MAD: Final = 1.4826  # of normal noise: the standard deviation

FLOOR_SHARE: Final = 0.002
"""Two runs of real programs differ by a row or two in a thousand, however still they are."""

COLUMNS: Final = (
    Column("suite", TEXT, "", "what was run"),
    Column("backend", TEXT, "", "whose counter it is; empty: the command's own time"),
    Column("counter", TEXT, "", "which counter"),
    Column("unit", TEXT, "", "its unit in UCUM"),
    Column("revision", TEXT, "", "which version was measured; empty if not known"),
    Column("runs", WHOLE, "1", "how many runs of it there are"),
    Column("work", WHOLE, "1", "how many units of work were done in them"),
    Column("cost", NUMBER, "1", "how far it moves for one of these: the median of the runs"),
    Column("cost_minimum", NUMBER, "1", "the least of the runs"),
    Column("cost_maximum", NUMBER, "1", "the greatest of the runs"),
    Column("spread", NUMBER, "1", "how far runs usually lie from the median: 1.4826 MAD"),
    Column("before", NUMBER, "1", "the cost at the revision before; empty for the first one"),
    Column("ratio", NUMBER, "1", "cost / before"),
    Column("moved", NUMBER, "1", "how many times the usual spread the cost moved"),
)


def _fold(rows: pa.Table, _asked: Asked) -> pa.Table:
    """Each counter's costs with those before; what moved furthest first."""
    told: list[Row] = []
    for _, each in groupby(rows_of(rows), itemgetter("suite", "backend", "counter")):
        last: Row | None = None
        for row in each:
            told.append(_moved(row, last))
            last = row
    name = ("suite", "backend", "counter", "first_ns", "revision")
    told.sort(key=lambda row: (-abs(row["moved"] or 0), *(row[each] for each in name)))
    return table_of(COLUMNS, told)


def _moved(row: Row, last: Row | None) -> Row:
    """A revision's cost, and how it compares with the one before."""
    row["spread"] = NORMAL_PER_MAD * row["mad"]
    row["before"] = row["ratio"] = row["moved"] = None
    if last is not None:
        cost, before = row["cost"], last["cost"]
        floor = FLOOR_SHARE * max(abs(cost), abs(before))
        scale = max(row["spread"], last["spread"], floor)
        row["before"], row["ratio"] = before, ratio(cost, before)
        row["moved"] = ratio(cost - before, scale) or 0.0
    return row


QUESTION: Final = Question(
    name="cost",
    summary="What a unit of work costs in counters of backends, and what it cost before.",
    tables=("runs",),
    columns=COLUMNS,
    parameters=(Parameter("suite", "text", None, "Only runs of that suite."),),
    fold=_fold,
    chart=Chart("lines", ("revision",), ("cost",), ("suite", "backend", "counter")),
    because=(
        "The cost of a run is how far a counter's total moved in it, without footprint and "
        "idle drift, / the work that it did (the tests that ran, or the requests). Of the "
        "runs of a revision the median counts, the lower of two in the middle, with the "
        "median distance from it (MAD; times 1.4826 it is the standard deviation of normal "
        "noise). A revision is compared with the one that was first run before it: the "
        "difference / the greater of the two spreads, and of 0.2 % of the cost. Gauges do not "
        "cost anything and are left out, as are runs that are not whole, not usable, or of "
        "unknown work. Whether a change is one to act on is what `nilometer gate` judges."
    ),
)
