"""What waits for an exporter that cannot deliver: full, it merges before it drops.

Only batches that nobody was ever given are here, so they may still be changed: a receiver knows
a batch that comes again by its content. Of neighbours, readings of one series become one over
the joined interval: counters are added up, distributions merged, gauges keep the last. Spans
and events are never merged.
"""

from __future__ import annotations

from heapq import merge
from itertools import chain, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.model import Batch, Distribution, Kind, Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

BUCKETS_PER_ROW: Final = 12
"""A row is taken to be 1 KiB. A bucket is 65 bytes of a dict (measured), so a reading with 12
is 230 + 780 bytes; that of a busy timer has a hundred, and more with each merge."""

LITTLE: Final = 8
"""Readings that take up less than an eighth of the room are not merged for the sake of spans
and events: that would cost their times and hardly make room."""

series_of = itemgetter(*map(Reading._fields.index, ("name", "dimensions", "unit", "scope")))


class _Kept(NamedTuple):
    batch: Batch
    buckets: int
    parts: int  # how many of the batches that were handed over are in this one
    since: int  # which of them all, counted from 1, is the oldest in it


class Backlog:
    """Batches, the oldest first. Not to be used by two threads at once.

    `rows` counts all that waits, `readings` those among it, `buckets` those of distributions.
    """

    def __init__(self) -> None:
        self.appended = 0  # how many batches were ever put here
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._kept: list[_Kept] = []
        self.rows = self.readings = self.buckets = 0
        self._at = 0  # where the next pair to be joined stands
        self._parts_max = 2  # doubled when a pass over all pairs is done

    @property
    def batches(self) -> list[Batch]:
        """All that waits."""
        return [kept.batch for kept in self._kept]

    @property
    def oldest(self) -> int:
        """Which batch of all that were ever put here is the oldest; the next one if none is."""
        return self._kept[0].since if self._kept else self.appended + 1

    def append(self, batch: Batch) -> None:
        """Put a batch last."""
        self.appended += 1
        self._kept.append(self._entered(batch, 1, self.appended))

    def take(self, rows_max: int) -> Batch | None:
        """The oldest batch, or as much of it, and as many after it as go along; None if empty.

        Batches of one resource go together: a receiver that answers once a second would
        otherwise take one interval a second, however many it would take at once.
        """
        if not self._kept:
            return None
        oldest = self._kept[0]
        rows = together = 0
        for kept in self._kept:
            rows += kept.batch.rows
            if rows > rows_max or kept.batch.resource != oldest.batch.resource:
                break
            together += 1
        return self._take_whole(together) if together else self._take_piece(oldest, rows_max)

    def _take_whole(self, together: int) -> Batch:
        """The oldest batches as one, their readings as they are."""
        taken = self._kept[:together]
        del self._kept[:together]
        self._at = max(0, self._at - together)
        for kept in taken:
            self._left(kept)
        if not self._kept:
            self.clear()
        batches = [kept.batch for kept in taken]
        if together == 1:
            return batches[0]
        return Batch(
            batches[0].resource,
            tuple(chain.from_iterable(batch.readings for batch in batches)),
            tuple(chain.from_iterable(batch.spans for batch in batches)),
            tuple(chain.from_iterable(batch.events for batch in batches)),
        )

    def _take_piece(self, oldest: _Kept, rows_max: int) -> Batch:
        """The beginning of a batch that is too large to go at once."""
        batch = oldest.batch
        readings = min(rows_max, len(batch.readings))
        events = min(rows_max - readings, len(batch.events))
        taken, rest = _split(batch, readings, events, rows_max - readings - events)
        self._kept[0] = self._entered(rest, oldest.parts, oldest.since)
        self._left(oldest)
        return taken

    def merge(self, rows_max: int) -> int:
        """Join neighbours until there is room, or all are joined; how many readings it saved.

        In the long run a call joins one pair for each batch that was appended. It goes over
        the pairs in turn, so that intervals grow alike and none is much longer than others.
        """
        before = self.rows
        is_in_vain = False  # so far, a pass that began in this call
        while len(self._kept) > 1 and self._is_tight(rows_max):
            if self._at + 1 < len(self._kept):
                if self._join():
                    is_in_vain = False
                else:
                    self._at += 1
                continue
            parts = sum(kept.parts for kept in self._kept)
            if is_in_vain and self._parts_max >= parts:
                break
            if self._parts_max < parts:
                self._parts_max *= 2
            self._at, is_in_vain = 0, True
        return before - self.rows

    def _is_tight(self, rows_max: int) -> bool:
        """Whether merging is called for: too many rows, or too large ones."""
        if self.buckets > rows_max * BUCKETS_PER_ROW:
            return True
        return self.rows > rows_max and self.readings * LITTLE > rows_max

    def _join(self) -> bool:
        """Make one batch of the pair whose turn it is, if they may be."""
        older, newer = self._kept[self._at], self._kept[self._at + 1]
        parts = older.parts + newer.parts
        if parts > self._parts_max or older.batch.resource != newer.batch.resource:
            return False
        one = self._entered(joined(older.batch, newer.batch), parts, older.since)
        self._left(older)
        self._left(newer)
        self._kept[self._at : self._at + 2] = [one]
        return True

    def drop(self, rows: int) -> list[Batch]:
        """Give up that many rows, the oldest; which these were.

        Readings are one side, spans and events the other, and the side that has more gives: a
        flood of one leaves the other its half.
        """
        sides = [_without_loose, _without_readings]
        if self.readings > self.rows - self.readings:
            sides.reverse()
        gone: list[Batch] = []
        for side in sides:
            gone += self._drop(side, rows - sum(batch.rows for batch in gone))
        return gone

    def _drop(
        self, side: Callable[[Batch, int], tuple[Batch, Batch]], rows: int
    ) -> list[Batch]:
        gone: list[Batch] = []
        still: list[_Kept] = []
        for place, kept in enumerate(self._kept):
            if rows <= 0:
                still += self._kept[place:]
                break
            lost, rest = side(kept.batch, rows)
            if not lost.rows:
                still.append(kept)
                continue
            rows -= lost.rows
            gone.append(lost)
            if rest.rows:
                still.append(self._entered(rest, kept.parts, kept.since))
            self._left(kept)  # last: whoever looks meanwhile must not see too little
        self._kept = still
        return gone

    def _entered(self, batch: Batch, parts: int, since: int) -> _Kept:
        kept = _Kept(batch, _buckets(batch.readings), parts, since)
        self.rows += batch.rows
        self.readings += len(batch.readings)
        self.buckets += kept.buckets
        return kept

    def _left(self, kept: _Kept) -> None:
        self.rows -= kept.batch.rows
        self.readings -= len(kept.batch.readings)
        self.buckets -= kept.buckets


