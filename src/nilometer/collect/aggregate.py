"""statsd samples into readings and events, one reading per series and flush.

A series is told by type, name and dimensions, whatever order these came in. When a reading or
event was is the wall clock's matter; ages and rates are the monotonic clock's, which no
correction moves. Everything is bounded: what does not fit is refused and counted by reason,
never dropped in silence.

Reasons: ``series-overflow``, ``set-overflow``, ``event-overflow``, ``stamped-overflow`` (too
many at once), ``name-too-long``, ``dimensions-too-long``, ``value-out-of-range``, ``rate``.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from nilometer.collect.known_lines import KnownLines, number
from nilometer.collect.series import Counted, Kept, Rated, Seen, Timed, in_ns
from nilometer.model import Event, Kind, Reading
from nilometer.wire.statsd import Sample, SampleType, decode, event_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nilometer.clock import Clock
    from nilometer.collect.series import Series
    from nilometer.model import Dimensions

# A series of an ordinary service takes some 1 kB, the largest that is let in 6 kB: 50 MB, at
# worst 300 MB.
SERIES_MAX: Final = 50_000
NAME_CHARS_MAX: Final = 512
DIMENSIONS_CHARS_MAX: Final = 4096
MEMBERS_MAX: Final = 1_000_000  # of all sets together; a digest in a set takes some 100 bytes
EVENTS_MAX: Final = 10_000  # a flush; whoever sends a thousand events a second means counters
STAMPED_MAX: Final = 100_000  # readings with a time of their own, a flush
# Sums of a flush stay finite in a double: 1e200 * 1e9 * 1e9 lines is below 1.8e308.
VALUE_MAX: Final = 1e200
WEIGHT_MAX: Final = 1e9

EXPIRE_NS: Final = 300 * 10**9  # a series that was silent for 30 flushes is forgotten
# A gauge's value is what +/- adds to, so it is kept longer; one sent hourly by cron stays.
EXPIRE_GAUGE_NS: Final = 2 * 3600 * 10**9

_MAKERS: Final[Mapping[SampleType, tuple[Callable[[], Any], str]]] = {
    SampleType.COUNTER: (Counted, ""),
    SampleType.GAUGE: (Kept, ""),
    SampleType.KEY_VALUE: (Kept, ""),
    SampleType.SERVICE_CHECK: (Kept, ""),
    SampleType.TIMER: (Timed, "ns"),
    SampleType.HISTOGRAM: (Timed, ""),
    SampleType.DISTRIBUTION: (Timed, ""),
    SampleType.SET: (Seen, ""),
    SampleType.RATE: (Rated, "1/s"),
}

Key = tuple[SampleType, str, "Dimensions"]


class Refusal(Exception):  # noqa: N818 - an answer, not a fault: it never leaves this module
    """Why one sample is not taken."""


class Aggregator:
    """Takes packets from one thread, is flushed from another."""

    def __init__(self, clock: Clock, *, series_max: int = SERIES_MAX) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._series_max = series_max
        self._series: dict[str, dict[tuple[str, Dimensions], Series]] = {
            kind.value: {} for kind in _MAKERS
        }
        self._known = KnownLines()
        self._count = 0
        self._members = 0
        self._events: list[Event] = []
        self._stamped: list[Reading] = []
        self._flushed_ns = clock.wall_ns()

    @property
    def series_count(self) -> int:
        """How many series are remembered."""
        return self._count

    def take(self, packet: bytes) -> Mapping[str, int]:
        """Take one packet; how many lines or samples were refused, by reason. Never raises."""
        elapsed_ns = self._clock.elapsed_ns()
        refused: Counter[str] = Counter()
        known_as = self._known.get
        with self._lock:
            for line in packet.split(b"\n"):
                name, _, rest = line.partition(b":")
                text, _, said = rest.partition(b"|")
                known = known_as((name, said))
                value = None if known is None else number(text)
                if known is None or value is None:
                    self._read(line, elapsed_ns, refused)
                    continue
                series, weight, is_timer = known
                series.touched_ns, series.moved = elapsed_ns, True
                series.add(in_ns(value) if is_timer else value, weight)
        return refused

    def _read(self, line: bytes, elapsed_ns: int, refused: Counter[str]) -> None:
        samples, unreadable = decode(line)
        for sample in samples:
            try:
                series = self._add(sample, elapsed_ns)
            except Refusal as refusal:
                refused[str(refusal)] += 1
            else:
                if series is not None and len(samples) == 1:
                    self._known.remember(line, sample, series)
        refused.update(unreadable)

    def flush(self) -> tuple[tuple[Reading, ...], tuple[Event, ...]]:
        """One reading per series that moved since the last flush, and all events."""
        with self._lock:
            readings, self._stamped = self._stamped, []
            events, self._events = self._events, []
            ended_ns = self._clock.wall_ns()
            started_ns = min(self._flushed_ns, ended_ns)  # the wall clock may have stepped
            self._flushed_ns = ended_ns
            elapsed_ns = self._clock.elapsed_ns()
            self._members = 0
            for kind, (_, unit) in _MAKERS.items():
                of_kind = self._series[kind.value]
                for (name, dimensions), series in of_kind.items():
                    if not series.moved:
                        continue
                    series.moved = False
                    value = series.taken()
                    if value is not None:
                        readings.append(
                            Reading(
                                name, series.kind, dimensions, value, started_ns, ended_ns, unit
                            )
                        )
                self._forget(of_kind, elapsed_ns)
        return tuple(readings), tuple(events)

    def _forget(self, of_kind: dict[tuple[str, Dimensions], Series], elapsed_ns: int) -> None:
        expired = [
            key
            for key, series in of_kind.items()
            if elapsed_ns - series.touched_ns
            > (EXPIRE_GAUGE_NS if isinstance(series, Kept) else EXPIRE_NS)
        ]
        for key in expired:
            del of_kind[key]
        if expired:
            self._known.forget()
        self._count -= len(expired)

    def _add(self, sample: Sample, elapsed_ns: int) -> Series | None:
        """Take one sample; the series that it moved, if it moved one."""
        _check(sample)
        if sample.type in (SampleType.EVENT, SampleType.SERVICE_CHECK):
            if len(self._events) >= EVENTS_MAX:
                raise Refusal("event-overflow")
            self._events.append(event_of(sample, now_ns=self._clock.wall_ns()))
            if sample.type is SampleType.EVENT:
                return None
        elif sample.at_ns is not None:
            self._add_stamped(sample, sample.at_ns)
            return None
        series = self._series_of(sample)
        series.touched_ns, series.moved = elapsed_ns, True
        self._move(series, sample)
        return series

    def _series_of(self, sample: Sample) -> Series:
        of_kind = self._series[sample.type.value]
        key = (sample.name, sample.dimensions)
        series = of_kind.get(key)
        if series is None:
            if self._count >= self._series_max:
                raise Refusal("series-overflow")
            made: Series = _MAKERS[sample.type][0]()
            series = of_kind[key] = made
            self._count += 1
        return series

    def _move(self, series: Series, sample: Sample) -> None:
        match series:
            case Counted():
                series.add(sample.value, sample.weight)
            case Timed():
                is_timer = sample.type is SampleType.TIMER
                series.add(in_ns(sample.value) if is_timer else sample.value, sample.weight)
            case Kept() if sample.relative:
                series.move(sample.value)
            case Kept():
                series.add(sample.value, sample.weight)
            case Rated():
                series.add(sample.value, series.touched_ns)
            case Seen():
                if self._members >= MEMBERS_MAX:
                    raise Refusal("set-overflow")
                self._members += series.add(sample.text)

    def _add_stamped(self, sample: Sample, at_ns: int) -> None:
        """DogStatsD 1.3: its sender aggregated it already, so it stays as it is."""
        if len(self._stamped) >= STAMPED_MAX:
            raise Refusal("stamped-overflow")
        kind, value = Kind.GAUGE, sample.value
        if sample.type is SampleType.COUNTER:
            counted = Counted()
            counted.add(sample.value, sample.weight)
            kind, value = Kind.COUNTER, counted.taken()
        self._stamped.append(Reading(sample.name, kind, sample.dimensions, value, at_ns, at_ns))


def _check(sample: Sample) -> None:
    if len(sample.name) > NAME_CHARS_MAX:
        raise Refusal("name-too-long")
    if "\0" in sample.name:
        raise Refusal("name")
    if sum(len(k) + len(v) for k, v in sample.dimensions) > DIMENSIONS_CHARS_MAX:
        raise Refusal("dimensions-too-long")
    if not -VALUE_MAX <= sample.value <= VALUE_MAX:
        raise Refusal("value-out-of-range")
    if sample.weight > WEIGHT_MAX:
        raise Refusal("rate")
