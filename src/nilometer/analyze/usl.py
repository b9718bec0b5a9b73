"""The Universal Scalability Law fitted to windows of measured throughput.

X(N) = l N / (1 + s (N - 1) + k N (N - 1)): with N requests in flight X are done a second, l
with one alone; s is what they lose by waiting for each other (contention), k by agreeing with
each other (coherency). Gunther, "Guerrilla Capacity Planning", 2007.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

ROUNDS_MAX: Final = 60  # from any start some ten do
HALVINGS_MAX: Final = 20  # of a step that goes too far: to a millionth
CLOSE_ENOUGH: Final = 1e-12  # of the sum of squares
SEED: Final = 1

# Which of the three terms may be above 0: each set is a corner of what is allowed.
_CORNERS: Final = ([0, 1, 2], [0, 1], [0, 2], [0])


class Law(NamedTuple):
    """The law's three numbers: requests a second of one alone, contention and coherency."""

    single: float
    contention: float
    coherency: float

    @property
    def peak(self) -> float | None:
        """With how many in flight most is done; None if it never gets less."""
        if self.coherency <= 0:
            return None
        return float(np.sqrt(max(0.0, 1 - self.contention) / self.coherency))

    def throughput(self, concurrency: float) -> float:
        """How many requests a second are done with so many in flight."""
        below = 1 + (concurrency - 1) * (self.contention + self.coherency * concurrency)
        return self.single * concurrency / below


class Points(NamedTuple):
    """Windows: how many were in flight, how many were done a second, how many windows."""

    concurrency: Numbers
    throughput: Numbers
    weight: Numbers


def fit(points: Points) -> Law:
    """The law that is nearest to the points by the sum of squares of throughput.

    Gauss and Newton's method on N / X, which is linear in 1/l, s/l and k/l, none of which may
    be below 0. There must be a point with requests in flight, and one with requests done.
    """
    n, x, weight = points
    size = float(n.max())
    terms = np.stack([np.ones_like(n), (n - 1) / size, n * (n - 1) / size**2])
    at = np.array([float((weight * n).sum() / (weight * x).sum()), 0.0, 0.0])
    missed = _missed(at, terms, points)
    for _ in range(ROUNDS_MAX):
        step = _next(at, terms, points) - at
        for _ in range(HALVINGS_MAX):
            after = _missed(at + step, terms, points)
            if after <= missed:
                break
            step = step / 2
        else:
            break
        at, gained, missed = at + step, missed - after, after
        if gained <= CLOSE_ENOUGH * missed:
            break
    return Law(float(1 / at[0]), float(at[1] / size / at[0]), float(at[2] / size**2 / at[0]))


def resampled(points: Points, times: int) -> list[Law]:
    """The laws of as many points drawn anew, each as likely as by its weight; the same draws
    for the same points."""
    chance = points.weight / points.weight.sum()
    draws = np.random.default_rng(SEED).multinomial(int(points.weight.sum()), chance, times)
    laws = []
    for drawn in draws:
        kept = drawn > 0
        some = Points(points.concurrency[kept], points.throughput[kept], drawn[kept] * 1.0)
        if some.throughput.any():
            laws.append(fit(some))
    return laws


def _missed(at: Numbers, terms: Numbers, points: Points) -> float:
    """The sum of squares; without end where the law has no throughput."""
    below = at @ terms
    if below.min() <= 0:
        return float("inf")
    return float((points.weight * (points.throughput - points.concurrency / below) ** 2).sum())


def _next(at: Numbers, terms: Numbers, points: Points) -> Numbers:
    """Where the law, taken for linear around here, is nearest to the points."""
    n, x, weight = points
    below = at @ terms
    slope = weight * (n / below**2) ** 2
    aim = below * (2 - x * below / n)
    squares = (terms * slope) @ terms.T
    products = (terms * slope) @ aim
    best, least = at, float("inf")
    for corner in _CORNERS:
        found = np.zeros(3)
        part = squares[np.ix_(corner, corner)]
        found[corner] = np.linalg.lstsq(part, products[corner], rcond=None)[0]
        if found.min() < 0 or found[0] <= 0:
            continue
        missed = float(found @ squares @ found - 2 * products @ found)
        if missed < least:
            best, least = found, missed
    return best
