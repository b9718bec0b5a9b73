"""Readings added up since a start, with the moving rates that DropWizard tells of them.

DropWizard's meters move their three rates every 5 s, by what was counted in them. So do these,
by the same arithmetic. What a longer reading says is spread evenly over the steps it lasted.
"""

from __future__ import annotations

from math import exp, inf
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.model import Distribution, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from nilometer.model import Dimensions, Reading

    Value = int | float | Distribution

STEP_S: Final = 5.0
STEP_NS: Final = int(STEP_S * 1e9)
MINUTES: Final = (1, 5, 15)
ALPHAS: Final = tuple(1 - exp(-STEP_S / 60 / minutes) for minutes in MINUTES)
"""How much of each rate one step replaces, as in the load average of UNIX."""

RECENT: Final = 4
"""So many intervals of a series are known again: a sender repeats only its last request."""

STREAMS_MAX: Final = 256
"""So many starts of a cumulative series are followed at once, those heard last: processes that
nothing tells apart, as the replicas of a service that says neither host nor process."""

SETTLED_NS: Final = 180 * 10**9
"""A process that is known for so long has told of each series it had: three times the interval
in which OpenTelemetry tells of all. What comes first after that is new."""

Moving = tuple[float, float, float]
"""Events a second in the last 1, 5 and 15 minutes, the older the less they count."""


class Rates:
    """The moving rates of one series."""

    __slots__ = ("_moving", "_stepped_ns", "_uncounted")

    def __init__(self, now_ns: int) -> None:
        self._stepped_ns = now_ns
        self._uncounted: float = 0
        self._moving: Moving | None = None  # until the first step

    def moved(self, events: float, lasted_ns: int, now_ns: int) -> None:
        """So many events happened, within so long until now."""
        steps = (now_ns - self._stepped_ns) // STEP_NS
        if steps <= 0:
            self._uncounted += events
            return
        self._stepped_ns += steps * STEP_NS
        lasted = min(steps, max(1, round(lasted_ns / STEP_NS)))
        if lasted < steps:  # nothing happened for a while, but what was not counted yet
            self._step(self._uncounted / STEP_S, 1)
            self._step(0.0, steps - lasted - 1)
            self._uncounted = 0
        self._step((self._uncounted + events) / STEP_S / lasted, lasted)
        self._uncounted = 0

    def _step(self, rate: float, steps: int) -> None:
        """So many steps with one rate."""
        if steps <= 0:
            return
        if self._moving is None:  # the first one sets them
            self._moving = (rate, rate, rate)
        one, five, fifteen = self._moving
        if steps == 1:  # as DropWizard writes it, to the last bit
            one += ALPHAS[0] * (rate - one)
            five += ALPHAS[1] * (rate - five)
            fifteen += ALPHAS[2] * (rate - fifteen)
        else:
            one = rate + (one - rate) * (1 - ALPHAS[0]) ** steps
            five = rate + (five - rate) * (1 - ALPHAS[1]) ** steps
            fifteen = rate + (fifteen - rate) * (1 - ALPHAS[2]) ** steps
        self._moving = (one, five, fifteen)

    def now(self, now_ns: int) -> Moving:
        """The rates as of now, if nothing has happened since."""
        self.moved(0, 0, now_ns)
        return self._moving or (0.0, 0.0, 0.0)


class Total(NamedTuple):
    """One series since the start; a gauge has its last value, and no rates."""

    name: str
    kind: Kind
    dimensions: Dimensions
    unit: str
    value: Value
    rates: Moving


class _Series:
    __slots__ = ("kind", "rates", "recent", "streams", "value")

    def __init__(self, kind: Kind, started_ns: int) -> None:
        self.kind = kind
        self.value: Value | None = None
        self.rates = Rates(started_ns)
        self.recent: tuple[tuple[object, ...], ...] = ()
        # Of cumulative ones, by their start, when the last ended and what it said. Whoever was
        # heard last is last.
        self.streams: dict[int, tuple[int, Value]] = {}


