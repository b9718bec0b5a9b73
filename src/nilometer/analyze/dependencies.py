"""`dependencies`: which service calls which, how often, how long, and how often in vain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nilometer.analyze.question import (
    NUMBER,
    TEXT,
    WHOLE,
    Chart,
    Column,
    Question,
    ratio,
    rows_of,
    table_of,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from nilometer.analyze.question import Asked

NS_PER_S: Final = 10**9

COLUMNS: Final = (
    Column("caller", TEXT, "", "the service that calls; empty: from outside"),
    Column("callee", TEXT, "", "the service that is called, or what a client's span names"),
    Column("told_by", TEXT, "", "whose spans tell of the calls: callee or caller"),
    Column("calls", WHOLE, "1", "how many calls there were"),
    Column("rate", NUMBER, "1/s", "how many there were a second"),
    Column("errors", WHOLE, "1", "how many of them ended in an error"),
    Column("error_share", NUMBER, "1", "which share of them that is"),
    Column("total_ns", WHOLE, "ns", "how long all of them took together"),
    Column("p50_ns", WHOLE, "ns", "half of the calls took at most so long"),
    Column("p90_ns", WHOLE, "ns", "nine calls in ten took at most so long"),
    Column("p99_ns", WHOLE, "ns", "99 calls in a hundred took at most so long"),
    Column("max_ns", WHOLE, "ns", "how long the longest took"),
)


def _fold(rows: pa.Table, _asked: Asked) -> pa.Table:
    """The sums with their ratios."""
    listed = rows_of(rows)
    for row in listed:
        row["rate"] = ratio(row["calls"] * NS_PER_S, row["end_ns"] - row["first_ns"])
        row["error_share"] = ratio(row["errors"], row["calls"])
    return table_of(COLUMNS, listed)


QUESTION: Final = Question(
    name="dependencies",
    summary="Which service calls which, how often, how often in vain, and how long it takes.",
    tables=("spans",),
    heads=("once",),
    columns=COLUMNS,
    fold=_fold,
    chart=Chart("bars", ("caller", "callee"), ("calls", "errors")),
    because=(
        "A call is a span whose parent, in the same trace, is of another service, or a "
        "server's or consumer's span below a client's or producer's. A span at the top, or a "
        "server's whose parent is missing, was called from outside. A client's or producer's "
        "span below which no other service and no other client goes on is a call of something "
        "that sends no spans: its name is the attribute `peer.service`, or else "
        "`db.system.name` or `messaging.system`, at `server.address`. The rate is calls / "
        "(end of the latest call - start of the first one, of all services). The share p "
        "takes at most the duration that is the least one not less than p of them (nearest "
        "rank)."
    ),
)
