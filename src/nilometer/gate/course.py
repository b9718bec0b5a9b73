"""One counter over all runs: its values, its levels, where these moved, what was accepted."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from nilometer.gate.history import unusable, why_unknown
from nilometer.gate.robust import median

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.gate.history import Series
    from nilometer.gate.rank import Predictor, Seen
    from nilometer.gate.steps import Step
    from nilometer.model.run import Accepted, Run


class Point(NamedTuple):
    """The counter in one run; `because` says why its value is None.

    Values are per unit of work, in the work of the latest run, so that they stay counts.
    """

    run: Run
    value: float | None
    because: str = ""


class Stretch(NamedTuple):
    """Runs on one level: those from place `start` to before `stop`."""

    start: int
    stop: int
    level: float


@dataclass(frozen=True, slots=True)
class Course:
    """A counter over the runs that can be compared with the latest usable one, oldest first.

    Nobody accepted its `steps`; `held` is the place of the one that alarms until somebody does.
    `accepted` are the places from which on a level was accepted, and what is recorded of it.
    """

    predictor: Predictor
    points: tuple[Point, ...]
    stretches: tuple[Stretch, ...]
    steps: tuple[Step, ...]
    held: int | None
    accepted: tuple[tuple[int, Accepted], ...]


def course_of(seen: Seen, name: str, accepted: Sequence[Accepted]) -> Course | None:
    """The course of the counter of that name (``mysql:Com_select``); None if there is none."""
    found = next(((one, why) for one, why in seen.every() if str(one.key) == name), None)
    if found is None:
        return None
    one, because = found
    whole = seen.matrix.whole(one)
    cuts = set(seen.matrix.accepted_places(one.key)) | {step.index for step in whole.steps}
    return Course(
        seen.predictor(one, because),
        tuple(_points(seen, one)),
        tuple(_stretches(one.values, sorted(cuts))),
        whole.steps,
        None if whole.held is None else whole.held.start,
        tuple(_accepted_of(seen, name, accepted)),
    )


def _points(seen: Seen, one: Series) -> list[Point]:
    points, latest = [], None
    for at, (run, value) in enumerate(zip(seen.matrix.runs, one.values, strict=True)):
        if value is None:
            why = unusable(run) or seen.matrix.why_without(one.key, at)
            why = why or why_unknown(run, one.key, latest)
            points.append(Point(run, None, why))
        else:
            points.append(Point(run, value))
            latest = run
    return points


def _stretches(values: Sequence[float | None], cuts: Sequence[int]) -> list[Stretch]:
    within = [at for at in cuts if 0 < at < len(values)]
    found = []
    for start, stop in pairwise([0, *within, len(values)]):
        known = [value for value in values[start:stop] if value is not None]
        if known:
            found.append(Stretch(start, stop, float(median(known))))
    return found


def _accepted_of(
    seen: Seen, name: str, accepted: Sequence[Accepted]
) -> list[tuple[int, Accepted]]:
    """What was accepted of this counter from one of these runs on."""
    places = {run.id: at for at, run in enumerate(seen.matrix.runs)}
    return [
        (places[one.run_id], one)
        for one in accepted
        if one.run_id in places and (not one.counters or name in one.counters)
    ]