def _buckets(readings: Iterable[Reading]) -> int:
    values = [reading.value for reading in readings if reading.kind is Kind.DISTRIBUTION]
    return sum(len(v.buckets) + len(v.negatives) for v in values if isinstance(v, Distribution))


def joined(older: Batch, newer: Batch) -> Batch:
    """One batch of two of one resource that follow each other."""
    return Batch(
        older.resource,
        _merged(older.readings, newer.readings),
        older.spans + newer.spans,
        older.events + newer.events,
    )


def _merged(older: tuple[Reading, ...], newer: tuple[Reading, ...]) -> tuple[Reading, ...]:
    """The readings of both, one of each series where two can be one."""
    if not older or not newer:
        return older + newer
    readings = list(older)
    places = {series_of(reading): place for place, reading in enumerate(older)}
    for reading in newer:
        series = series_of(reading)
        place = places.get(series)
        joined = None if place is None else both(readings[place], reading)
        if place is None or joined is None:
            places[series] = len(readings)
            readings.append(reading)
        else:
            readings[place] = joined
    return tuple(readings)


def both(older: Reading, newer: Reading) -> Reading | None:
    """One reading for two of a series; None where that cannot be said in one."""
    if older.kind is not newer.kind or older.cumulative or newer.cumulative:
        return None
    if newer.kind is Kind.GAUGE:
        return newer
    one, other = older.value, newer.value
    value: float | Distribution
    if isinstance(one, Distribution) and isinstance(other, Distribution):
        if one.bounds != other.bounds:
            return None
        value = one.merged(other)
    elif isinstance(one, Distribution) or isinstance(other, Distribution):
        return None
    else:
        value = one + other
    return Reading(
        newer.name,
        newer.kind,
        newer.dimensions,
        value,
        min(older.started_ns, newer.started_ns),  # the wall clock may have been set back
        max(older.ended_ns, newer.ended_ns),
        newer.unit,
        newer.description,
        newer.scope,
    )


def _split(batch: Batch, readings: int, events: int, spans: int) -> tuple[Batch, Batch]:
    """So many of each kind, the first ones; and the rest."""
    return (
        Batch(
            batch.resource,
            batch.readings[:readings],
            batch.spans[:spans],
            batch.events[:events],
        ),
        Batch(
            batch.resource,
            batch.readings[readings:],
            batch.spans[spans:],
            batch.events[events:],
        ),
    )


def _without_readings(batch: Batch, rows: int) -> tuple[Batch, Batch]:
    """At most that many readings, the first ones; and what is left."""
    return _split(batch, rows, 0, 0)


def _without_loose(batch: Batch, rows: int) -> tuple[Batch, Batch]:
    """At most that many spans and events, those that ended first; and what is left."""
    if not batch.events or not batch.spans:
        return _split(batch, 0, rows, rows)
    ended = merge(
        ((span.ended_ns, True) for span in batch.spans),
        ((event.at_ns, False) for event in batch.events),
    )
    are_spans = [is_span for _, is_span in islice(ended, max(0, rows))]
    spans = sum(are_spans)
    return _split(batch, 0, len(are_spans) - spans, spans)
