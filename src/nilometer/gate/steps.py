"""Steps: where a series left one level for another, and stayed.

`segments` proposes; each border between two levels must then pass every one of the checks
below, and the weakest border of all is dropped first, as what is left of its neighbours may be
stronger or weaker without it. A level that is soon left to go back to the one before is an
excursion, not two steps.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import pairwise
from math import inf, isfinite, log, sqrt
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.gate.robust import NORMAL_PER_MAD, mad, median
from nilometer.gate.segments import LOSS_NEAR, Noise, noise_of, segments, slow_inflation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WIDE: Final = 2.0**512  # the square root of what a float holds
POINTS_MIN: Final = 8  # fewer have no level before and after
# Of each side so many runs next to the border are looked at, and more where neighbours are
# alike; others are of another time.
SIDE_RUNS_MAX: Final = 60
SIDE_RUNS_MIN: Final = 5  # a level of fewer runs has not lasted
AWAY_SHARE_MAX: Final = 0.2  # of a level may be excursions: more often, they are its noise
EXCURSION_RUNS: Final = 12  # a level of fewer, left for the one before, went away by itself
SHIFT_SCALES_MIN: Final = 1.8
SHIFT_SCALES_SURE: Final = 4.0  # a series that wanders for long hardly jumps so far
SHIFT_SHARE_MIN: Final = 0.004  # of the level: twice the smallest scale of `robust`
SEPARATION_MIN: Final = 0.85  # of pairs of a run before and one after that differ in one way
SIGNIFICANCE_MIN: Final = 1.0  # of the rank sum, in what the best of all borders has by chance
LINE_LOSS_MIN: Final = 1.05  # of a straight line through both levels: less is drift
EXACT_SHARE_MIN: Final = 0.9  # of the runs, each in a row of equal ones: there is no noise
LEVELS_MANY: Final = 5  # of so many that usually last less than `LEVEL_RUNS` ...
LEVEL_RUNS: Final = 25  # ... each is one observation, as each run is in steadier series
WAY_SCALES_MIN: Final = 1.645  # chance makes one series in twenty lead somewhere
EDGE_RUNS: Final = 12  # next to the border ...
EDGE_SHARE_MIN: Final = 0.35  # ... which must show so much of the shift: else it is drift


@dataclass(frozen=True, slots=True)
class Step:
    """A lasting change of level."""

    index: int  # the first point after it, from 0
    because: str
    before: float  # the median of the level that it left ...
    after: float  # ... and of the one that it reached


def steps(values: Sequence[float | None]) -> tuple[Step, ...]:
    """The steps of a series, in order; none where it has fewer than `POINTS_MIN` points.

    None, NaN and infinities are gaps: they are passed over, and counted in the indexes.

    >>> [step.index for step in steps([5, 5, 5, 5, 5, 5, 5, 7, 7, 7, 7, 7, 7, 7])]
    [7]
    """
    kept = [(at, float(v)) for at, v in enumerate(values) if v is not None and isfinite(v)]
    if len(kept) < POINTS_MIN:
        return ()
    series = [value for _, value in kept]
    if _is_still(series):
        return ()
    # Those whose squares or differences no float holds are made smaller first.
    unit = WIDE if max(map(abs, series)) > WIDE else 1.0
    series = [value / unit for value in series]
    noise = noise_of(series)
    if noise.scale and (borders := _without_noise(series)):
        looked_at = _Series(series, noise, (), True, [])
    else:
        proposed = [*segments(series, noise), len(series)]
        if len(proposed) == 2:
            return ()
        noise = noise._replace(slow=slow_inflation(series))
        levels = _levels(series, proposed)
        changes = sorted(abs(after - before) for before, after in pairwise(levels))
        looked_at = _Series(series, noise, changes, _is_on_its_way(levels), [])
        borders = _lasting(looked_at, proposed)
    return tuple(
        _step(kept[at][0], _Border(looked_at, start, at, stop), unit)
        for start, at, stop in _threes(borders)
    )


def _is_still(values: Sequence[float]) -> bool:
    """Whether no two levels of these can be so far apart that they are a step."""
    least, most = min(values), max(values)
    return least == most or most < (1 + SHIFT_SHARE_MIN) * least


def _without_noise(values: Sequence[float]) -> list[int]:
    """Where the levels of a series begin that only moves from one to the next, and its end.

    A value that is repeated is a level, as nothing else explains it: no chance is asked for.
    Empty where more than a few of the runs are no such repetition.
    """
    rows: list[tuple[int, int]] = []
    start = 0
    for at in range(1, len(values) + 1):
        if at == len(values) or values[at] != values[start]:
            if at - start >= SIDE_RUNS_MIN:
                rows.append((start, at))
            start = at
    if sum(stop - start for start, stop in rows) < EXACT_SHARE_MIN * len(values):
        return []
    borders, before = [0], values[rows[0][0]]
    for (_, stop), (start, _) in pairwise(rows):
        after = values[start]
        if abs(after - before) >= SHIFT_SHARE_MIN * max(abs(before), abs(after)):
            between = range(stop, start)
            nearer = (
                at for at in between if abs(values[at] - after) < abs(values[at] - before)
            )
            borders.append(next(nearer, start))
            before = after
    borders.append(len(values))
    while gone := _excursion(values, borders):
        del borders[gone : gone + 2]
    return borders


class _Series(NamedTuple):
    """What is asked of every border."""

    values: Sequence[float]
    noise: Noise
    changes: Sequence[float]  # how far the level moves at each border proposed, from the least
    is_on_its_way: bool  # the levels lead somewhere, and do not come and go
    away: list[tuple[int, int]]  # the excursions left out: where each begins and ends

    def leave_out(self, start: int, stop: int) -> None:
        """An excursion, with those in it."""
        self.away[:] = [(a, b) for a, b in self.away if b <= start or stop <= a]
        self.away.append((start, stop))

    def sides(
        self, start: int, at: int, stop: int, most: int
    ) -> tuple[Sequence[float], Sequence[float]]:
        """Of each side of a border the runs next to it, at most so many.

        Without excursions: they are of another level. Too many of them are the noise of it.
        """
        return self._usual(start, at)[-most:], self._usual(at, stop)[:most]

    def _usual(self, start: int, stop: int) -> Sequence[float]:
        gone = [(a, b) for a, b in self.away if start <= a and b <= stop]
        if not gone or sum(b - a for a, b in gone) > AWAY_SHARE_MAX * (stop - start):
            return self.values[start:stop]
        edges = [start, *(edge for one in sorted(gone) for edge in one), stop]
        kept = zip(edges[::2], edges[1::2], strict=True)
        return [value for a, b in kept for value in self.values[a:b]]

    def inflation(self, shift: float) -> float:
        """How many runs say as much as one would, of a shift of this size.

        In a series that keeps changing its level as much, as by builds, a change must outlast
        that; but not in one whose changes add up.
        """
        levels = len(self.changes) - bisect_left(self.changes, abs(shift) / 2) + 1
        usual = len(self.values) / levels
        if self.is_on_its_way or levels < LEVELS_MANY or usual > LEVEL_RUNS:
            return self.noise.inflation
        return max(self.noise.inflation, usual)


def _levels(values: Sequence[float], borders: Sequence[int]) -> list[float]:
    return [median(values[start:stop]) for start, stop in pairwise(borders)]


def _is_on_its_way(levels: Sequence[float]) -> bool:
    """Whether levels keep what they moved by, more than independent ones would by chance.

    By von Neumann's ratio, the mean square of the changes over the variance: 2 where each level
    is independent of the one before, with a variance of 4 (n - 2) / (n^2 - 1); less where
    changes add up.
    """
    count = len(levels)
    if count < LEVELS_MANY:
        return False
    centre, reach = sum(levels) / count, max(levels) - min(levels)
    if not reach:
        return False
    spread = sum(((level - centre) / reach) ** 2 for level in levels)
    moved = sum(((after - before) / reach) ** 2 for before, after in pairwise(levels))
    by_chance = 2 * sqrt((count - 2) / (count * count - 1))
    return moved / spread < 2 - WAY_SCALES_MIN * by_chance


def _step(index: int, border: _Border, unit: float) -> Step:
    before, after = border.before * unit, border.after * unit
    share = f"{border.shift / abs(border.before):+.1%}" if border.before else "from zero"
    because = (
        f"the level moved from {before:.6g} to {after:.6g} ({share}, "
        f"{abs(border.shift) / border.scale:.1f} times the noise) and stayed for "
        f"{border.runs_after} runs"
    )
    return Step(index, because, before, after)


class _Border:
    """Two neighbouring levels, and how strongly they differ."""

    def __init__(self, series: _Series, start: int, at: int, stop: int) -> None:
        before, after = series.sides(start, at, stop, SIDE_RUNS_MAX)
        inflation = series.inflation(median(after) - median(before))
        if inflation > 1:
            most = round(SIDE_RUNS_MAX * inflation)
            before, after = series.sides(start, at, stop, most)
        runs = len(before), len(after)
        self.before, self.after = median(before), median(after)
        self.shift = self.after - self.before
        self.runs_after = stop - at
        spreads = mad(before), mad(after)
        squares = sum(s * s * n for s, n in zip(spreads, runs, strict=True))
        self.scale = max(NORMAL_PER_MAD * sqrt(squares / sum(runs)), series.noise.scale)
        # The greatest of n normal numbers is about sqrt(2 log n): a border could be anywhere.
        chances = sqrt(2 * log(len(series.values)) * inflation)
        self.strength = self._strength(before, after, chances) if self.shift else 0.0

    def _strength(
        self, before: Sequence[float], after: Sequence[float], chances: float
    ) -> float:
        """How much of what a step must have it has, by the check that it passes worst."""
        runs = len(before), len(after)
        apart = separation(before, after) - 0.5
        if self.shift < 0:
            apart = -apart
        by_chance = sqrt((sum(runs) + 1) / (12 * runs[0] * runs[1])) * chances
        level = max(abs(self.before), abs(self.after))
        edge = median(after[:EDGE_RUNS]) - median(before[-EDGE_RUNS:])
        as_step = sum(self._loss(v - self.before) for v in before)
        as_step += sum(self._loss(v - self.after) for v in after)
        as_line = sum(self._loss(residue) for residue in off_line([*before, *after]))
        return min(
            apart / (SEPARATION_MIN - 0.5),
            apart / by_chance / SIGNIFICANCE_MIN,
            abs(self.shift) / self.scale / SHIFT_SCALES_MIN,
            abs(self.shift) / level / SHIFT_SHARE_MIN,
            edge / self.shift / EDGE_SHARE_MIN,
            as_line / as_step / LINE_LOSS_MIN if as_step else inf,
        )

    def _loss(self, residue: float) -> float:
        distance = residue / self.scale
        return min(LOSS_NEAR, distance * distance)


def _strength(series: _Series, start: int, at: int, stop: int) -> float:
    """How strong a border is; one of a series that wanders for long must be so for that, too.

    Unless it is too large for a way that a wandering series goes by and by.
    """
    border = _Border(series, start, at, stop)
    noise = series.noise
    if noise.slow <= noise.inflation:
        return border.strength
    slow = series._replace(noise=noise._replace(inflation=noise.slow))
    size = abs(border.shift) / border.scale / SHIFT_SCALES_SURE
    return min(border.strength, max(size, _Border(slow, start, at, stop).strength))


def separation(before: Sequence[float], after: Sequence[float]) -> float:
    """How often a run after lies above one before, of all pairs; those that tie count half.

    >>> separation([1, 2], [3, 4]), separation([1, 2], [1, 2])
    (1.0, 0.5)
    """
    ordered = sorted(before)
    won = sum(bisect_left(ordered, value) + bisect_right(ordered, value) for value in after)
    return won / 2 / (len(before) * len(after))


def off_line(values: Sequence[float]) -> list[float]:
    """How far two or more values lie from a straight line, which outliers do not turn.

    Its slope is the median of those from the points of the first third to those of the last.

    >>> off_line([1, 2, 30, 4, 5, 6])
    [0.0, 0.0, 27.0, 0.0, 0.0, 0.0]
    """
    third = max(1, len(values) // 3)
    apart = len(values) - third
    slope = median((values[at + apart] - values[at]) / apart for at in range(third))
    level = [value - slope * at for at, value in enumerate(values)]
    start = median(level)
    return [value - start for value in level]


def _lasting(series: _Series, borders: list[int]) -> list[int]:
    """The borders without those that are no steps; the first and last are the series' ends."""
    known: dict[tuple[int, int, int], float] = {}

    def strength(start: int, at: int, stop: int) -> float:
        if (start, at, stop) not in known:
            known[start, at, stop] = _strength(series, start, at, stop)
        return known[start, at, stop]

    while len(borders) > 2:
        if gone := _excursion(series.values, borders):
            series.leave_out(borders[gone], borders[gone + 1])
            known.clear()
            del borders[gone : gone + 2]
            continue
        if short := _too_short(series.values, borders):
            del borders[short]
            continue
        strengths = [strength(*three) for three in _threes(borders)]
        weakest = min(strengths)
        if weakest < 1:
            del borders[1 + strengths.index(weakest)]
        elif passing := _passed_through(series.values, borders):
            del borders[passing]
        else:
            break
    return borders


