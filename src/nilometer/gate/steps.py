"""Steps: where a series left one level for another, and stayed.

`segments` proposes; each border between two levels must then pass every one of the checks
below, and the weakest border of all is dropped first, as what is left of its neighbours may be
stronger or weaker without it. A level that is soon left to go back to the one before is an
excursion, not two steps.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from math import inf, isfinite, log, sqrt
from typing import TYPE_CHECKING, Final

from nilometer.gate.robust import NORMAL_PER_MAD, mad, median
from nilometer.gate.segments import LOSS_NEAR, Noise, noise_of, segments

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WIDE: Final = 2.0**512  # the square root of what a float holds
POINTS_MIN: Final = 8  # fewer have no level before and after
# Of each side so many runs next to the border are looked at; others are of another time.
SIDE_RUNS_MAX: Final = 60
SIDE_RUNS_MIN: Final = 5  # a level of fewer runs has not lasted
EXCURSION_RUNS: Final = 12  # a level of fewer, left for the one before, went away by itself
SHIFT_SCALES_MIN: Final = 1.8
SHIFT_SHARE_MIN: Final = 0.004  # of the level: twice the smallest scale of `robust`
SEPARATION_MIN: Final = 0.85  # of pairs of a run before and one after that differ in one way
SIGNIFICANCE_MIN: Final = 1.0  # of the rank sum, in what the best of all borders has by chance
LINE_LOSS_MIN: Final = 1.05  # of a straight line through both levels: less is drift
NEARLY: Final = 0.99  # of what a step must have
EDGE_RUNS: Final = 12  # next to the border ...
EDGE_SHARE_MIN: Final = 0.5  # ... which must show so much of the shift: else it is drift


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
    if max(map(abs, series)) > WIDE:
        return _of_wide(values)
    noise = noise_of(series)
    borders = _lasting(series, [*segments(series, noise), len(series)], noise)
    return tuple(
        _step(kept[at][0], _Border(series, start, at, stop, noise))
        for start, at, stop in _threes(borders)
    )


def _of_wide(values: Sequence[float | None]) -> tuple[Step, ...]:
    """Of values whose squares or differences no float holds: they are made smaller first."""
    found = steps([None if v is None else v / WIDE for v in values])
    return tuple(
        Step(step.index, step.because, step.before * WIDE, step.after * WIDE) for step in found
    )


def _step(index: int, border: _Border) -> Step:
    share = f"{border.shift / abs(border.before):+.1%}" if border.before else "from zero"
    because = (
        f"the level moved from {border.before:.6g} to {border.after:.6g} ({share}, "
        f"{abs(border.shift) / border.scale:.1f} times the noise) and stayed for "
        f"{border.runs_after} runs"
    )
    return Step(index, because, border.before, border.after)


class _Border:
    """Two neighbouring levels, and how strongly they differ."""

    def __init__(
        self, values: Sequence[float], start: int, at: int, stop: int, noise: Noise
    ) -> None:
        before = values[max(start, at - SIDE_RUNS_MAX) : at]
        after = values[at : min(stop, at + SIDE_RUNS_MAX)]
        runs = len(before), len(after)
        self.before, self.after = median(before), median(after)
        self.shift = self.after - self.before
        self.runs_after = stop - at
        spreads = mad(before), mad(after)
        squares = sum(s * s * n for s, n in zip(spreads, runs, strict=True))
        self.scale = max(NORMAL_PER_MAD * sqrt(squares / sum(runs)), noise.scale)
        # The greatest of n normal numbers is about sqrt(2 log n): a border could be anywhere.
        chances = sqrt(2 * log(len(values)) * noise.inflation)
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
        strength = min(
            apart / (SEPARATION_MIN - 0.5),
            apart / by_chance / SIGNIFICANCE_MIN,
            abs(self.shift) / self.scale / SHIFT_SCALES_MIN,
            abs(self.shift) / level / SHIFT_SHARE_MIN,
            edge / self.shift / EDGE_SHARE_MIN,
            as_line / as_step / LINE_LOSS_MIN if as_step else inf,
        )
        # What is only too short is dropped last: its neighbours may yet become a part of it.
        return min(strength, NEARLY) if min(runs) < SIDE_RUNS_MIN else strength

    def _loss(self, residue: float) -> float:
        distance = residue / self.scale
        return min(LOSS_NEAR, distance * distance)


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


def _lasting(series: Sequence[float], borders: list[int], noise: Noise) -> list[int]:
    """The borders without those that are no steps; the first and last are the series' ends."""
    known: dict[tuple[int, int, int], float] = {}

    def strength(start: int, at: int, stop: int) -> float:
        if (start, at, stop) not in known:
            known[start, at, stop] = _Border(series, start, at, stop, noise).strength
        return known[start, at, stop]

    while len(borders) > 2:
        if gone := _excursion(series, borders):
            del borders[gone : gone + 2]
            continue
        strengths = [strength(*three) for three in _threes(borders)]
        weakest = min(strengths)
        if weakest >= 1:
            break
        del borders[1 + strengths.index(weakest)]
    return borders


def _threes(borders: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Each border between the two next to it."""
    return zip(borders, borders[1:], borders[2:], strict=False)


def _excursion(series: Sequence[float], borders: Sequence[int]) -> int:
    """Where the shortest level begins that was soon left for the one before; 0 if none was."""
    shortest, found = inf, 0
    for at in range(1, len(borders) - 2):
        start, stop = borders[at], borders[at + 1]
        if stop - start >= min(EXCURSION_RUNS, shortest):
            continue
        before = median(series[max(borders[at - 1], start - SIDE_RUNS_MAX) : start])
        during = median(series[start:stop])
        after = median(series[stop : min(borders[at + 2], stop + SIDE_RUNS_MAX)])
        if abs(after - before) < 0.5 * min(abs(during - before), abs(after - during)):
            shortest, found = stop - start, at
    return found