class Totals:
    """What all readings say together. Not to be used by two threads at once.

    `elapsed_ns` is a clock; the start is when this is made, if nothing else is said. Series
    beyond `series_max` are left out, and counted in `left_out`. Of readings that count since
    a start of their own at `began_ns` (wall clock) or before, the first tells only from where
    on: what it counted by then is of another time, or was counted here already. Where all are
    `of_one` process, a series that comes first once that is settled is new, and counts whole.
    """

    def __init__(
        self,
        elapsed_ns: Callable[[], int],
        *,
        started_ns: int | None = None,
        series_max: int = 1_000_000,
        began_ns: int = 0,
        of_one: bool = False,
    ) -> None:
        self._elapsed_ns = elapsed_ns
        self.began_ns = began_ns
        self._of_one = of_one
        self._made_ns = self.heard_ns = elapsed_ns()  # by that clock
        self._told_ns = 0  # what is cumulative was told until then, by the sender's clock
        self._started_ns = self._made_ns if started_ns is None else started_ns
        self.series_max = series_max
        self._series: dict[tuple[str, Dimensions, str, str], _Series] = {}
        self._further = 0  # streams of a series beside its first
        self.left_out = 0

    def __len__(self) -> int:
        """How many series there are; each start that a cumulative one has is one."""
        return len(self._series) + self._further

    @property
    def elapsed_s(self) -> float:
        """How long ago it began."""
        return (self._elapsed_ns() - self._started_ns) / 1e9

    def add(self, readings: Iterable[Reading], delivery: str = "") -> None:
        """Take these in; one that was taken in already counts once.

        `delivery` tells them from others that say the same of the same time.
        """
        now_ns = self.heard_ns = self._elapsed_ns()
        told_ns = self._told_ns
        for reading in readings:
            key = (reading.name, reading.dimensions, reading.unit, reading.scope)
            series = self._series.get(key)
            if series is None or series.kind is not reading.kind:
                if series is None and len(self) >= self.series_max:
                    self.left_out += 1
                    continue
                if series is not None:
                    self._further -= _further(series)
                series = self._series[key] = _Series(reading.kind, self._started_ns)
            if reading.kind is Kind.GAUGE:
                series.value = reading.value
            elif reading.cumulative:
                self._cumulated(series, reading, now_ns)
                told_ns = max(told_ns, reading.ended_ns)
            else:
                _added(series, reading, delivery, now_ns)
        self._told_ns = told_ns

    def _cumulated(self, series: _Series, reading: Reading, now_ns: int) -> None:
        """Of one that counts since its own start: how far it moved, in the stream of that."""
        started_ns, ended_ns, value = reading.started_ns, reading.ended_ns, reading.value
        last = series.streams.pop(started_ns, None)
        if last is None:
            moved, lasted_ns = self._first(series, reading, now_ns)
            self._make_room(series)
        elif (ended_ns, count_of(value)) <= (last[0], count_of(last[1])):
            series.streams[started_ns] = last  # it came again, or late
            return
        else:
            lasted_ns = ended_ns - last[0]
            moved = _since(value, last[1])
        series.streams[started_ns] = ended_ns, value
        _count(series, moved, lasted_ns, now_ns)

    def _first(self, series: _Series, reading: Reading, now_ns: int) -> tuple[Value, int]:
        """What one counted here of whose start nothing was heard yet, and within how long."""
        value, since_ns = reading.value, reading.started_ns
        if since_ns <= self.began_ns:
            if series.value is not None or not self._is_settled(now_ns):
                value = _since(value, value)
            since_ns = max(since_ns, self._told_ns)
        return value, reading.ended_ns - since_ns

    def _is_settled(self, now_ns: int) -> bool:
        """Whether a series that is not known is new: none was left out, or is yet to come."""
        is_known = self._of_one and not self.left_out
        return is_known and now_ns - self._made_ns >= SETTLED_NS

    def _make_room(self, series: _Series) -> None:
        """Before another start is followed."""
        if not series.streams:
            return
        if len(series.streams) < STREAMS_MAX and len(self) < self.series_max:
            self._further += 1
            return
        oldest_ns = next(iter(series.streams))
        del series.streams[oldest_ns]
        self.began_ns = max(self.began_ns, oldest_ns)  # should it be heard again

    def followed_ns(self) -> int:
        """The latest start that was followed here, or before which none is."""
        starts = (start for series in self._series.values() for start in series.streams)
        return max(starts, default=0)

    def take_over(self, other: Totals) -> None:
        """Add all that another one counted, which is of no use afterwards; its starts end."""
        for key, theirs in other._series.items():
            ours = self._series.get(key)
            if theirs.value is None or theirs.kind is Kind.GAUGE:
                continue  # of what is no more there is no last value
            theirs.streams.clear()
            if ours is None or ours.value is None or ours.kind is not theirs.kind:
                self._series[key] = theirs
            else:
                ours.value = _sum(ours.value, theirs.value)

    def all(self) -> Iterator[Total]:
        """Every series as it is now."""
        now_ns = self._elapsed_ns()
        for (name, dimensions, unit, _), series in self._series.items():
            if series.value is not None:
                rates = series.rates.now(now_ns)
                yield Total(name, series.kind, dimensions, unit, series.value, rates)


def _further(series: _Series) -> int:
    return max(0, len(series.streams) - 1)


def _added(series: _Series, reading: Reading, delivery: str, now_ns: int) -> None:
    """Of one that tells of its interval alone."""
    value = reading.value
    total = value.total if isinstance(value, Distribution) else 0
    told = reading.started_ns, reading.ended_ns, delivery, count_of(value), total
    if told in series.recent:
        return
    series.recent = (*series.recent[1 - RECENT :], told)
    _count(series, value, reading.ended_ns - reading.started_ns, now_ns)


def _count(series: _Series, moved: Value, lasted_ns: int, now_ns: int) -> None:
    if isinstance(moved, Distribution):
        moved = moved.with_extremes()
    series.value = moved if series.value is None else _sum(series.value, moved)
    events = count_of(moved)
    series.rates.moved(events if 0 < events < inf else 0, lasted_ns, now_ns)


def _since(value: Value, last: Value) -> Value:
    """How far it moved; where it fell, or cannot be compared, it began anew."""
    if isinstance(value, Distribution) and isinstance(last, Distribution):
        is_afresh = value.samples < last.samples or value.bounds != last.bounds
        return value if is_afresh else value.since(last)
    if isinstance(value, Distribution) or isinstance(last, Distribution) or value < last:
        return value
    return value - last


def _sum(one: Value, other: Value) -> Value:
    """Both together; of two that cannot be added the newer one."""
    if isinstance(one, Distribution) and isinstance(other, Distribution):
        return one.joined(other)
    if isinstance(one, Distribution) or isinstance(other, Distribution):
        return other
    return one + other


def count_of(value: Value) -> int | float:
    """How many events a counter's or a distribution's value stands for."""
    return value.samples if isinstance(value, Distribution) else value
