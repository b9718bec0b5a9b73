"""Measurements: single points, each once, however they are paged."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from nilometer.api.moments import iso_8601
from nilometer.api.monasca.asking import Put, put_together, share
from nilometer.api.monasca.pages import lost, offset_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nilometer.api.monasca.asking import Answering, Question
    from nilometer.store.query import Reader
    from nilometer.store.statistics import Point

COLUMNS: Final = ["timestamp", "value", "value_meta"]
LAST: Final = 2**62
"""After every part."""


def measurements(
    reader: Reader, question: Question, found: Answering
) -> tuple[list[dict[str, Any]], str | None]:
    """A page of elements, and the offset of the next one if there is one."""
    if not found.groups:
        return [], None
    put = put_together(found.groups, apart=True)
    told = reader.points(
        found.name,
        put.series,
        [part.place for part in put.parts],
        since_ns=question.window.since_ns,
        until_ns=question.window.until_ns,
        after=_after(question, found, put),
        limit=question.limit + 1,
    )
    more, told = len(told) > question.limit, told[: question.limit]
    elements = []
    for place, points in _by_place(told):
        group = found.groups[place]
        values = _values(reader, found, put, points)
        elements.append(
            {
                "id": group.id,
                "name": group.name,
                "dimensions": dict(group.dimensions),
                "columns": COLUMNS,
                "measurements": [
                    [to_ms(point.ended_ns), value, _meta(put, point)]
                    for point, value in zip(points, values, strict=True)
                ],
            }
        )
    if not more:
        return elements, None
    return elements, offset_of(put.parts[told[-1].part].id, told[-1].ended_ns)


def _after(question: Question, found: Answering, put: Put) -> tuple[int, int, int]:
    """Place, time and part of the last point of the page before."""
    place = question.place
    if place is None:
        return -1, 0, 0
    if not place.id:
        return 0, place.after_ns, LAST
    for number, part in enumerate(put.parts):
        if part.id == place.id:
            return part.place, place.after_ns, number
    for number, group in enumerate(found.groups):
        if place.id in (group.id, *(each.id for each in group.metrics)):
            return number, place.after_ns, LAST
    raise lost(place.id)


def _by_place(told: Iterable[Point]) -> list[tuple[int, list[Point]]]:
    by_place: dict[int, list[Point]] = {}
    for point in told:
        by_place.setdefault(point.place, []).append(point)
    return list(by_place.items())


def _values(
    reader: Reader, found: Answering, put: Put, points: Sequence[Point]
) -> list[float | None]:
    """The value of each point; under a derived name the percentile of what it tells."""
    if found.percentile is None:
        return [put.scaled(point.part, point.value) for point in points]
    chosen = {point.part for point in points}
    pairs = zip(put.series.series, put.series.parts, strict=True)
    here = [(series, part) for series, part in pairs if part in chosen]
    told = reader.measured(
        found.name,
        put.series._replace(series=[s for s, _ in here], parts=[p for _, p in here]),
        since_ns=points[0].ended_ns,
        until_ns=points[-1].ended_ns + 1,
        period_ns=1,
        quantiles=[share(found.percentile)],
    )
    by_point = {(one.part, one.started_ns): one.quantiles for one in told}
    held = [by_point.get((point.part, point.ended_ns), ()) for point in points]
    return [
        put.scaled(point.part, pairs[0][1]) if pairs else None
        for point, pairs in zip(points, held, strict=True)
    ]


def _meta(put: Put, point: Point) -> dict[str, Any]:
    """A posted point's own; of a distribution what else it tells, as texts."""
    if put.parts[point.part].is_posted:
        posted: dict[str, Any] = json.loads(point.description or "{}")
        return posted
    if point.kind != "distribution":
        return {}
    told = {"sum": point.total, "min": point.minimum, "max": point.maximum}
    scaled = {key: put.scaled(point.part, value) for key, value in told.items()}
    return {"count": str(point.samples)} | {
        key: repr(value) for key, value in scaled.items() if value is not None
    }


def to_ms(at_ns: int) -> str:
    """A time as measurements show it.

    >>> to_ms(1_500_000_000_123_456_789)
    '2017-07-14T02:40:00.123Z'
    """
    return f"{iso_8601(at_ns)[:23]}Z"
