"""One new run beside the runs of its level: is it an alarm, and do repeated runs confirm it?

The first answer is cheap and sensitive, and only says that the run should be repeated. The
second wants five runs, and asks several questions at once, as one bound cannot serve them all:
do three of the five exceed what history hardly ever exceeds; do four exceed what it seldom
does; do all five exceed what it does now and then; is their mean, without what is wild in it,
more than five runs in a row ever had? Runs that spike, or jump between two levels, say yes to
none of them, while a small shift of all runs says yes to the last.
"""

from __future__ import annotations

from math import inf, isfinite, sqrt
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.gate.robust import NORMAL_PER_MAD, mad, median, scale, tolerance_factor
from nilometer.gate.steps import steps

if TYPE_CHECKING:
    from collections.abc import Sequence

LEVEL_RUNS_MIN: Final = 5  # with fewer there is no bound, and the answer is unknown
HISTORY_RUNS_MAX: Final = 250  # older runs are of another time
CONFIRMING_RUNS: Final = 5
# The share of history that may lie above each bound. If p of all runs do, j of 5 do by chance
# in C(5, j) p^j of all cases: 10 * 0.026^3, 5 * 0.076^4 and 0.176^5 are 0.00017 each, and the
# sum is 0.05 %.
VOTES: Final = {3: 0.026, 4: 0.076, 5: 0.176}
# Scales above the median that each bound is at least, where history is short. Less for more
# votes; chosen on half of the data, where half a scale more or less changed little.
VOTE_SCALES: Final = {3: 2.75, 4: 2.25, 5: 1.75}
# The mean of five runs: a run further from the level than `CLIP` scales is taken as that far.
CLIP: Final = 2.5
MEAN_SCALES: Final = 3.5  # of the means of five in a row, above their median
MEAN_SHARE: Final = 0.01  # of those of history that may lie above
MEAN_RUNS_MIN: Final = 10  # of history, for its means of five to say something
# The first answer only asks for repetitions, so it may ask often: one unchanged run in 17 here.
SINGLE_SHARE: Final = 0.15  # of history that may lie above its bound
SINGLE_SCALES_MIN: Final = 2.5  # scales above the median; more while history is short
CERTAIN: Final = 3.0  # the factor from which on the scale is not uncertain any more


class Bounds(NamedTuple):
    """What the runs of one level explain, upward; `bounds` says how it is found."""

    level: float  # the median of the runs
    scale: float  # how far they usually lie from it
    runs: int
    single: float  # one run above this is an alarm
    votes: dict[int, float]  # so many of five runs above that bound confirm it
    mean: float  # and so does the mean of five above this, see `clipped_mean`


class Judgement(NamedTuple):
    """Alarm or not, with the reason; None where there are too few runs to say."""

    alarm: bool | None
    because: str


def current_level(history: Sequence[float | None]) -> list[float]:
    """The newest runs of a history, back to its last step, without gaps."""
    kept = [v for v in history if v is not None and isfinite(v)][-HISTORY_RUNS_MAX:]
    found = steps(kept)
    return kept[found[-1].index :] if found else kept


def bounds(level: Sequence[float]) -> Bounds:
    """The bounds of five or more runs of one level, in which no step lies.

    The greater of two, each: the median and so many scales; and what but a few runs of history
    lie below. The first serves while history is short, the second where noise is not normal.

    Raises ValueError for fewer runs.
    """
    runs = len(level)
    if runs < LEVEL_RUNS_MIN:
        msg = f"{runs} runs have no bound; at least {LEVEL_RUNS_MIN} are needed"
        raise ValueError(msg)
    ordered = sorted(level)
    middle, noise = median(ordered), scale(ordered)
    # Of few runs the scale itself is uncertain; from 35 runs on this is 1.
    caution = max(1.0, tolerance_factor(runs) / CERTAIN)

    def bound(scales: float, share: float) -> float:
        exceeded = ordered[-max(1, int(share * runs))]
        return max(middle + scales * caution * noise, exceeded)

    return Bounds(
        middle,
        noise,
        runs,
        bound(SINGLE_SCALES_MIN, SINGLE_SHARE),
        {votes: bound(VOTE_SCALES[votes], share) for votes, share in VOTES.items()},
        _mean_bound(level, middle, noise, caution),
    )


