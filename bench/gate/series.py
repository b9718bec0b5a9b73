"""Labelled series: SAP's performance tests, steps put into them, and series made up.

Each has a half, 0 or 1: what was chosen (thresholds, penalties) was chosen on half 0 alone, and
half 1 says how good the choice is.
"""

from __future__ import annotations

import csv
import json
from itertools import pairwise
from math import ceil, pi, sin
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DATA: Final = Path(__file__).parent.parent.parent / "tests" / "data"
SHIFT_SEEN: Final = 2.0  # noise scales: nobody who looks at a plot is sure of a smaller step
STEPS_MAX: Final = 3
POINTS_BETWEEN: Final = 25  # steps, at least: one that is left sooner is an excursion


class Labelled(NamedTuple):
    """One series and where it changes."""

    name: str
    kind: str
    half: int
    values: Sequence[float | None]
    steps: tuple[int, ...]  # the first point after each change, 0-based
    unsure: tuple[int, ...] = ()  # changes too small to insist on: found or not, both is right


def sap() -> list[Labelled]:
    """The 25 series as they are labelled; of every kind the second, fourth ... are half 1."""
    found: list[Labelled] = []
    folder = DATA / "sap_small_2021"
    with (folder / "metadata" / "dataset_details.csv").open(encoding="utf-8-sig") as table:
        rows = list(csv.reader(table, delimiter=";"))[1:]
    for called, file, changed in rows:
        with (folder / "data" / file).open() as lines:
            values = [float(row["Measurement"]) for row in csv.DictReader(lines)]
        kind = called.strip().lower()
        half = sum(one.kind == kind for one in found) % 2
        # `changed` is the last good row, counted from 1: so the first bad one, counted from 0.
        steps = (int(changed),) if int(changed) else ()
        found.append(Labelled(file[:4], kind, half, values, steps))
    return found


def counters(backend: str) -> dict[str, dict[str, list[float]]]:
    """Our own runs of one workload: per variant, by counter how far it moved in each run."""
    variants = json.loads((DATA / "counters" / f"{backend}.json").read_text())
    return {name: runs["moved"] for name, runs in variants.items()}


# --- Steps put into real series --------------------------------------------------------------


def sap_with_steps(
    seeds: Sequence[int], *, share: tuple[float, float] = (0.01, 0.5)
) -> list[Labelled]:
    """Each unchanged real series with 0 to 3 steps of `share` of its level, per seed."""
    from nilometer.gate.robust import median
    from nilometer.gate.segments import noise_of

    found = []
    for seed in seeds:
        for one in sap():
            if one.steps:
                continue
            random = Random(f"{one.name}/{seed}")
            start, stop = _cut(random, len(one.values))
            values = [float(v) for v in one.values[start:stop] if v is not None]
            places = _places(random, len(values))
            level, noise = median(values), noise_of(values).scale
            values, seen, unsure = _stepped(random, values, places, share, level, noise)
            found.append(
                Labelled(f"{one.name}/{seed}", one.kind, one.half, values, seen, unsure)
            )
    return found


def _cut(random: Random, points: int) -> tuple[int, int]:
    length = min(points, random.choice([60, 100, 150, 200, 300, 500, 1000]))
    start = random.randrange(points - length + 1)
    return start, start + length


