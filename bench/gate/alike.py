"""Unchanged series whose neighbours are much alike: how many of them alarm."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import TYPE_CHECKING, Final

from nilometer.gate.steps import steps

if TYPE_CHECKING:
    from collections.abc import Callable

LENGTHS: Final = (80, 120, 200, 300)


def _related(random: Random, points: int, likeness: float) -> list[float]:
    """Each so much like the one before: AR(1)."""
    values = [random.gauss(0, 1)]
    while len(values) < points:
        own = (1 - likeness * likeness) ** 0.5
        values.append(likeness * values[-1] + own * random.gauss(0, 1))
    return values


def _of_builds(
    random: Random, points: int, runs: tuple[int, int], spread: float
) -> list[float]:
    """So many runs of each build, which differ by `spread` times the noise of a run."""
    values: list[float] = []
    while len(values) < points:
        build = random.gauss(0, spread)
        values += [build + random.gauss(0, 1) for _ in range(random.randint(*runs))]
    return values[:points]


ALIKE: Final[dict[str, Callable[[Random, int], list[float]]]] = {
    **{f"AR(1), {r:g}": partial(_related, likeness=r) for r in (0.5, 0.8, 0.9, 0.95)},
    **{
        f"builds of {least} to {most} runs, {spread:g} times the noise apart": partial(
            _of_builds, runs=(least, most), spread=spread
        )
        for least, most, spread in (
            *((4, 11, 4.0), (7, 22, 4.0)),
            *((8, 8, 3.0), (15, 15, 1.0), (15, 15, 2.0)),
        )
    },
}


def alarmed(kind: str, seeds: range) -> float:
    """The share of the series of a kind, one per seed, in which a step is found."""
    found = 0
    for seed in seeds:
        random = Random(f"{kind}/{seed}")
        points, spread = random.choice(LENGTHS), random.uniform(2, 50)
        values = [1000 + spread * value for value in ALIKE[kind](random, points)]
        found += bool(steps(values))
    return found / len(seeds)
