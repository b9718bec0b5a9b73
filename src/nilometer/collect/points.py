"""OSProfiler's starts and stops find each other, in whatever order and however late they come.

A pair that comes together becomes a span at once. A point that comes alone is written as an
event, and waits here for the other; when that comes it is an event, too, and the span is
written with it. So what waits can be read from the tables again when the collector starts: of
a pair that came apart there are two events, of what waits one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nilometer.model import Batch
from nilometer.wire.osprofiler_points import span_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nilometer.wire.osprofiler_points import Point

PENDING_MAX: Final = 50_000
"""Points that wait: at some 2 kB each 100 MB. Whoever of them is forgotten, oldest first, still
lies in the tables, and questions about its trace find it."""


class Pairs:
    """Makes batches of points. Used by one thread."""

    def __init__(self, pending_max: int = PENDING_MAX) -> None:
        self._pending: dict[tuple[bytes, bytes], Point] = {}
        self._pending_max = pending_max

    def __len__(self) -> int:
        return len(self._pending)

    def remember(self, points: Iterable[Point]) -> None:
        """These lie in the tables already, and wait."""
        for point in points:
            self._wait(point)

    def paired(self, points: Sequence[Point]) -> list[Batch]:
        """What is to be written of these: spans, and events of those that come alone."""
        batches = []
        fresh: dict[tuple[bytes, bytes], Point] = {}
        for point in points:
            other = fresh.get(point.key)
            if other is not None and other.stops != point.stops:
                del fresh[point.key]
                batches.append(_span(other, point))
                continue
            other = self._pending.get(point.key)
            if other is not None and other.stops != point.stops:
                del self._pending[point.key]
                batches.append(_span(other, point))
                batches.append(_alone(point))
                continue
            if other := fresh.get(point.key):  # twice the same: none of them is left out
                batches.append(_alone(other))
            fresh[point.key] = point
        for point in fresh.values():
            self._wait(point)
            batches.append(_alone(point))
        return batches

    def those_of(self, points: Iterable[Point]) -> list[Point]:
        """Who waits for these, to be restored if they cannot be committed."""
        return [each for point in points if (each := self._pending.get(point.key)) is not None]

    def restore(self, points: Iterable[Point], waiting: Iterable[Point]) -> None:
        """As if these had not come, and those waited on."""
        for point in points:
            self._pending.pop(point.key, None)
        self.remember(waiting)

    def _wait(self, point: Point) -> None:
        self._pending[point.key] = point
        if len(self._pending) > self._pending_max:
            del self._pending[next(iter(self._pending))]


def _span(one: Point, other: Point) -> Batch:
    start, stop = (other, one) if one.stops else (one, other)
    return Batch(start.resource, spans=(span_of(start, stop),))


def _alone(point: Point) -> Batch:
    return Batch(point.resource, events=(point.event,))
