"""Where a series stands now: its earlier levels moved onto the current one.

A level ends where somebody accepted a step, or where one is found that lasted. What came before
is not thrown away: moved by the difference of the medians it still tells how much the counter
varies, so that an accepted change does not blind the gate for twenty runs.

A step up that alarms is different: it is *held* until somebody accepts it, or it is gone. Its
runs are moved onto the level before it, by which runs go on being judged; else whoever retries
a build often enough would have made the new level the old one.
"""

from __future__ import annotations

from bisect import insort
from itertools import pairwise
from math import sqrt
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.gate.lasting import HELD_SCALES_MIN, NEAR_RUNS, lasting_steps
from nilometer.gate.robust import NORMAL_PER_MAD, are_counts, median
from nilometer.gate.segments import noise_of
from nilometer.gate.stability import NOISY_SHARE_MAX, spread_of
from nilometer.gate.steps import POINTS_MIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.gate.history import Key
    from nilometer.gate.steps import Step
    from nilometer.model.run import Accepted, Run


class Held(NamedTuple):
    """A lasting step up that nobody accepted: from which place on, and the level it led to."""

    start: int
    level: float


class Baseline(NamedTuple):
    """A series on the level that runs are judged by.

    `runs` is how many known values that level itself has; `steps` are those that were found and
    that nobody accepted; `held` is the one of them that is an alarm until somebody does.
    """

    values: tuple[float | None, ...]
    runs: int = 0
    steps: tuple[Step, ...] = ()
    held: Held | None = None

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
    known = {value for value in values if value is not None}
    found = lasting_steps(values) if len(known) > 1 and _may_gate(values) else ()
    ends = _begins(values, sorted({at for at in accepted if 0 < at < len(values)}))
    levels = _Levels(whole=are_counts(known))
    told: list[Step] = []
    for start, stop in pairwise([0, *ends, len(values)]):
        own, shown = values[start:stop], ends.get(start, start) - start
        told = [
            step
            for step in found
            if start < step.index < stop
            and all(abs(step.index - at) > NEAR_RUNS for at in (*ends, *accepted))
        ]
        if start and len(known) > 1:
            told = levels.steps_after_accepting(own, shown, start)
        cuts = [start, *(step.index for step in told), stop]
        for begin, end in pairwise(cuts):
            if begin == start and start:
                levels.accept(values[begin:end], shown)
            else:
                levels.add(values[begin:end], begin)
    return Baseline(levels.moved(), levels.runs, tuple(told), levels.held)


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
    near = HELD_SCALES_MIN * noise_of(known).scale if len(known) >= POINTS_MIN else 0.0
    for last, at in pairwise([0, *accepted]):
        begin, shown = at, values[at]
        for place in range(at - 1, last, -1):
            value = values[place]
            if shown is None:
                break
            if value is None:
                continue
            if abs(value - shown) > near:
                others = [v for v in values[last:place] if v is not None]
                others = [v for v in others if abs(v - shown) > near][-DOUBTFUL_RUNS:]
                if not others or abs(value - shown) >= abs(value - median(others)):
                    break
            begin = place
        found[begin] = at
    return found


class _Levels:
    """The levels of a series, one after the other, and the one that runs are judged by."""

    def __init__(self, *, whole: bool) -> None:
        self.held: Held | None = None
        self.runs = 0
        self._whole = whole
        self._level: float | None = None
        self._pieces: list[tuple[Sequence[float | None], float | None]] = []

    def accept(self, values: Sequence[float | None], shown: int) -> None:
        """The next level, which somebody accepted as the run at the place `shown` has it.

        Those of which each alarms by that one and the others before it are of another, which
        nobody accepted.
        """
        of_it = self._alike(values, shown)
        self.held = None
        if of_it:  # else it is a level that no run has shown yet
            self._level = float(median(of_it))
            self.runs = len(of_it)
        self._pieces.append((values, self._level if of_it else None))

    def steps_after_accepting(
        self, values: Sequence[float | None], shown: int, start: int
    ) -> list[Step]:
        """The steps after the run at the place `shown` of these, which begin at `start`.

        Looked for where the accepted step is taken out: else one close behind it is taken for
        a part of it.
        """
        so_far = [value for value in values[: shown + 1] if value is not None]
        level = _level(so_far or values)
        shift = 0.0 if self._level is None or level is None else level - self._level
        before = [None if v is None else v + shift for v in self.moved()]
        found = lasting_steps([*before, *values])
        return [step for step in found if step.index > start + shown]

    def _alike(self, values: Sequence[float | None], shown: int) -> list[float]:
        """The known ones among these that do not alarm by `shown` and those of them before."""
        known = [
            v for v in (values[shown], *values[:shown], *values[shown + 1 :]) if v is not None
        ]
        if not known:
            return []
        first = float(known[0])
        shift = 0.0 if self._level is None else first - self._level
        earlier = [value + shift for value in self.moved() if value is not None] or [first]
        scale = self._scale(earlier, first)
        found: list[float] = []  # in order, for its median
        for value in known:
            if not found or not _is_above(value, median(found), scale):
                insort(found, float(value))
        return found

    def add(self, values: Sequence[float | None], start: int) -> None:
        """The next level, from `start` on, which nobody accepted."""
        own = _level(values)
        if own is None:
            self._pieces.append((values, own))
        elif self._level is None or not self._is_alarm(own):
            self._reach(values)
        else:
            since = start if self.held is None else self.held.start
            self.held = Held(since, own)
            self._pieces.append((values, own))

    def _reach(self, values: Sequence[float | None]) -> None:
        """Runs whose level is that by which others are judged from now on."""
        self.held, self._level = None, _level(values)
        self.runs = sum(value is not None for value in values)
        self._pieces.append((values, self._level))

    def _is_alarm(self, level: float) -> bool:
        """Whether runs of this level alarm by those before it."""
        assert self._level is not None
        known = [value for value in self.moved() if value is not None]
        return _is_above(level, self._level, self._scale(known, self._level))

    def _scale(self, values: Sequence[float], level: float) -> float:
        return spread_of(values, level, is_counted=self._whole).scale

    def moved(self) -> tuple[float | None, ...]:
        """All values so far, on that level; counts stay counts."""
        found: list[float | None] = []
        for values, own in self._pieces:
            shift = 0.0 if own is None or self._level is None else self._level - own
            shift = float(round(shift)) if self._whole else shift
            found += [None if v is None else float(v) + shift for v in values]
        return tuple(found)


def _is_above(value: float, level: float, scale: float) -> bool:
    """Whether that is an alarm."""
    return value > level and value - level >= HELD_SCALES_MIN * scale


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
