"""Medians, scales and tolerance limits that a few wild runs cannot move.

Everything takes finite numbers; who reads them from outside drops the others first.
"""

from __future__ import annotations

from functools import cache
from math import comb, exp, lgamma, log, sqrt
from math import pow as power
from statistics import NormalDist
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# The median deviation of a normal distribution is 0.6745 of its standard deviation, so the
# deviation times 1.4826 is the standard deviation where the noise is normal.
NORMAL_PER_MAD: Final = 1 / NormalDist().inv_cdf(0.75)

# Below these a difference is no news, however still the history: a count that is half a count
# off is rounded, and two runs of real programs differ by a row or two in a thousand.
FLOOR_COUNT: Final = 0.5
FLOOR_SHARE: Final = 0.002

_NORMAL: Final = NormalDist()


def median(values: Iterable[float]) -> float:
    """The middle value; between the two middle ones where their number is even.

    Raises ValueError where there is none.

    >>> median([3, 1, 2, 100])
    2.5
    """
    ordered = sorted(values)
    if not ordered:
        msg = "no median of no values"
        raise ValueError(msg)
    half = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[half]
    below, above = ordered[half - 1], ordered[half]
    return below + (above - below) / 2  # their sum may be more than a float holds


def mad(values: Sequence[float], centre: float | None = None) -> float:
    """The median distance from the median: half of all values are nearer, half further.

    >>> mad([1, 2, 3, 4, 100])
    1
    """
    middle = median(values) if centre is None else centre
    return median(abs(value - middle) for value in values)


def are_counts(values: Iterable[float]) -> bool:
    """Whether all are whole numbers, so that no real difference is less than one.

    >>> are_counts([4, 5.0]), are_counts([4, 5.5])
    (True, False)
    """
    return all(float(value).is_integer() for value in values)


def scale(values: Sequence[float]) -> float:
    """How far values usually lie from their median, in the terms of a standard deviation.

    The greatest of 1.4826 MAD, half a count where all are counts, and 0.2 % of the median: with
    a smaller one the last digit of a counter that never moves would be an alarm.

    >>> scale([1000] * 20), scale([10] * 20), scale([0.5] * 20)
    (2.0, 0.5, 0.001)
    """
    centre = median(values)
    return max(NORMAL_PER_MAD * mad(values, centre), floor(values, centre))


def floor(values: Sequence[float], centre: float) -> float:
    """The smallest scale that is believed of values around `centre`."""
    return max(FLOOR_COUNT if are_counts(values) else 0.0, FLOOR_SHARE * abs(centre))


@cache
def tolerance_factor(runs: int, *, coverage: float = 0.99, confidence: float = 0.95) -> float:
    """How many standard deviations above the mean of so many runs the bound must be.

    Then, with the confidence given, at least the share `coverage` of all future runs is below,
    if the noise is normal. This is the one-sided normal tolerance factor: the quantile
    `confidence` of a noncentral t distribution with runs - 1 degrees of freedom and
    noncentrality z sqrt(runs), divided by sqrt(runs), where z is the normal quantile of
    `coverage` (Owen, "A Survey of Properties and Applications of the Noncentral
    t-Distribution", Technometrics 10, 1968). Found here by bisection over the integral that
    defines it. Raises ValueError for fewer than two runs.

    >>> [round(tolerance_factor(n), 2) for n in (10, 20, 30)]
    [3.98, 3.3, 3.06]
    """
    if runs < 2:
        msg = f"{runs} runs have no spread; at least 2 are needed"
        raise ValueError(msg)
    low, high = 0.0, 1.0
    while _held(high, runs, coverage) < confidence:
        low, high = high, 2 * high
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        if _held(middle, runs, coverage) < confidence:
            low = middle
        else:
            high = middle
    return high


def _held(factor: float, runs: int, coverage: float) -> float:
    """How often mean + factor * deviation of so many normal runs is above the quantile.

    Over all values s of the sample's deviation, whose square times (runs - 1) is chi-squared
    distributed, the mean is normal with deviation 1/sqrt(runs): Simpson's rule over s.
    """
    freedom = runs - 1
    quantile = _NORMAL.inv_cdf(coverage)
    logarithm = log(2) + freedom / 2 * log(freedom / 2) - lgamma(freedom / 2)
    # Nine deviations of s either side of 1 hold all but 1e-15 of it.
    reach = 9 / sqrt(2 * freedom)
    start, stop, pieces = max(1 - reach, 1e-9), 1 + reach, 1000
    width = (stop - start) / pieces

    def at(s: float) -> float:
        density = exp(logarithm + (freedom - 1) * log(s) - freedom * s * s / 2)
        return density * _NORMAL.cdf(sqrt(runs) * (factor * s - quantile))

    inner = sum((4 if i % 2 else 2) * at(start + i * width) for i in range(1, pieces))
    return (at(start) + inner + at(stop)) * width / 3


@cache
def runs_needed(coverage: float, confidence: float = 0.95, *, rank: int = 1) -> int:
    """Of how many runs the largest (or the rank-th largest) is a bound, whatever the noise.

    With that confidence the share `coverage` of all future runs lies at or below it (Wilks,
    "Determination of Sample Sizes for Setting Tolerance Limits", 1941).

    >>> runs_needed(0.95), runs_needed(0.95, rank=2), runs_needed(0.99), runs_needed(0.99, 0.99)
    (59, 93, 299, 459)
    """
    runs = rank
    while _above(runs, coverage, rank) > 1 - confidence:
        runs += 1
    return runs


def _above(runs: int, coverage: float, rank: int) -> float:
    """How likely fewer than `rank` of the runs lie above the quantile `coverage`."""
    likely = 0.0
    for above in range(rank):
        likely += comb(runs, above) * power(1 - coverage, above) * power(coverage, runs - above)
    return likely


def deviation_share_bound(runs: int, *, confidence: float = 0.95) -> float:
    """How often a counter may still move that was the same in so many runs, at most.

    1 - (1 - confidence)^(1 / runs): evidence, not certainty.

    >>> [round(deviation_share_bound(n), 4) for n in (20, 59, 299)]
    [0.1391, 0.0495, 0.01]
    """
    return 1 - power(1 - confidence, 1 / runs)
