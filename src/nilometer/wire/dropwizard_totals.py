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
    __slots__ = ("before", "kind", "last", "rates", "recent", "value")

    def __init__(self, kind: Kind, started_ns: int) -> None:
        self.kind = kind
        self.value: Value | None = None
        self.rates = Rates(started_ns)
        self.recent: tuple[tuple[int, int], ...] = ()
        self.last: Reading | None = None  # the last cumulative one
        self.before: Value | None = None  # what such ones counted before they began again


class Totals:
    """What all readings say together. Not to be used by two threads at once.

    `elapsed_ns` is a clock; the start is when this is made, if nothing else is said. Series
    beyond `series_max` are left out, and counted in `left_out`.
    """

    def __init__(
        self,
        elapsed_ns: Callable[[], int],
        *,
        started_ns: int | None = None,
        series_max: int = 1_000_000,
    ) -> None:
        self._elapsed_ns = elapsed_ns
        self._started_ns = elapsed_ns() if started_ns is None else started_ns
        self.series_max = series_max
        self._series: dict[tuple[str, Dimensions, str], _Series] = {}
        self.left_out = 0

    def __len__(self) -> int:
        return len(self._series)

    @property
    def elapsed_s(self) -> float:
        """How long ago it began."""
        return (self._elapsed_ns() - self._started_ns) / 1e9

    def add(self, readings: Iterable[Reading]) -> None:
        """Take these in; one that was taken in already counts once."""
        now_ns = self._elapsed_ns()
        for reading in readings:
            key = (reading.name, reading.dimensions, reading.unit)
            series = self._series.get(key)
            if series is None or series.kind is not reading.kind:
                if series is None and len(self._series) >= self.series_max:
                    self.left_out += 1
                    continue
                series = self._series[key] = _Series(reading.kind, self._started_ns)
            _add(series, reading, now_ns)

    def take_over(self, other: Totals) -> None:
        """Add all that another one counted, which is of no use afterwards."""
        for key, theirs in other._series.items():
            ours = self._series.get(key)
            if theirs.value is None or theirs.kind is Kind.GAUGE:
                continue  # of what is no more there is no last value
            if ours is None or ours.value is None or ours.kind is not theirs.kind:
                self._series[key] = theirs
            else:
                ours.value = _sum(ours.value, theirs.value)

    def all(self) -> Iterator[Total]:
        """Every series as it is now."""
        now_ns = self._elapsed_ns()
        for (name, dimensions, unit), series in self._series.items():
            if series.value is not None:
                rates = series.rates.now(now_ns)
                yield Total(name, series.kind, dimensions, unit, series.value, rates)


def _add(series: _Series, reading: Reading, now_ns: int) -> None:
    if reading.kind is Kind.GAUGE:
        series.value = reading.value
        return
    interval = reading.started_ns, reading.ended_ns
    if interval in series.recent:
        return
    series.recent = (*series.recent[1 - RECENT :], interval)
    before = series.value
    lasted_ns = interval[1] - interval[0]
    if reading.cumulative:
        lasted_ns = interval[1] - series.last.ended_ns if series.last is not None else 0
        series.value = _cumulated(series, reading)
    else:
        series.value = reading.value if before is None else _sum(before, reading.value)
    events = count_of(series.value) - (0 if before is None else count_of(before))
    series.rates.moved(events if 0 < events < inf else 0, lasted_ns, now_ns)


def _cumulated(series: _Series, reading: Reading) -> Value:
    """Of one that counts since its own start, which may be another one by now."""
    last, series.last = series.last, reading
    if last is not None and last.started_ns != reading.started_ns:
        series.before = last.value if series.before is None else _sum(series.before, last.value)
    return reading.value if series.before is None else _sum(series.before, reading.value)


def _sum(one: Value, other: Value) -> Value:
    """Both together; of two that cannot be added the newer one."""
    if isinstance(one, Distribution) and isinstance(other, Distribution):
        return one.merged(other) if one.bounds == other.bounds else other
    if isinstance(one, Distribution) or isinstance(other, Distribution):
        return other
    return one + other


def count_of(value: Value) -> int | float:
    """How many events a counter's or a distribution's value stands for."""
    return value.samples if isinstance(value, Distribution) else value
