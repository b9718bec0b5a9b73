"""Counters that creep: each run costs a little more than the one before, and none is far out.

No run of these alarms, and no level of theirs can be told. So that nothing grows in silence it
is told how far they went in all; noise that goes nowhere must not be taken for it.
"""

from __future__ import annotations

from itertools import combinations, pairwise
from math import sqrt
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.gate.joint import SCALES_MIN
from nilometer.gate.robust import median
from nilometer.gate.stability import EXACT_RUNS_MIN, RUNS_MIN, floor_at

if TYPE_CHECKING:
    from collections.abc import Sequence

CREPT_RUNS_MIN: Final = EXACT_RUNS_MIN

SURE: Final = 4.5
"""Deviations of a normal distribution: chance is one in 150,000; servers have 100 counters."""

PIECES: Final = 40
"""Of longer histories the medians of so many pieces are looked at: all pairs are compared."""

ONE_STEP_SHARE: Final = 0.6
STEP_PIECES: Final = 6
"""What moves by more of it than that from one sixth to the next is a step, and no creeping."""


class Crept(NamedTuple):
    """How far a series went, by the medians of its first and last five runs."""

    first: float
    last: float
    runs: int

    def __str__(self) -> str:
        """``crept from 1000 to 1390, +39.0 %, over 40 runs``."""
        share = (self.last - self.first) / abs(self.first) if self.first else 0.0
        moved = f", {share * 100:+.1f} %," if self.first else ""
        return f"crept from {self.first:.6g} to {self.last:.6g}{moved} over {self.runs} runs"

    def told(self, *, is_admitted: bool) -> str:
        """The same, with what became of it: nobody was alarmed, for one reason or the other."""
        return f"{self}; {'its level followed' if is_admitted else 'it takes no part'}"


def crept(values: Sequence[float | None], *, is_counted: bool = True) -> Crept | None:
    """How far a series went that has a trend; None if it has none, or is mostly 0.

    `is_counted`: what was read are whole numbers, so that less than a count is no news.
    """
    known = [value for value in values if value is not None]
    if len(known) < CREPT_RUNS_MIN or not median(known):
        return None
    found = Crept(float(median(known[:RUNS_MIN])), float(median(known[-RUNS_MIN:])), len(known))
    least = SCALES_MIN * floor_at(float(median(known)), is_counted=is_counted)
    if abs(found.last - found.first) < least:
        return None
    is_more_than_chance = _outran_a_walk(known, found) or _ranks_are_ordered(known)
    return found if is_more_than_chance else None


def _outran_a_walk(known: Sequence[float], found: Crept) -> bool:
    """Whether it went further than a series would that keeps whatever each run adds to it.

    It holds however alike neighbours are, and sees a curve; noise must be less than the trend.
    """
    moves = [after - before for before, after in pairwise(known)]
    return abs(found.last - found.first) > SURE * stdev(moves) * sqrt(len(moves))


def _ranks_are_ordered(known: Sequence[float]) -> bool:
    """Mann and Kendall's test, which noise of any shape may hide; of neighbours not alike."""
    pieces = _medians(known, min(PIECES, len(known)))
    number = len(pieces)
    pairs = list(combinations(enumerate(pieces), 2))
    ordered = sum((later > one) - (later < one) for (_, one), (_, later) in pairs)
    by_chance = sqrt(number * (number - 1) * (2 * number + 5) / 18)
    if abs(ordered) < SURE * by_chance:
        return False
    slope = float(median((later - one) / (to - at) for (at, one), (to, later) in pairs))
    alike = _likeness([value - slope * at for at, value in enumerate(pieces)])
    if abs(ordered) < SURE * by_chance * sqrt((1 + alike) / (1 - alike)):
        return False
    levels = _medians(known, STEP_PIECES)
    steepest = max(abs(after - before) for before, after in pairwise(levels))
    return steepest <= ONE_STEP_SHARE * abs(levels[-1] - levels[0])


def _medians(known: Sequence[float], number: int) -> list[float]:
    """Of as many pieces, each of about as many runs."""
    cuts = [at * len(known) // number for at in range(number + 1)]
    return [float(median(known[start:stop])) for start, stop in pairwise(cuts)]


def _likeness(rest: Sequence[float]) -> float:
    """How alike neighbours are at the most, from 0 to 0.99, where a line was taken off.

    What is measured of n values is too small by about (1 + 4 r) / n (Kendall 1954), and off by
    2 / sqrt(n) in one case of twenty; where it is so, a wave is taken for a trend.
    """
    middle = fmean(rest)
    offs = [value - middle for value in rest]
    squares = sum(off * off for off in offs)
    if not squares:
        return 0.0
    measured = sum(one * after for one, after in pairwise(offs)) / squares
    number = len(offs)
    likely = max(0.0, (measured + 1 / number) / (1 - 4 / number))
    return min(0.99, likely + 2 / sqrt(number))
