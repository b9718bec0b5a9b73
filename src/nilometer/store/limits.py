"""How much one question may ask for, and what it is told where that is more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SPANS_MAX: Final = 100_000
"""Of one trace; ten times what a trace may record by default."""

SERIES_MAX: Final = 100_000
"""Of one instrument: 100 processes of 1,000 series each."""

ROWS_MAX: Final = 20_000
"""Of statistics: 20 groups by the minutes of half a day; 5 MB as JSON."""

BUCKETS_MAX: Final = 50 * ROWS_MAX
"""A timer's values lie within some 50 buckets (a factor of 3) per row of statistics."""

TIME_MIN: Final = -(2**63)
TIME_MAX: Final = 2**63 - 1

NS_PER_HOUR: Final = 3600 * 10**9
NS_PER_DAY: Final = 24 * NS_PER_HOUR

SIGHT_NS: Final = NS_PER_HOUR
"""So far before `since_ns` the reading is looked for that a cumulative series moved from."""

POINTS: Final = ("osprofiler.start", "osprofiler.stop")
"""Names of the events that OSProfiler's points are; nothing else lies between them."""

POINTS_MAX: Final = 50_000
"""Of those that wait for others, the latest: 100 MB."""

MARGIN_NS: Final = 60 * 10**9
"""So long before the last append a pair is looked at again whose span may not have been
committed with it: longer than a commit takes."""

TRACES_MAX: Final = 100_000
"""So many traces are looked through for those that are as asked for: an hour of 30 a second."""


class TooMuch(StoreError):  # noqa: N818 - it is the question that is too large
    """An answer would be too large; `parameter` is the one that makes it smaller."""

    def __init__(self, what: str, remedy: str, parameter: str) -> None:
        super().__init__(f"{what}; {remedy}", slug="store-too-much")
        self.parameter = parameter


def refuse_many(whose: str, rows: Sequence[Mapping[str, Any]], series_max: int) -> None:
    """Raise TooMuch where these are more rows than an answer of series may have."""
    if len(rows) > series_max:
        raise TooMuch(
            f"{whose} has more than {series_max} series in this time",
            "ask for less of it: neither where nor group_by makes them fewer",
            "since",
        )


def ends(since_ns: int | None, until_ns: int | None) -> tuple[int, int]:
    """The first and the last nanosecond asked for, within 64 bits; (1, 0) if there is none."""
    first = TIME_MIN if since_ns is None else max(TIME_MIN, since_ns)
    last = TIME_MAX if until_ns is None else min(TIME_MAX, until_ns - 1)
    return (first, last) if first <= last else (1, 0)


def within_64_bits(value: int) -> int:
    """The value, or the limit that is nearest to it."""
    return max(TIME_MIN, min(TIME_MAX, value))
