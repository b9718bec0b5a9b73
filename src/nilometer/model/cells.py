"""A timer's values over time as cells: so many values of that size in that period.

Cells of one map have the same sizes, whatever scale each distribution came with, so that they
lie in rows: the finest scale is taken whose rows are not too many.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from nilometer.model.distribution import Distribution

SCALE_MIN: Final = -10
"""OpenTelemetry's coarsest: one bucket holds a factor of 2**1024, so all there is."""


class Cell(NamedTuple):
    """In the period from `started_ns` so many values lay above `low`, up to `high`."""

    started_ns: int
    low: float
    high: float
    values: int


class Spread(NamedTuple):
    """Cells by period and size; `left_out` counts zeros and less, which no logarithm has."""

    cells: list[Cell]
    left_out: int


def spread(periods: Sequence[tuple[int, Distribution]], *, rows_max: int) -> Spread:
    """The cells of these distributions, each with the start of its period; in `rows_max` rows,
    or two: at every scale 1 is where one row ends and the next begins.

    >>> from nilometer.model import Distribution
    >>> spread([(0, Distribution.of([3, 3, 0]))], rows_max=4).left_out
    1
    """
    periods = [(started, one) for started, one in periods if one.samples]
    left_out = sum(one.zeros + sum(one.negatives.values()) for _, one in periods)
    ours = [(at, one) for at, one in periods if one.buckets and not one.bounds]
    scale = _scale([one for _, one in ours], rows_max)
    found = [
        Cell(started, *_edges(index, scale), count)
        for started, one in ours
        for index, count in one.at_scale(scale).buckets.items()
        if count > 0
    ]
    for started, one in periods:
        if one.bounds:
            found += _explicit(started, one)
    return Spread(_added(found), left_out)


def _scale(distributions: Sequence[Distribution], rows_max: int) -> int:
    """The finest scale that all can be told at whose buckets are at most so many."""
    if not distributions:
        return 0
    scale = min(one.scale for one in distributions)
    least = min(min(one.at_scale(scale).buckets) for one in distributions)
    greatest = max(max(one.at_scale(scale).buckets) for one in distributions)
    while greatest - least >= max(2, rows_max) and scale > SCALE_MIN:
        scale, least, greatest = scale - 1, least >> 1, greatest >> 1
    return scale


def _edges(index: int, scale: int) -> tuple[float, float]:
    exponent = 2.0**-scale
    return _power(index * exponent), _power((index + 1) * exponent)


def _power(exponent: float) -> float:
    """Two to that; beyond what a float holds the greatest that it does, or the least."""
    return math.pow(2.0, max(-1022.0, min(1023.0, exponent)))


def _explicit(started_ns: int, one: Distribution) -> Iterator[Cell]:
    """The buckets of somebody else's bounds; an open end reaches to the extreme, if known."""
    for index, count in one.buckets.items():
        if count <= 0:
            continue
        last = one.bounds[-1]
        low = one.bounds[index - 1] if index > 0 else one.minimum or 0
        high = one.bounds[index] if index < len(one.bounds) else max(last, one.maximum or last)
        yield Cell(started_ns, float(min(low, high)), float(high), count)


def _added(cells: Iterable[Cell]) -> list[Cell]:
    """In order; several parts of one period and size are one cell."""
    sums: dict[tuple[int, float, float], int] = {}
    for started, low, high, count in cells:
        sums[started, low, high] = sums.get((started, low, high), 0) + count
    return [Cell(*key, count) for key, count in sorted(sums.items())]


def rows_of(cells: Iterable[Cell]) -> Mapping[tuple[float, float], dict[int, int]]:
    """By size, the greatest first, how many there were in which period."""
    rows: dict[tuple[float, float], dict[int, int]] = {}
    for one in cells:
        rows.setdefault((one.low, one.high), {})[one.started_ns] = one.values
    return dict(sorted(rows.items(), reverse=True))
