"""Published rules, written again from their documentation, for comparison only.

Those of Bencher 0.6 look at the newest 64 runs and give the bound above which the next is an
alarm; they know nothing of steps and levels.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from math import exp, lgamma, log, pi, sqrt
from statistics import NormalDist, fmean, quantiles, stdev
from typing import TYPE_CHECKING, Final

from nilometer.gate.robust import mad, median

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Rule = Callable[[Sequence[float]], float]

SAMPLE_MAX: Final = 64


def percentage(share: float) -> Rule:
    """So much above the mean."""
    return lambda runs: fmean(runs) * (1 + share)


def z_score(quantile: float) -> Rule:
    """As if mean and deviation were known and the noise normal."""
    return lambda runs: fmean(runs) + NormalDist().inv_cdf(quantile) * stdev(runs)


def t_test(quantile: float) -> Rule:
    """The upper end of a prediction interval for the next run."""

    def bound(runs: Sequence[float]) -> float:
        wide = t_quantile(quantile, len(runs) - 1) * sqrt(1 + 1 / len(runs))
        return fmean(runs) + wide * stdev(runs)

    return bound


def iqr(factor: float) -> Rule:
    """So many distances between the quartiles above the median."""

    def bound(runs: Sequence[float]) -> float:
        low, _, high = quantiles(runs, n=4, method="inclusive")
        return median(runs) + factor * (high - low)

    return bound


def delta_iqr(factor: float) -> Rule:
    """The same, of the relative changes from run to run, times the median."""

    def bound(runs: Sequence[float]) -> float:
        changes = [(b - a) / a for a, b in pairwise(runs)]
        low, _, high = quantiles(changes, n=4, method="inclusive")
        return median(runs) * (1 + factor * (high - low))

    return bound


def median_mad(factor: float) -> Rule:
    """So many median deviations above the median; not one of Bencher's."""
    return lambda runs: median(runs) + factor * mad(runs)


BENCHER: Final[dict[str, Rule]] = {
    "percentage 5 %": percentage(0.05),
    "percentage 10 %": percentage(0.10),
    "z_score 0.977": z_score(0.977),
    "t_test 0.977": t_test(0.977),
    "t_test 0.99": t_test(0.99),
    "iqr 3": iqr(3),
    "delta_iqr 3": delta_iqr(3),
}


@cache
def t_quantile(probability: float, freedom: int) -> float:
    """Student's t, by bisection over Simpson's rule; for probabilities above one half.

    >>> round(t_quantile(0.975, 10), 3), round(t_quantile(0.99, 63), 3)
    (2.228, 2.387)
    """
    scale = exp(lgamma((freedom + 1) / 2) - lgamma(freedom / 2)) / sqrt(freedom * pi)

    def density(x: float) -> float:
        return scale * exp(-(freedom + 1) / 2 * log(1 + x * x / freedom))

    def below(x: float, pieces: int = 200) -> float:
        width = x / pieces
        inner = sum((4 if i % 2 else 2) * density(i * width) for i in range(1, pieces))
        return 0.5 + (density(0) + inner + density(x)) * width / 3

    low, high = 0.0, 50.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) < probability else (low, middle)
    return high
