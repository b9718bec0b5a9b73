"""How often a rule for single runs cries wolf, and how many steps it sees.

A *null* point is a run with 30 runs or more before it and four after it, where nothing changed.
A false alarm is a null point above the bound that the runs before it give; it is confirmed if
the rule still says so of that run and the next four, which stand in for repetitions: for a
bound, if three of the five are above it.

A step is put into an unchanged series at a random run; the real ones are taken as they are. It
is seen at once if its first run is above the bound, and confirmed if one of its first five is
and the five confirm it.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

from bench.gate.rivals import SAMPLE_MAX
from bench.gate.series import SHIFT_SEEN, Labelled, sap
from nilometer.gate.robust import median, scale
from nilometer.gate.single import CONFIRMING_RUNS, bounds, confirm, current_level

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.gate.rivals import Rule

    # Which runs it is given (see `Point`), one run, five runs -> alarm, confirmed.
    Judge = Callable[["Point"], tuple[list[bool], bool]]

HISTORY_MIN: Final = 30
LOOKED_BACK: Final = 250


class Point(NamedTuple):
    """Where a rule is asked: what was before, since the last step found, and the next five."""

    series: str
    half: int
    history: list[float]
    level: list[float]
    next: list[float]
    scales: float  # of the step at this point, in noise; 0 if nothing changed


class Rates(NamedTuple):
    """What a rule did at many points."""

    points: int
    at_once: float
    confirmed: float


def null_points(series: Sequence[Labelled], every: int = 1) -> Iterator[Point]:
    """Every run, or every second ..., where nothing changed."""
    for one in series:
        values = [float(v) for v in one.values if v is not None]
        for at in range(HISTORY_MIN, len(values) - CONFIRMING_RUNS + 1, every):
            changed = [*one.steps, *one.unsure]
            if all(at + CONFIRMING_RUNS <= c or at >= c + HISTORY_MIN for c in changed):
                yield _point(one, values, at, 1.0)


def sap_steps(seeds: Sequence[int], shares: tuple[float, float]) -> Iterator[Point]:
    """The real steps, and per seed one step up of such a share in each other series."""
    for one in sap():
        values = [float(v) for v in one.values if v is not None]
        if one.steps:
            at = one.steps[0]
            moved = median(values[at : at + HISTORY_MIN]) / median(values[:at])
            yield _point(one, values, at, 1.0)._replace(
                scales=(moved - 1) * median(values[:at]) / scale(values[:at])
            )
            continue
        for seed in seeds:
            random = Random(f"{one.name}/{seed}")
            at = random.randrange(HISTORY_MIN, len(values) - CONFIRMING_RUNS)
            share = shares[0] * (shares[1] / shares[0]) ** random.random()
            yield _point(one, values, at, 1 + share)


def made_up_steps(series: Sequence[Labelled], share: float) -> Iterator[Point]:
    """One step up of the share, in the middle of each series that has no step of its own."""
    for one in series:
        values = [float(v) for v in one.values if v is not None]
        if not one.steps and not one.unsure and len(values) >= 2 * HISTORY_MIN:
            yield _point(one, values, len(values) // 2, 1 + share)


def _point(one: Labelled, values: list[float], at: int, factor: float) -> Point:
    history = values[max(0, at - LOOKED_BACK) : at]
    level = current_level(history)
    shift = (factor - 1) * abs(median(level))
    after = values[at : at + CONFIRMING_RUNS]
    moved = [v + (factor - 1) * abs(v) for v in after]
    return Point(one.name, one.half, history, level, moved, shift / (scale(level) or 1.0))


def is_visible(point: Point) -> bool:
    """Whether a person who looks at a plot would be sure of the step."""
    return point.scales >= SHIFT_SEEN


def ours(point: Point) -> tuple[list[bool], bool]:
    """The rule of `nilometer.gate.single`."""
    if len(point.level) < CONFIRMING_RUNS:
        return [False] * CONFIRMING_RUNS, False
    bound = bounds(point.level)
    alarms = [run > bound.single for run in point.next]
    return alarms, any(alarms) and bool(confirm(point.level, point.next).alarm)


def by_bound(rule: Rule, *, of_level: bool = False) -> Judge:
    """A rule that is one bound: three of five above it confirm."""

    def judge(point: Point) -> tuple[list[bool], bool]:
        runs = point.level if of_level and len(point.level) >= 10 else point.history
        bound = rule(runs if of_level else runs[-SAMPLE_MAX:])
        alarms = [run > bound for run in point.next]
        return alarms, sum(alarms) >= 3

    return judge


def false_alarms(judge: Judge, points: Sequence[Point]) -> Rates:
    """Of null points: an alarm is false, and confirmed only counts after one."""
    at_once = confirmed = 0
    for point in points:
        alarms, is_confirmed = judge(point)
        at_once += alarms[0]
        confirmed += alarms[0] and is_confirmed
    return Rates(len(points), at_once / len(points), confirmed / len(points))


def detections(judge: Judge, points: Sequence[Point]) -> Rates:
    """Of steps."""
    judged = [judge(point) for point in points]
    return Rates(
        len(points),
        sum(alarms[0] for alarms, _ in judged) / len(points),
        sum(is_confirmed for _, is_confirmed in judged) / len(points),
    )
