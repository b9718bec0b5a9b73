"""Finds the starts and stops that a query asks for; runs in a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nilometer.api.ceilometer.complex import NEWEST_FIRST, OLDEST_FIRST
from nilometer.api.ceilometer.told import told_of
from nilometer.api.ceilometer.wanted import field_of
from nilometer.api.traces import spans_of_trace
from nilometer.store.limits import POINTS_MAX, SPANS_MAX, TooMuch
from nilometer.wire.osprofiler_points import points_of, spans_of_points

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nilometer.api.ceilometer.complex import Order
    from nilometer.api.ceilometer.told import Told
    from nilometer.api.ceilometer.wanted import Wanted
    from nilometer.model import Resource, SpanRecord
    from nilometer.store.query import Reader

    Pairs = list[tuple[Resource, SpanRecord]]

SPANS_LOOKED: Final = 10_000
"""Spans that are looked through where no trace is named: with their JSON 60 MB."""


def found(
    reader: Reader,
    wanted: Wanted,
    limit: int | None,
    order: Order = NEWEST_FIRST,
) -> list[Told]:
    """What is wanted, in that order; TooMuch if more would have to be looked through."""
    if wanted.trace_id == "":
        return []
    if wanted.trace_id is not None:
        return _ordered(_told(_whole(reader, wanted.trace_id), wanted), order)[:limit]
    latest = order[:1] == NEWEST_FIRST
    pairs = reader.spans_between(
        wanted.since_ns, wanted.until_ns, latest=latest, limit=SPANS_LOOKED + 1
    )
    points = reader.lone_points(wanted.since_ns or 0)
    known = {(span.trace_id, span.span_id) for _, span in pairs}
    alone = spans_of_points(point for point in points_of(points) if point.key not in known)
    told = _told(pairs + alone, wanted)
    if len(pairs) > SPANS_LOOKED or len(points) >= POINTS_MAX:
        told = _surely(told, pairs, order) if len(points) < POINTS_MAX else []
        if limit is None or len(told) < limit:
            raise TooMuch(
                f"this query looks at more than {SPANS_LOOKED} spans",
                "name a trace, or less time",
                "limit",
            )
    return _ordered(told, order)[:limit]


def _whole(reader: Reader, trace_id: str) -> Pairs:
    pairs, more = spans_of_trace(reader, trace_id)
    if more:
        raise TooMuch(
            f"trace {trace_id} has more than {SPANS_MAX} spans",
            "`nilometer trace show` has those that started first",
            "limit",
        )
    return pairs


def _told(pairs: Iterable[tuple[Resource, SpanRecord]], wanted: Wanted) -> list[Told]:
    return [told for pair in pairs for told in told_of(*pair) if wanted.test(told)]


def _surely(told: list[Told], pairs: Pairs, order: Order) -> list[Told]:
    """Those before which, in this order, nothing can be that was not looked at."""
    if order[:1] == NEWEST_FIRST:
        seen_ns = min(max(span.started_ns, span.ended_ns) for _, span in pairs)
        return [each for each in told if each.at_ns > seen_ns]
    if order[:1] == OLDEST_FIRST:
        seen_ns = max(span.started_ns for _, span in pairs)
        return [each for each in told if each.at_ns < seen_ns]
    return []


def _ordered(told: list[Told], order: Order) -> list[Told]:
    """In that order; those that are equal in it by their ids."""
    told.sort(key=lambda each: each.id)
    for name, greatest_first in reversed(order):
        read = field_of(name)
        told.sort(key=lambda each: _comparable(read(each)), reverse=greatest_first)
    return told


def _comparable(value: object) -> tuple[bool, object]:
    return value is not None, value