def _places(random: Random, points: int) -> list[int]:
    """Where 0 to 3 steps are, far enough from each other and from the ends."""
    wanted = min(random.choice([0, 0, 1, 1, 2, 3]), points // (2 * POINTS_BETWEEN))
    while True:
        places = sorted(random.randrange(points) for _ in range(wanted))
        edges = [-POINTS_BETWEEN // 2, *places, points + POINTS_BETWEEN // 2]
        if all(b - a >= POINTS_BETWEEN for a, b in pairwise(edges)):
            return places


def _stepped(
    random: Random,
    values: list[float],
    places: list[int],
    share: tuple[float, float],
    level: float,
    noise: float,
) -> tuple[list[float], tuple[int, ...], tuple[int, ...]]:
    """The values, multiplied from each place on; two in three steps go up."""
    factor, seen, unsure = 1.0, [], []
    values = list(values)
    for at, until in zip(places, [*places, len(values)][1:], strict=False):
        size = share[0] * (share[1] / share[0]) ** random.random()
        before = factor
        factor *= 1 + size if random.random() < 2 / 3 else 1 / (1 + size)
        shift = abs(factor - before) * abs(level)
        scale = noise * max(factor, before)
        (seen if shift >= SHIFT_SEEN * scale else unsure).append(at)
        values[at:until] = [v * factor for v in values[at:until]]
    return values, tuple(seen), tuple(unsure)


# --- Series made up --------------------------------------------------------------------------


def _normal(random: Random, points: int) -> list[float]:
    return [random.gauss(0, 1) for _ in range(points)]


def _heavy(random: Random, points: int) -> list[float]:
    """Student's t with 3 degrees of freedom."""
    return [
        random.gauss(0, 1) / (sum(random.gauss(0, 1) ** 2 for _ in range(3)) / 3) ** 0.5
        for _ in range(points)
    ]


def _related(random: Random, points: int) -> list[float]:
    """Each half the one before: AR(1) with 0.5."""
    values = [random.gauss(0, 1)]
    while len(values) < points:
        values.append(0.5 * values[-1] + 0.75**0.5 * random.gauss(0, 1))
    return values


def _of_builds(random: Random, points: int) -> list[float]:
    """Four runs of a build share half their variance."""
    builds = [random.gauss(0, 0.7) for _ in range(ceil(points / 4))]
    return [builds[at // 4] + random.gauss(0, 0.7) for at in range(points)]


def _bimodal(random: Random, points: int) -> list[float]:
    share, apart = random.uniform(0.1, 0.5), random.uniform(5, 15)
    return [random.gauss(apart if random.random() < share else 0, 1) for _ in range(points)]


def _periodic(random: Random, points: int) -> list[float]:
    period = random.choice([5, 7, 12, 24])
    return [sin(2 * pi * at / period) + random.gauss(0, 0.7) for at in range(points)]


def _spiky(random: Random, points: int) -> list[float]:
    share = random.uniform(0.01, 0.12)
    return [
        random.gauss(0, 1) + (random.expovariate(1 / 15) + 4 if random.random() < share else 0)
        for _ in range(points)
    ]


def _bursting(random: Random, points: int) -> list[float]:
    """Up to three excursions of 2 to 8 points that end by themselves, one in each third."""
    values = _normal(random, points)
    for third in range(random.randint(1, 3)):
        start, length = random.randrange(points // 3 - 10), random.randint(2, 8)
        for at in range(start + 1, start + 1 + length):
            values[third * points // 3 + at] += 12
    return values


def _quantised(random: Random, points: int) -> list[float]:
    return [round(random.gauss(0, 1) / 1.5) * 1.5 for _ in range(points)]


def _drifting(random: Random, points: int) -> list[float]:
    """Slowly up or down, by up to six scales from end to end."""
    slope = random.uniform(-6, 6) / points
    return [slope * at + random.gauss(0, 1) for at in range(points)]


def _wandering(random: Random, points: int) -> list[float]:
    """A slow wave of half a scale under the noise, as machines have over weeks."""
    period = random.uniform(100, 300)
    return [0.7 * sin(2 * pi * at / period) + random.gauss(0, 1) for at in range(points)]


def _widening(random: Random, points: int) -> list[float]:
    """Twice as noisy from the middle on, on the same level."""
    return [random.gauss(0, 1 if at < points / 2 else 2) for at in range(points)]


NOISES: Final[dict[str, Callable[[Random, int], list[float]]]] = {
    "normal": _normal,
    "heavy tail": _heavy,
    "AR(1)": _related,
    "builds": _of_builds,
    "bimodal": _bimodal,
    "periodic": _periodic,
    "spiky": _spiky,
    "bursts": _bursting,
    "quantised": _quantised,
    "drift": _drifting,
    "wave": _wandering,
    "widening": _widening,
}


def made_up(seeds: Sequence[int]) -> list[Labelled]:
    """Every kind of noise, and exact and small counts, once per seed; even seeds are half 0."""
    found = []
    for seed in seeds:
        found += [_noisy(kind, seed) for kind in NOISES]
        found += [_counting(seed), _exact(seed)]
    return found


def _noisy(kind: str, seed: int) -> Labelled:
    random = Random(f"{kind}/{seed}")
    points = random.choice([60, 100, 150, 250, 400, 800])
    level = 10 ** random.uniform(-2, 6)
    spread = 10 ** random.uniform(-2.7, -1.1)  # 0.2 % to 8 % of the level
    raw = NOISES[kind](random, points)
    values = [level * (1 + spread * v) for v in raw]
    values, seen, unsure = _stepped(
        random, values, _places(random, points), (0.01, 0.5), level, level * spread
    )
    if random.random() < 0.1:
        values = [-v for v in values]
    gappy = [None if random.random() < 0.03 else v for v in values] if seed % 5 == 0 else values
    return Labelled(f"{kind}/{seed}", kind, seed % 2, gappy, seen, unsure)


def _counting(seed: int) -> Labelled:
    """A count of rare things: Poisson of 20 to 2000, in whole numbers."""
    random = Random(f"counts/{seed}")
    points, level = random.choice([60, 100, 250, 500]), 10 ** random.uniform(1.3, 3.3)
    drawn = [level + level**0.5 * random.gauss(0, 1) for _ in range(points)]
    values, seen, unsure = _stepped(
        random, drawn, _places(random, points), (0.01, 0.5), level, level**0.5
    )
    whole = [float(max(0, round(v))) for v in values]
    return Labelled(f"counts/{seed}", "counts", seed % 2, whole, seen, unsure)


def _exact(seed: int) -> Labelled:
    """A counter that is always the same, but for a few runs, and moves by whole numbers."""
    random = Random(f"exact/{seed}")
    points = random.choice([12, 20, 40, 100, 300])
    level = float(round(10 ** random.uniform(0.5, 5)))
    values = [level] * points
    places = _places(random, points)
    if not places and points <= 40 and random.random() < 0.5:
        places = [points // 2]
    for at in places:
        moved = max(1.0, round(level * 10 ** random.uniform(-1.7, -0.3)))
        for later in range(at, points):
            values[later] += moved
    for _ in range(random.randint(0, points // 20)):
        values[random.randrange(points)] += random.choice([1, 5, level])
    return Labelled(f"exact/{seed}", "exact", seed % 2, values, tuple(places))
