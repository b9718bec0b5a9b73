"""The steps of a series that runs are judged by: those of all of it, and what they hide.

What costs less than it did is the level by which the next run is judged, however many of those
after it cost more. With them it looks like an excursion, or like a level between the two: so
the series is asked as it was each time that something cost more again, too. And what costs more
than all before is no noise of theirs, whatever lay between.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from nilometer.gate.robust import median
from nilometer.gate.segments import noise_of
from nilometer.gate.steps import (
    EXCURSION_RUNS,
    POINTS_MIN,
    SEPARATION_MIN,
    SIDE_RUNS_MAX,
    SIDE_RUNS_MIN,
    Step,
    steps,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

NEAR_RUNS: Final = 3  # a found step so near an accepted one, or another one found, is the same

HELD_SCALES_MIN: Final = 4.0
"""That is `joint.SCALES_MIN`: smaller steps alarmed nobody, and are followed and told."""

# A report judges each run by those before it, and so asks for the same again and again.
_steps = lru_cache(maxsize=4096)(steps)


def lasting_steps(values: Sequence[float | None]) -> list[Step]:
    """The steps of a series, those down that later runs hide, and those up that lasted.

    None is a gap. Of two steps near each other it is the one to the lower level.
    """
    found = list(_steps(tuple(values)))
    kept = [at for at, value in enumerate(values) if value is not None]
    known = [value for value in values if value is not None]
    if len(known) < POINTS_MIN:
        return found
    apart = HELD_SCALES_MIN * noise_of(known).scale
    rises = [at for at in range(SIDE_RUNS_MIN, len(known)) if _rises(known, at, apart)]
    hidden: list[Step] = []
    for at in rises:
        lower = _hidden(_steps(tuple(values[: kept[at]])), [*found, *hidden], apart)
        for step in lower:
            found = [one for one in found if not _are_near(one.index, step.index)]
            hidden = [one for one in hidden if not _are_near(one.index, step.index)]
        hidden += lower
    found += hidden
    for at in rises:
        if any(_are_near(one.index, kept[at]) and one.after > one.before for one in found):
            continue
        starts = (
            bisect_left(kept, one.index)
            for one in found
            if one in hidden or one.index + EXCURSION_RUNS <= kept[at]
        )
        start = max((start for start in starts if start < at), default=0)
        is_short = any(bisect_left(kept, one.index) == start for one in hidden)
        if len(known) - at >= (NEAR_RUNS if is_short else EXCURSION_RUNS):  # else it is pending
            found += _step_up(known[start:at][-SIDE_RUNS_MAX:], known[at:], kept[at], apart)
    return sorted(found, key=lambda step: step.index)


def _rises(known: Sequence[float], at: int, apart: float) -> bool:
    """Whether a run costs so much more than those just before it."""
    return known[at] - median(known[at - SIDE_RUNS_MIN : at]) >= apart


def _are_near(one: int, other: int) -> bool:
    return abs(one - other) <= NEAR_RUNS


def _hidden(before: Sequence[Step], found: Sequence[Step], apart: float) -> list[Step]:
    """The steps down that were found before, and now not, or to a level so much higher."""
    return [
        step
        for step in before
        if step.after < step.before
        and all(
            one.after >= step.after + apart for one in found if _are_near(one.index, step.index)
        )
    ]


def _step_up(
    before: Sequence[float], after: Sequence[float], index: int, apart: float
) -> list[Step]:
    """The step between these, if there is one that lasted until now."""
    low, high = float(median(before)), float(median(after))
    if before[-1] - low >= apart:  # it begins with the first of its runs, or is not known
        return []
    most = sorted(after)[int((1 - SEPARATION_MIN) * len(after))]
    if min(most, *after[:NEAR_RUNS]) - low < apart:  # all of the first: it begins with them
        return []
    share = f" ({(high - low) / abs(low):+.1%})" if low else ""
    moved = f"the level moved from {low:.6g} to {high:.6g}{share}"
    because = f"{moved} and stayed for {len(after)} runs"
    return [Step(index, because, low, high)]