def _mean_bound(level: Sequence[float], middle: float, noise: float, caution: float) -> float:
    """What the mean of five runs stays below; neighbours may be alike, so five in a row."""
    if len(level) < MEAN_RUNS_MIN:
        return inf
    starts = range(len(level) - CONFIRMING_RUNS + 1)
    means = sorted(
        clipped_mean(level[at : at + CONFIRMING_RUNS], middle, noise) for at in starts
    )
    centre = median(means)
    wide = max(NORMAL_PER_MAD * mad(means, centre), noise / sqrt(CONFIRMING_RUNS))
    exceeded = means[-max(1, int(MEAN_SHARE * len(means)))]
    return max(centre + MEAN_SCALES * caution * wide, exceeded)


def clipped_mean(runs: Sequence[float], level: float, noise: float) -> float:
    """The mean of runs, none of which counts as further from the level than `CLIP` scales.

    >>> clipped_mean([100, 101, 102, 103, 9000], level=100, noise=2)
    102.2
    """
    least, most = level - CLIP * noise, level + CLIP * noise
    return sum(min(most, max(least, run)) for run in runs) / len(runs)


def judge(level: Sequence[float], value: float) -> Judgement:
    """Whether one more run is an alarm: a reason to repeat it, not to wake anyone.

    `level` is the history as `current_level` gives it. Only what is more is an alarm; to look
    for less, turn the signs of both.

    >>> judge([100, 101, 99, 100, 100, 101, 99, 100], 107)
    Judgement(alarm=True, because='107 is above 102.69, which 8 runs around 100 explain')
    """
    if unknown := _unknown(level, [value]):
        return unknown
    bound = bounds(level)
    alarm = value > bound.single
    return Judgement(
        alarm,
        f"{value:.6g} is {'above' if alarm else 'at most'} {bound.single:.6g}, which "
        f"{bound.runs} runs around {bound.level:.6g} explain",
    )


def confirm(level: Sequence[float], runs: Sequence[float]) -> Judgement:
    """Whether five runs, of which one was an alarm, confirm it.

    The five are the alarm and its repetitions, or the next runs in its place. Raises
    ValueError if there are not five.
    """
    if len(runs) != CONFIRMING_RUNS:
        msg = f"{len(runs)} runs; an alarm is confirmed or not by {CONFIRMING_RUNS}"
        raise ValueError(msg)
    if unknown := _unknown(level, runs):
        return unknown
    bound = bounds(level)
    explained = f"{bound.runs} runs around {bound.level:.6g} explain"
    said = []
    for votes, least in bound.votes.items():
        above = sum(run > least for run in runs)
        said.append(f"{above} above {least:.6g} (enough: {votes})")
        if above >= votes:
            because = f"{above} of 5 runs are above {least:.6g}, which {explained}"
            return Judgement(True, f"{because}; {votes} would have been enough")
    mean = clipped_mean(runs, bound.level, bound.scale)
    said.append(f"mean {mean:.6g} of at most {bound.mean:.6g}")
    if mean > bound.mean:
        because = (
            f"the mean of 5 runs, {mean:.6g}, is above {bound.mean:.6g}, which five in a row"
        )
        return Judgement(True, f"{because} of {explained}")
    return Judgement(False, f"of 5 runs {', '.join(said)}: {explained} them")


def _unknown(level: Sequence[float], runs: Sequence[float]) -> Judgement | None:
    if not all(map(isfinite, runs)):
        return Judgement(None, "a run has no number")
    if len(level) < LEVEL_RUNS_MIN:
        return Judgement(
            None,
            f"only {len(level)} runs on this level; a bound needs {LEVEL_RUNS_MIN} or more",
        )
    return None
