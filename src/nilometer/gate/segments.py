"""One series as a few constant levels: the penalty for a change is what its own noise asks for.

The levels and their borders are those of least loss. Every point costs the square of its
distance from its level in noise scales; beyond three scales the cost grows only as the
logarithm, and every change costs the penalty. So one point, however far out, is cheaper than a
level of its own, and only several together make one (after Fearnhead and Rigaill, "Changepoint
Detection in the Presence of Outliers", JASA 114, 2019, whose cost is constant beyond; with the
logarithm levels are found, too, that are a thousand times as noisy as the rest). The least loss
is found exactly, over a grid of levels, by dynamic programming: as many operations as points
times levels.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from itertools import pairwise
from math import log, sqrt
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.gate.robust import NORMAL_PER_MAD, floor, mad, median

if TYPE_CHECKING:
    from collections.abc import Sequence

LOSS_NEAR: Final = 9.0  # three scales: a point further out is an outlier, and says little more
PENALTY: Final = 4.0  # times the logarithm of the points; half of it without outliers would do
REACH_MIN: Final = 2.0**-400  # of the greatest value: the squares of scaled ones fit a float
LEVEL_APART: Final = 0.5  # scales between levels: the loss is at most 1/16 a point too great
LEVELS_MAX: Final = 400  # 2,500 points then take a second
NOISE_WINDOW: Final = 21  # points: noise is what the median of so many leaves
NOISE_POINTS: Final = 3 * NOISE_WINDOW  # in fewer, a step would be in every third window
LEVEL_WINDOW: Final = 5  # points: no level lies where not even a median of so few does
LAGS_MAX: Final = 12  # points: neighbours further apart are taken as independent
LIKENESS_MAX: Final = 0.6  # no more is believed of a few differences
LIKENESS_MIN: Final = 0.05  # correlations below are what short series have by chance
SLOW_WINDOW: Final = 61  # points: `NOISE_WINDOW` takes off what wanders more slowly than that
SLOW_LIKENESS_MIN: Final = 0.75  # below, small steps that were not found look the same


class Noise(NamedTuple):
    """How a series moves about its own running median, whatever that does."""

    scale: float  # as a standard deviation
    inflation: float  # of the variance of a mean, as neighbours are alike; 1 if not
    slow: float = 1.0  # the same of one that wanders about for long: `slow_inflation`


def noise_of(values: Sequence[float]) -> Noise:
    """The noise of a series that may have steps, drift and outliers.

    The scale has the floor of `robust`; it is 0 only where all values are 0.
    """
    if len(values) < NOISE_POINTS:
        moves = [b - a for a, b in pairwise(values)]
        measured = NORMAL_PER_MAD * mad(moves, 0.0) / sqrt(2)
        scale = _floored(measured, values)
        # Where most neighbours are equal, their few differences say nothing of likeness.
        return Noise(scale, _inflation_of_moves(moves, scale) if measured else 1.0)
    centres = running_median(values, NOISE_WINDOW)
    residues = [value - centre for value, centre in zip(values, centres, strict=True)]
    scale = _floored(NORMAL_PER_MAD * mad(residues, 0.0), values)
    return Noise(scale, _inflation(residues, scale))


def slow_inflation(values: Sequence[float]) -> float:
    """As `_inflation`, where each value is r times the one before, and something of its own.

    Of what a wide running median leaves; 1 where r is less than `SLOW_LIKENESS_MIN`, and where
    there are too few values to say.
    """
    if len(values) < NOISE_POINTS:
        return 1.0
    window = min(SLOW_WINDOW, len(values) // 3 | 1)  # odd
    centres = running_median(values, window)
    residues = [value - centre for value, centre in zip(values, centres, strict=True)]
    residues = _clipped(residues, NORMAL_PER_MAD * mad(residues, 0.0))
    centre = sum(residues) / len(residues)
    residues = [residue - centre for residue in residues]
    total = sum(residue * residue for residue in residues)
    likeness = sum(map(float.__mul__, residues, residues[1:])) / total if total else 0.0
    return (1 + likeness) / (1 - likeness) if likeness >= SLOW_LIKENESS_MIN else 1.0


def _floored(scale: float, values: Sequence[float]) -> float:
    sizes = [abs(value) for value in values]
    level = median(sizes) or sum(sizes) / len(sizes)
    return max(scale, floor(values, level), REACH_MIN * max(sizes))


def _inflation_of_moves(moves: Sequence[float], scale: float) -> float:
    """As `_inflation`, by the one correlation that differences of neighbours show.

    Differences of independent values have a correlation of -1/2 with the next; of values that
    have the correlation r with the next, and r^2 with the one after, -(1 - r) / 2.
    """
    near = [m for m in moves if abs(m) <= 3 * sqrt(2) * scale]  # a step says nothing of noise
    total = sum(move * move for move in near)
    if not total:
        return 1.0
    likeness = 1 + 2 * sum(a * b for a, b in pairwise(near)) / total
    likeness = max(0.0, min(LIKENESS_MAX, likeness))
    return (1 + likeness) / (1 - likeness)


def _clipped(values: Sequence[float], scale: float) -> list[float]:
    return [max(-3.0, min(3.0, v / scale)) for v in values] if scale else [0.0] * len(values)


def _inflation(residues: Sequence[float], scale: float) -> float:
    """1 + 2 * the sum of the correlations with the next, the second next ... neighbour."""
    residues = _clipped(residues, scale)
    centre = sum(residues) / len(residues)
    residues = [r - centre for r in residues]
    total = sum(r * r for r in residues)
    inflation = 1.0
    for lag in range(1, min(LAGS_MAX, len(residues) // 4) + 1):
        products = sum(map(float.__mul__, residues, residues[lag:]))
        if products <= LIKENESS_MIN * total:
            break
        inflation += 2 * products / total
    return inflation


def running_median(values: Sequence[float], window: int) -> list[float]:
    """The median of the `window` (odd) values around each, of fewer at the ends.

    >>> running_median([1, 9, 2, 3, 2], 3)
    [9, 2, 3, 2, 3]
    """
    half = window // 2
    ordered = sorted(values[:half])
    found = []
    for at in range(len(values)):
        if at + half < len(values):
            insort(ordered, values[at + half])
        if at > half:
            del ordered[bisect_left(ordered, values[at - half - 1])]
        found.append(ordered[len(ordered) // 2])
    return found


def far(loss: float) -> float:
    """What a point costs whose squared distance is more than `LOSS_NEAR`."""
    return LOSS_NEAR + log(loss / LOSS_NEAR)


class _Path(NamedTuple):
    """How a level was reached: the last change, and how the level before was."""

    start: int
    before: _Path | None


def segments(values: Sequence[float], noise: Noise) -> list[int]:
    """Where the levels begin, the first at 0.

    Generous: `steps` decides which of the borders are news.
    """
    if not noise.scale:
        return [0]
    levels = [level / noise.scale for level in _levels(values, noise.scale)]
    penalty = PENALTY * noise.inflation * log(max(len(values), 10))
    costs = [0.0] * len(levels)
    paths = [_Path(0, None)] * len(levels)
    for at, value in enumerate(values):
        least = min(costs)
        most = least + penalty
        if max(costs) > most:  # some levels are reached better by a change from the best
            changed = _Path(at, paths[costs.index(least)])
            paths = [changed if c > most else p for c, p in zip(costs, paths, strict=True)]
            costs = [min(c, most) for c in costs]
        v = value / noise.scale
        costs = [
            c + (near if (near := (v - level) * (v - level)) < LOSS_NEAR else far(near))
            for c, level in zip(costs, levels, strict=True)
        ]
    starts = []
    path: _Path | None = paths[costs.index(min(costs))]
    while path:
        starts.append(path.start)
        path = path.before
    return starts[::-1]


def _levels(values: Sequence[float], scale: float) -> list[float]:
    """Where levels may lie: at running medians that are far enough apart."""
    centres = sorted(running_median(values, LEVEL_WINDOW))
    apart = LEVEL_APART * scale
    while True:
        levels = centres[:1]
        for centre in centres:
            if centre >= levels[-1] + apart:
                levels.append(centre)
        if len(levels) <= LEVELS_MAX:
            return levels
        apart *= 1.5
