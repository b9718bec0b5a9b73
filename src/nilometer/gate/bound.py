"""The largest value of one counter that its history explains, and why: for people to look at.

It takes no part in the verdict: fifty bounds of 99 % each would be broken by every third run.
`joint` judges all counters at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.gate.robust import deviation_share_bound, runs_needed, tolerance_factor
from nilometer.gate.stability import Stability

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.gate.stability import Standing

COVERAGE: Final = 0.95
COVERAGE_LONG: Final = 0.99  # once there are runs enough for it
NORMAL_COVERAGE: Final = 0.99  # normal noise allows more than order alone


class Bound(NamedTuple):
    """The largest value that history explains."""

    upper: float
    because: str


def bound(standing: Standing, values: Sequence[float | None]) -> Bound | None:
    """The bound of a counter with that standing; None for those that do not gate.

    `values` are those that the standing is of.
    """
    if not standing.is_admitted:
        return None
    runs = standing.runs
    if standing.stability is Stability.EXACT:
        share = deviation_share_bound(runs)
        return Bound(standing.median, f"the same in {runs} runs: {1 - share:.1%} of runs are")
    ordered = sorted(value for value in values if value is not None)
    if runs < runs_needed(COVERAGE):
        factor = tolerance_factor(runs, coverage=NORMAL_COVERAGE)
        because = (
            f"median {standing.median:.6g} + {factor:.2f} deviations of {standing.scale:.4g}: "
            f"{NORMAL_COVERAGE:.0%} of runs, if the noise is normal"
        )
        return Bound(standing.median + factor * standing.scale, because)
    if runs >= runs_needed(COVERAGE_LONG):
        return Bound(ordered[-1], f"the largest of {runs} runs: {COVERAGE_LONG:.0%} of runs")
    if runs >= runs_needed(COVERAGE, rank=2):
        because = f"the second largest of {runs} runs: {COVERAGE:.0%} of runs"
        return Bound(ordered[-2], because)
    return Bound(ordered[-1], f"the largest of {runs} runs: {COVERAGE:.0%} of runs")