def _threes(borders: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Each border between the two next to it."""
    return zip(borders, borders[1:], borders[2:], strict=False)


def _too_short(series: Sequence[float], borders: Sequence[int]) -> int:
    """Where the shortest level, of too few runs, meets the neighbour it is nearer to, or 0."""
    lengths = [stop - start for start, stop in pairwise(borders)]
    at = lengths.index(min(lengths))
    if lengths[at] >= SIDE_RUNS_MIN:
        return 0
    if at in (0, len(lengths) - 1):
        return max(at, 1)
    before, during, after = _medians(series, borders, at)
    return at if abs(during - before) < abs(after - during) else at + 1


def _medians(series: Sequence[float], borders: Sequence[int], at: int) -> list[float]:
    """Of the level that begins at a border, and of the runs next to it on either side."""
    start, stop = borders[at], borders[at + 1]
    return [
        median(series[max(borders[at - 1], start - SIDE_RUNS_MAX) : start]),
        median(series[start:stop]),
        median(series[stop : min(borders[at + 2], stop + SIDE_RUNS_MAX)]),
    ]


def _passed_through(series: Sequence[float], borders: Sequence[int]) -> int:
    """Which border of a short level between two others is the smaller step; 0 if none is short.

    Such a level is the way from one to the other: there is one step, not two.
    """
    for at in range(1, len(borders) - 2):
        if borders[at + 1] - borders[at] < EXCURSION_RUNS:
            before, during, after = _medians(series, borders, at)
            return at if abs(during - before) < abs(after - during) else at + 1
    return 0


def _excursion(series: Sequence[float], borders: Sequence[int]) -> int:
    """Where the shortest level begins that was soon left for the one before; 0 if none was."""
    shortest, found = inf, 0
    for at in range(1, len(borders) - 2):
        start, stop = borders[at], borders[at + 1]
        if stop - start >= min(EXCURSION_RUNS, shortest):
            continue
        before, during, after = _medians(series, borders, at)
        if abs(after - before) < 0.5 * min(abs(during - before), abs(after - during)):
            shortest, found = stop - start, at
    return found
