"""Where a series stands now: its earlier levels moved onto the current one.

A level ends where somebody accepted a step, or where one is found that lasted. What came before
is not thrown away: moved by the difference of the medians it still tells how much the counter
varies, so that an accepted change does not blind the gate for twenty runs.

A step up that alarms is different: it is *held* until somebody accepts it, or it is gone. Its
runs are moved onto the level before it, by which runs go on being judged; else whoever retries
a build often enough would have made the new level the old one.
"""

from __future__ import annotations

from itertools import pairwise
from math import sqrt
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.gate.lasting import HELD_SCALES_MIN, Held, Known, Levels
from nilometer.gate.robust import NORMAL_PER_MAD, are_counts, median
from nilometer.gate.segments import noise_of
from nilometer.gate.stability import NOISY_SHARE_MAX
from nilometer.gate.steps import POINTS_MIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.gate.history import Key
    from nilometer.gate.steps import Step
    from nilometer.model.run import Accepted, Run


class Baseline(NamedTuple):
    """A series on the level that runs are judged by.

    `runs` is how many known values that level itself has; `steps` are those that were found and
    that nobody accepted; `held` is the one of them that is an alarm until somebody does.
    `known` is where else it was, and is no news.
    """

    values: tuple[float | None, ...]
    runs: int = 0
    steps: tuple[Step, ...] = ()
    held: Held | None = None
    level: float = 0.0
    known: Known = Known()

    @property
    def doubt(self) -> float:
        """What a deviation from a level of so few runs is divided by, to be worth a known one.

        The median of k values is itself off by about 1/sqrt(k) of their deviation; with many
        there is no doubt.
        """
        return sqrt(1 + 1 / self.runs) if 0 < self.runs < DOUBTFUL_RUNS else 1.0


DOUBTFUL_RUNS: Final = 5  # the fewest from which a level is told at all


def baseline(values: Sequence[float | None], accepted: Sequence[int] = ()) -> Baseline:
    """A series of earlier runs on its current level; `accepted` are the runs of its steps.

    >>> baseline([5, 5, 5, 8, 8], [3]).values
    (8.0, 8.0, 8.0, 8.0, 8.0)
    """
    known = [(at, float(value)) for at, value in enumerate(values) if value is not None]
    if not known:
        return Baseline(tuple(values))
    is_counted = are_counts(value for _, value in known)
    levels = Levels(is_counted=is_counted, is_steady=_is_steady([v for _, v in known]))
    ends = _begins(values, sorted({at for at in accepted if 0 < at < len(values)}))
    for start, stop in pairwise([0, *ends, len(values)]):
        own = [one for one in known if start <= one[0] < stop]
        if start and own:
            shown = sum(at <= ends[start] for at, _ in own) or 1
            near = _near([value for _, value in known])
            levels.accept(own[shown - 1][1], own[:shown], near=near)
            own = own[shown:]
        for at, value in own:
            levels.add(at, value)
    offs = levels.off_level()
    moved = (
        None if value is None else levels.level + offs[at] for at, value in enumerate(values)
    )
    if is_counted:
        moved = (None if value is None else float(round(value)) for value in moved)
    places = [at for at, _ in known]
    return Baseline(
        tuple(moved), levels.runs, levels.steps(places), levels.held, levels.level, levels.known
    )


def _begins(values: Sequence[float | None], accepted: Sequence[int]) -> dict[int, int]:
    """Where each accepted level began, with the run by which it was accepted.

    People accept an alarm that was retried, by its latest run. So the runs just before that one
    are of its level if they are no further from it than noise is, or nearer to it than to the
    last ones of another level.
    """
    found: dict[int, int] = {}
    if not accepted:
        return found
    known = [value for value in values if value is not None]
    near = _near(known)
    for last, at in pairwise([0, *accepted]):
        begin, shown = at, values[at]
        for place in range(at - 1, last, -1):
            value = values[place]
            if shown is None:
                break
            if value is None:
                continue
            if _is_off(value - shown, near):
                others = [v for v in values[last:place] if v is not None]
                others = [v for v in others if _is_off(v - shown, near)][-DOUBTFUL_RUNS:]
                if not others or abs(value - shown) >= abs(value - median(others)):
                    break
            begin = place
        found[begin] = at
    return found


def _is_off(by: float, near: float) -> bool:
    """Whether it is further off than noise is; what is as far as what alarms is."""
    return by != 0 and abs(by) >= near


def _near(known: Sequence[float]) -> float:
    """How far values are from each other by noise alone; 0 where too few are known to say."""
    return HELD_SCALES_MIN * noise_of(known).scale if len(known) >= POINTS_MIN else 0.0


def _is_steady(known: Sequence[float]) -> bool:
    """Whether its neighbours are alike enough, so that levels of it matter to anybody."""
    moves = [abs(after - before) for before, after in pairwise(known)]
    if not moves:
        return True
    return NORMAL_PER_MAD * median(moves) <= sqrt(2) * NOISY_SHARE_MAX * abs(median(known))


def accepted_at(
    key: Key, runs: Sequence[Run], accepted: Sequence[Accepted], known: Sequence[Run]
) -> list[int]:
    """From which of `runs` on a level of this counter was accepted; their number is beyond all.

    An accepted run that is none of `runs` counts from the first run after it; `known` are all
    runs that it may be one of, in their order. One that is nowhere counts from when it was
    accepted.
    """
    found = set()
    places = {run.id: at for at, run in enumerate(runs)}
    order = {run.id: at for at, run in enumerate(known)}
    for one in accepted:
        if one.counters and str(key) not in one.counters:
            continue
        if one.run_id in places:
            found.add(places[one.run_id])
            continue
        accepted_run = order.get(one.run_id)
        after = (
            at
            for at, run in enumerate(runs)
            if (
                run.started_ns >= one.at_ns
                if accepted_run is None
                else order.get(run.id, -1) > accepted_run
            )
        )
        found.add(next(after, len(runs)))
    return sorted(found)
