"""Statistics by period, of events: sums are added up and extremes merged, whoever told them.

A page asks the tables for as many groups and periods as it can hold, and for more where they
turn out to be empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.api.moments import iso_8601
from nilometer.api.monasca.asking import Put, put_together, share
from nilometer.api.monasca.grammar import share_of
from nilometer.api.monasca.pages import lost, offset_of
from nilometer.store.limits import ROWS_MAX, TooMuch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nilometer.api.monasca.asking import Answering, Question
    from nilometer.store import statistics as stored
    from nilometer.store.query import Reader

CELLS: Final = ROWS_MAX // 2
"""So many pairs of group and period are asked for at once at first: two kinds of one name in
each still fit what the tables answer."""

GROWTH: Final = 4

Row = tuple[int, int, dict[str, float | None]]
"""Number of the group, start of the period, statistics by name."""


class Statistics(NamedTuple):
    """What is asked for of each period."""

    names: list[str]
    period_ns: int


def statistics(
    reader: Reader, question: Question, found: Answering, asked: Statistics
) -> tuple[list[dict[str, Any]], str | None]:
    """A page of elements, and the offset of the next one if there is one."""
    rows: list[Row] = []
    for some in _asked_for(reader, question, found, asked):
        rows += some
        if len(rows) > question.limit:
            break
    shown = rows[: question.limit]
    elements: dict[int, dict[str, Any]] = {}
    for number, started_ns, values in shown:
        group = found.groups[number]
        if number not in elements:
            elements[number] = {
                "id": group.id,
                "name": group.name,
                "dimensions": dict(group.dimensions),
                "columns": ["timestamp", *asked.names],
                "statistics": [],
            }
        row = [to_s(started_ns), *(values[name] for name in asked.names)]
        elements[number]["statistics"].append(row)
    offset = None
    if len(rows) > question.limit:
        number, started_ns, _ = shown[-1]
        offset = offset_of(found.groups[number].id, started_ns)
    return list(elements.values()), offset


def _asked_for(
    reader: Reader, question: Question, found: Answering, asked: Statistics
) -> Iterator[list[Row]]:
    """The rows in their order, some groups or some periods at a time."""
    since_ns, until_ns = question.window
    assert since_ns is not None  # it has to be given
    assert until_ns is not None  # the route puts now
    first, begin_ns = _begun(question, found, asked.period_ns)
    cells = CELLS
    while first < len(found.groups):
        begin_ns = max(since_ns, begin_ns)
        periods = max(1, -(-(until_ns - begin_ns) // asked.period_ns))
        whole = max(1, cells // periods)
        end_ns = until_ns
        if periods > cells:
            end_ns = min(until_ns, (begin_ns // asked.period_ns + cells) * asked.period_ns)
        is_whole = begin_ns == since_ns and end_ns == until_ns
        groups = range(first, min(first + whole, len(found.groups)) if is_whole else first + 1)
        try:
            rows = _rows(reader, found, asked, groups, (begin_ns, end_ns))
        except TooMuch:
            if cells == 1:
                raise
            cells = max(1, cells // GROWTH)
            continue
        yield rows
        if len(rows) * GROWTH < cells:
            cells *= GROWTH
        first, begin_ns = (groups.stop, since_ns) if end_ns == until_ns else (first, end_ns)


def _begun(question: Question, found: Answering, period_ns: int) -> tuple[int, int]:
    """The group and the time to begin with."""
    place = question.place
    if place is None:
        return 0, 0
    after_ns = (place.after_ns // period_ns + 1) * period_ns
    for number, group in enumerate(found.groups):
        if place.id in ("", group.id, *(each.id for each in group.metrics)):
            is_over = (
                question.window.until_ns is not None and after_ns >= question.window.until_ns
            )
            return (number + 1, 0) if is_over else (number, after_ns)
    if found.groups:
        raise lost(place.id)
    return 0, 0


def _rows(
    reader: Reader,
    found: Answering,
    asked: Statistics,
    groups: range,
    window: tuple[int, int],
) -> list[Row]:
    put = put_together(found.groups[groups.start : groups.stop], apart=False)
    shares = [found.percentile] if found.percentile else asked.names
    told = reader.measured(
        found.name,
        put.series,
        since_ns=window[0],
        until_ns=window[1],
        period_ns=asked.period_ns,
        quantiles=[share(each) for each in shares if share_of(each) is not None],
    )
    if found.percentile is None and {"min", "max"} & {*asked.names}:
        told = _with_extremes(reader, found.name, put, told, asked.period_ns, window)
    by_cell: dict[tuple[int, int], list[stored.Statistics]] = {}
    for one in told:
        is_asked = found.percentile is None or one.kind == "distribution"
        if one.samples and is_asked:  # Monasca has no row where nothing was measured
            cell = groups.start + put.parts[one.part].place, one.started_ns
            by_cell.setdefault(cell, []).append(one)
    return [
        (*cell, _values(put, ones, asked.names, found.percentile))
        for cell, ones in sorted(by_cell.items(), key=lambda pair: pair[0])
    ]


def _with_extremes(
    reader: Reader,
    name: str,
    put: Put,
    told: Sequence[stored.Statistics],
    period_ns: int,
    window: tuple[int, int],
) -> list[stored.Statistics]:
    """The same; extremes that nobody kept are told by the outermost buckets that hold values,
    and by the average, which lies between them: the last bucket has no end.

    Monasca knows no statistics without them, and its clients fail where one is null.
    """
    wanting = {one.part for one in told if one.samples and None in (one.minimum, one.maximum)}
    if not wanting:
        return list(told)
    since_ns, until_ns = window
    spread = reader.spread(
        name, put.series, since_ns=since_ns, until_ns=until_ns, period_ns=period_ns
    )
    extents = {(one.part, one.started_ns): held.extent() for one, held in spread}
    made = []
    for one in told:
        told_of = (*extents.get((one.part, one.started_ns), ()), one.average)
        known = [value for value in told_of if value is not None]
        least = min(known, default=None) if one.minimum is None else one.minimum
        greatest = max(known, default=None) if one.maximum is None else one.maximum
        made.append(one._replace(minimum=least, maximum=greatest))
    return made


def _values(
    put: Put, ones: Sequence[stored.Statistics], names: Sequence[str], percentile: str | None
) -> dict[str, float | None]:
    """Each statistic of one cell; instruments of several units or kinds count together."""
    count = sum(one.samples for one in ones)
    if percentile is not None:
        value = _quantile(put, ones, percentile)
        return {name: count if name == "count" else value for name in names}
    total = sum(put.scaled(one.part, _total(one)) or 0.0 for one in ones)
    least = [put.scaled(one.part, one.minimum) for one in ones]
    greatest = [put.scaled(one.part, one.maximum) for one in ones]
    plain: dict[str, float | None] = {
        "count": count,
        "sum": total,
        "avg": total / count if count else None,
        "min": _one_of(min, least),
        "max": _one_of(max, greatest),
    }
    return {
        name: plain[name] if name in plain else _quantile(put, ones, name) for name in names
    }


def _total(one: stored.Statistics) -> float:
    """The sum; a gauge's average, times how many it is of."""
    return (one.average or 0.0) * one.samples if one.total is None else one.total


def _quantile(put: Put, ones: Sequence[stored.Statistics], name: str) -> float | None:
    """The quantile, where one instrument alone tells it: of several nobody can say it."""
    if len(ones) != 1:
        return None
    return put.scaled(ones[0].part, dict(ones[0].quantiles).get(share(name)))


def _one_of(choose: Any, values: Sequence[float | None]) -> float | None:
    """Of all; where one does not tell, nobody knows it."""
    told = [value for value in values if value is not None]
    return choose(told) if len(told) == len(values) else None


def to_s(at_ns: int) -> str:
    """A time as statistics show it.

    >>> to_s(1_500_000_000_000_000_000)
    '2017-07-14T02:40:00Z'
    """
    return f"{iso_8601(at_ns)[:19]}Z"
