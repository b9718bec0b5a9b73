"""Where a series stands now: its earlier levels moved onto the current one.

A level ends where somebody accepted a step, or where one is found that lasted. What came before
is not thrown away: moved by the difference of the medians it still tells how much the counter
varies, so that an accepted change does not blind the gate for twenty runs.
"""

from __future__ import annotations

from itertools import pairwise
from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

from nilometer.gate.robust import NORMAL_PER_MAD, are_counts, median
from nilometer.gate.stability import NOISY_SHARE_MAX
from nilometer.gate.steps import steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.gate.history import Key
    from nilometer.gate.steps import Step
    from nilometer.model.run import Accepted, Run


class Baseline(NamedTuple):
    """A series on its current level.

    `since` is the first run of that level, `runs` how many known values it has; `steps` are
    those that were found and that nobody accepted.
    """

    values: tuple[float | None, ...]
    since: int = 0
    runs: int = 0
    steps: tuple[Step, ...] = ()

    @property
    def doubt(self) -> float:
        """What a deviation from a level of so few runs is divided by, to be worth a known one.

        The median of k values is itself off by about 1/sqrt(k) of their deviation; with many
        there is no doubt.
        """
        return sqrt(1 + 1 / self.runs) if 0 < self.runs < DOUBTFUL_RUNS else 1.0


DOUBTFUL_RUNS = 5  # the fewest from which a level is told at all
ACCEPT_NEAR_RUNS = 3  # a found step so near an accepted one is the same


def baseline(values: Sequence[float | None], accepted: Sequence[int] = ()) -> Baseline:
    """A series of earlier runs on its current level; `accepted` are the runs of its steps.

    >>> baseline([5, 5, 5, 8, 8], [3]).values
    (8.0, 8.0, 8.0, 8.0, 8.0)
    """
    known = {value for value in values if value is not None}
    found = steps(values) if len(known) > 1 and _may_gate(values) else ()
    whole = are_counts(known)
    told = tuple(
        step
        for step in found
        if all(abs(step.index - at) > ACCEPT_NEAR_RUNS for at in accepted)
    )
    cuts = sorted({at for at in accepted if 0 < at < len(values)} | {s.index for s in told})
    borders = [0, *cuts, len(values)]
    levels = [_level(values[start:stop]) for start, stop in pairwise(borders)]
    current = next((level for level in reversed(levels) if level is not None), None)
    moved: list[float | None] = []
    for level, start, stop in zip(levels, borders, borders[1:], strict=False):
        shift = 0.0 if level is None or current is None else current - level
        shift = float(round(shift)) if whole else shift  # counts stay counts
        moved += [None if v is None else float(v) + shift for v in values[start:stop]]
    since = borders[-2]
    runs = sum(value is not None for value in values[since:])
    return Baseline(tuple(moved), since, runs, told)


def _may_gate(values: Sequence[float | None]) -> bool:
    """Whether its neighbours are alike enough, so that steps of it matter to anybody."""
    known = [value for value in values if value is not None]
    moves = [abs(after - before) for before, after in pairwise(known)]
    return NORMAL_PER_MAD * median(moves) <= sqrt(2) * NOISY_SHARE_MAX * abs(median(known))


def _level(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(median(known)) if known else None


def accepted_at(
    key: Key, runs: Sequence[Run], accepted: Sequence[Accepted], known: Sequence[Run]
) -> list[int]:
    """From which of `runs` on a level of this counter was accepted; their number is beyond all.

    An accepted run that is none of `runs` counts from the first run after it; `known` are all
    runs that it may be one of. One that is nowhere counts from when it was accepted.
    """
    found = set()
    places = {run.id: at for at, run in enumerate(runs)}
    moments = {run.id: run.started_ns for run in known}
    for one in accepted:
        if one.counters and str(key) not in one.counters:
            continue
        if one.run_id in places:
            found.add(places[one.run_id])
            continue
        moment = moments.get(one.run_id, one.at_ns)
        found.add(
            next((i for i, run in enumerate(runs) if run.started_ns >= moment), len(runs))
        )
    return sorted(found)
