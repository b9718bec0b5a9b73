"""`anomalies`: which hours were unlike the others, by count, errors or median time."""

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
    rows_of,
    table_of,
)
from nilometer.model.units import moment

if TYPE_CHECKING:
    import pyarrow as pa

    from nilometer.analyze.question import Asked

S_NS: Final = 10**9

COLUMNS: Final = (
    Column("service", TEXT, "", "whose operation it is"),
    Column("operation", TEXT, "", "the name of its spans"),
    Column("kind", TEXT, "", "their kind: server, client, ..."),
    Column("measure", TEXT, "", "what is unusual: spans, errors or p50_ns"),
    Column("at", TEXT, "", "when the bucket begins, UTC"),
    Column("at_ns", WHOLE, "ns", "the same, since 1970"),
    Column("measured", WHOLE, "1", "how many there were; of p50_ns the median, nanoseconds"),
    Column("usual", WHOLE, "1", "the median of the buckets it is compared with"),
    Column("score", NUMBER, "1", "how many times the usual spread it is off; above 0: more"),
    Column("compared", TEXT, "", "with which buckets: of the same week, day or none"),
    Column("alike", WHOLE, "1", "how many buckets these are, itself among them"),
)

_COMPARED: Final = {"week": "hour of the week", "day": "hour of the day", "none": "all"}


def _fold(rows: pa.Table, _asked: Asked) -> pa.Table:
    """What is unusual, what is most unusual first."""
    listed = rows_of(rows)
    for row in listed:
        row["at"] = moment(row["at_ns"])
        row["score"] = row["residual"] / row["scale"]
        row["compared"] = _COMPARED[row["season"]]
    name = ("at_ns", "service", "operation", "kind", "measure")
    listed.sort(key=lambda row: (-abs(row["score"]), *(row[each] for each in name)))
    return table_of(COLUMNS, listed)


QUESTION: Final = Question(
    name="anomalies",
    summary="Which hours were unlike the same hours of other days or weeks.",
    tables=("spans",),
    heads=("once",),
    columns=COLUMNS,
    parameters=(
        Parameter("bucket", "duration", "1h", "Look at buckets of that length.", least=S_NS),
        Parameter(
            "season",
            "text",
            "auto",
            "Compare buckets of the same hour of that; auto: of what there is enough of.",
            choices=("auto", "week", "day", "none"),
        ),
        Parameter("score", "number", "5", "Show what is at least so unusual.", least=0),
    ),
    fold=_fold,
    chart=Chart("points", ("at_ns",), ("score",), ("measure",)),
    because=(
        "A bucket is compared with the median of those that begin in the same hour of the "
        "week, with 28 days or more to look at; of the same hour of the day with 4 days or "
        "more; else of all; 4 buckets at least. Its residual is the difference of 2 "
        "sqrt(count + 3/8) for counts, whose chance is 1 whatever the count is (Anscombe, The "
        "transformation of Poisson, binomial and negative-binomial data, 1948), and for times "
        "the difference / the median. The score is the residual / (1.4826 MAD), MAD being the "
        "median of all residuals of the operation without their signs; the divisor is at "
        "least 1 for counts, at least 0.05 for times. Where nothing happened, 5 or more is "
        "chance once in two million buckets; 3.5 would be once in two thousand (Iglewicz and "
        "Hoaglin, How to detect and handle outliers, 1993). Medians are the lower of the two "
        "in the middle. A bucket without spans counts as 0 of them; the first and the last "
        "bucket are left out, as they may be cut off."
    ),
)
