"""`baseline`: how often, how well and how fast each operation works, hour by hour."""

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

NS_PER_HOUR: Final = 3600 * 10**9
HOURS_OF_WEEK: Final = 168
THURSDAY: Final = 3  # days after a Monday: the first of 1970 was one

COLUMNS: Final = (
    Column("service", TEXT, "", "which service"),
    Column("operation", TEXT, "", "what was done: the span's name"),
    Column("kind", TEXT, "", "server, client, internal, producer, consumer"),
    Column("weekday", WHOLE, "", "1 is Monday, 7 is Sunday; null if not asked by it"),
    Column("hour", WHOLE, "", "hour of the day in UTC, 0 to 23; null if not asked by it"),
    Column("calls", WHOLE, "1", "how often"),
    Column("rate", NUMBER, "1/s", "calls by the time of such hours between first and last"),
    Column("errors", WHOLE, "1", "how many of them failed"),
    Column("error_share", NUMBER, "1", "errors by calls"),
    Column("average_ns", NUMBER, "ns", "the mean duration"),
    Column("p50_ns", WHOLE, "ns", "half of the calls took no longer"),
    Column("p90_ns", WHOLE, "ns", "nine of ten took no longer"),
    Column("p99_ns", WHOLE, "ns", "99 of 100 took no longer"),
    Column("max_ns", WHOLE, "ns", "the longest"),
)


def fold(rows: pa.Table, _asked: Asked) -> pa.Table:
    """Rates and shares; operations by name, their hours in order."""
    found = rows_of(rows)
    first_ns = min((row["first_ns"] for row in found), default=0)
    end_ns = max((row["end_ns"] for row in found), default=0)
    return table_of(
        COLUMNS,
        sorted((_told(row, first_ns, end_ns) for row in found), key=_order),
    )


def _told(row: Row, first_ns: int, end_ns: int) -> Row:
    lasted_ns = slot_ns(row["weekday"], row["hour"], first_ns, end_ns)
    rate = ratio(row["calls"], lasted_ns)
    return {
        **row,
        "operation": row["name"],
        "rate": None if rate is None else rate * 10**9,
        "error_share": ratio(row["errors"], row["calls"]),
        "average_ns": ratio(row["total_ns"], row["calls"]),
    }


def _order(row: Row) -> tuple[object, ...]:
    return (
        row["service"],
        row["operation"],
        row["kind"],
        row["weekday"] or 0,
        -1 if row["hour"] is None else row["hour"],
    )


def slot_ns(weekday: int | None, hour: int | None, first_ns: int, end_ns: int) -> int:
    """How much of a time lies in an hour of the day, a day of the week or an hour of a week.

    >>> slot_ns(None, 0, 0, 30 * NS_PER_HOUR) // NS_PER_HOUR
    2
    """
    if weekday is None and hour is None:
        return end_ns - first_ns
    hours = range(24) if hour is None else (hour,)
    days = range(7) if weekday is None else (weekday - 1,)
    inside = 0
    week_ns = HOURS_OF_WEEK * NS_PER_HOUR
    for day in days:
        for each in hours:
            offset_ns = (((day - THURSDAY) % 7) * 24 + each) * NS_PER_HOUR
            inside += _before(end_ns - offset_ns, week_ns) - _before(
                first_ns - offset_ns, week_ns
            )
    return inside


def _before(at_ns: int, period_ns: int) -> int:
    """How much of the first hours of all periods since 0 has passed by then."""
    whole, rest = divmod(at_ns, period_ns)
    return whole * NS_PER_HOUR + min(rest, NS_PER_HOUR)


QUESTION: Final = Question(
    name="baseline",
    summary="What is normal: rate, errors and durations of each operation, by hour and day.",
    tables=("spans",),
    heads=("once",),
    columns=COLUMNS,
    parameters=(
        Parameter(
            "by",
            "text",
            "week",
            "Each hour of the week, each hour of the day, each weekday, or all together.",
            ("week", "hour", "weekday", "all"),
        ),
    ),
    fold=fold,
    because=(
        "The quantile p is the least duration that at least this share of all calls are not "
        "above, at place ⌈p·calls⌉ in their order (Hyndman and Fan, Sample Quantiles in "
        "Statistical Packages, 1996, definition 1). The rate is calls / time, where the time "
        "is that part of all between the first and the last span which lies in such hours of "
        "the week, of the day, or on such days: an hour that came twice counts twice."
    ),
    chart=Chart("lines", ("weekday", "hour"), ("p50_ns",), ("service", "operation", "kind")),
)
