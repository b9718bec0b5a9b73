"""How far a counter can be trusted: exact, stable, noisy or excluded, with the evidence.

By the median deviation and not by the coefficient of variation, which one wild run moves. But
a counter that runs wild time and again is demoted, however still it is otherwise: else it would
alarm time and again.
"""

from __future__ import annotations

from enum import Enum
from math import inf, sqrt
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.gate.robust import (
    FLOOR_COUNT,
    FLOOR_SHARE,
    NORMAL_PER_MAD,
    deviation_share_bound,
    median,
)
from nilometer.model.reading import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

RUNS_MIN: Final = 5  # fewer say nothing
EXACT_RUNS_MIN: Final = 20  # identical; fewer are so provisionally
STABLE_SHARE_MAX: Final = 0.01  # a 5 % change is then seen on the first run
NOISY_SHARE_MAX: Final = 0.05
WILD_SCALES: Final = 5.0  # of normal noise one run in two million is so far out
WILD_SHARE_MAX: Final = 0.1
"""Of all runs, or one. A counter that runs wild more often could not alarm: chance explains it
as well, see `joint.RATE_MAX`. Fewer may be changes that were taken back."""
FEW_SHARE_MAX: Final = 0.025
"""Of many runs, or one: what was 14 in all of them and once 16 varies by more than 1 %, and by
too little to be wild; it is as exact as what was once 17. Were it one in ten, unchanged runs of
many counters that are a count or two more at times would alarm twice as often as without it."""


class Stability(Enum):
    """What a counter is good for."""

    EXACT = "exact"  # the same in every run: any change is news
    STABLE = "stable"  # within 1 %: takes part in the gate
    NOISY = "noisy"  # within 5 %: its trend is shown, it never alarms
    EXCLUDED = "excluded"


class Standing(NamedTuple):
    """What is known of one counter. `because` is the evidence for its class.

    `median` and `scale` (in the terms of a standard deviation, with its floor) are what a new
    run is measured by. `share` is how far
    it usually varies / median, `wild` in how many runs it was wild.
    """

    stability: Stability
    runs: int
    median: float
    mad: float
    share: float
    scale: float
    wild: int
    is_provisional: bool
    because: str

    @property
    def is_admitted(self) -> bool:
        """Whether it takes part in the joint statistic."""
        return self.stability in {Stability.EXACT, Stability.STABLE}


def standing(
    values: Sequence[float | None], kind: Kind = Kind.COUNTER, *, is_counted: bool = True
) -> Standing:
    """The class of a series that is on one level; None where it is not known.

    `is_counted`: what was read are whole numbers, so that half a count is no news.
    """
    known = [value for value in values if value is not None]
    runs = len(known)
    if runs < RUNS_MIN:
        middle = float(median(known)) if known else 0.0
        because = f"{runs} runs; {RUNS_MIN} are the least"
        return Standing(Stability.EXCLUDED, runs, middle, 0.0, inf, 0.0, 0, True, because)
    middle = float(median(known))
    deviation, measured, scale = spread_of(known, middle, is_counted=is_counted)
    share = share_of(measured, middle)
    wild = wild_in(known, middle, scale)
    stability, why = _class(known, middle, share, wild, kind)
    is_provisional = stability is Stability.EXACT and runs < EXACT_RUNS_MIN
    facts = f"{runs} runs, median {middle:.6g}, MAD {deviation:.4g}"
    because = f"{facts}: {why}"
    return Standing(
        stability, runs, middle, deviation, share, scale, wild, is_provisional, because
    )


def share_of(deviation: float, middle: float) -> float:
    """A deviation in terms of the level; endless for a counter that is mostly 0."""
    if not deviation:
        return 0.0
    return deviation / abs(middle) if middle else inf


class Spread(NamedTuple):
    """How far values usually lie from their median, in the terms of a standard deviation.

    `measured` is the greater of 1.4826 `mad` (the median deviation) and the standard deviation
    of what is not wild: every third counter has a MAD of 0 and moves by a count all the same.
    `scale` is that with its floor: half a count, where it is counted, and 0.2 % of the median.
    """

    mad: float
    measured: float
    scale: float


def spread_of(values: Iterable[float], middle: float, *, is_counted: bool = True) -> Spread:
    """The spread of values with this median."""
    offs = [abs(value - middle) for value in values]
    deviation = float(median(offs))
    measured = NORMAL_PER_MAD * deviation
    least = floor_at(middle, is_counted=is_counted)
    reach = WILD_SCALES * max(measured, least)
    tame = [off for off in offs if off <= reach]
    greatest = max(tame, default=0.0)
    if len(tame) > 1 and greatest:  # divided by it, as the squares may be more than a float is
        squares = sum([(off / greatest) ** 2 for off in tame])
        measured = max(measured, greatest * sqrt(squares / (len(tame) - 1)))
    return Spread(deviation, measured, max(measured, least))


def floor_at(middle: float, *, is_counted: bool) -> float:
    """The smallest scale that is believed of a counter with this median."""
    return max(FLOOR_SHARE * abs(middle), FLOOR_COUNT if is_counted else 0.0)


def wild_in(values: Sequence[float], middle: float, scale: float, sign: int = 1) -> int:
    """In how many runs the counter was wild, upwards; downwards with a `sign` of -1.

    Each way by itself: a few runs of an improvement make no doubling a thing of chance.

    >>> wild_in([1, 9, 1, 1, -9], 1, 0.5)
    1
    """
    reach = WILD_SCALES * scale
    return sum(sign * (value - middle) > reach for value in values)


def wild_max(runs: int) -> int:
    """In how many of so many runs a counter may be wild that takes part in the gate."""
    return max(1, int(WILD_SHARE_MAX * runs))


def is_admitted_by(values: Sequence[float], middle: float, measured: float) -> bool:
    """Whether values that vary by so much, with this median, can take part in the gate."""
    return measured <= STABLE_SHARE_MAX * abs(middle) or is_same_but_few(values, middle)


def is_same_but_few(values: Sequence[float], middle: float) -> bool:
    """Whether many runs agree, but for one in forty.

    >>> is_same_but_few([14] * 19 + [16], 14), is_same_but_few([14] * 18 + [13, 16], 14)
    (True, False)
    """
    runs = len(values)
    return runs >= EXACT_RUNS_MIN and _away(values, middle) <= _few_max(runs)


def _few_max(runs: int) -> int:
    return max(1, int(FEW_SHARE_MAX * runs))


def _away(values: Sequence[float], middle: float) -> int:
    return sum(value != middle for value in values)


def _class(
    known: Sequence[float], middle: float, share: float, wild: int, kind: Kind
) -> tuple[Stability, str]:
    runs = len(known)
    varies = (
        f"it varies by {share:.2%}" if share < inf else "it is mostly 0, and moves at times"
    )
    if kind is Kind.GAUGE:
        still = share <= NOISY_SHARE_MAX
        why = f"{varies}; a gauge says where it stands, not what was done"
        return (Stability.NOISY if still else Stability.EXCLUDED), why
    if not middle:
        moves = min(known) < 0 or max(known) > 0
        why = "it is mostly 0, and moves at times" if moves else "it never moved"
        return Stability.EXCLUDED, why
    if min(known) == max(known):
        evidence = f"at most {deviation_share_bound(runs):.1%} of runs differ"
        if runs < EXACT_RUNS_MIN:
            evidence += f"; exact for good from {EXACT_RUNS_MIN} runs"
        return Stability.EXACT, f"the same in every run ({evidence})"
    if share > STABLE_SHARE_MAX and is_same_but_few(known, middle):
        away = _away(known, middle)
        more = _few_max(runs) + 1 - away
        why = f"the same in all but {away}; it is demoted if it differs in {more} more"
        return Stability.STABLE, why
    if share > NOISY_SHARE_MAX:
        return Stability.EXCLUDED, f"{varies}; {NOISY_SHARE_MAX:.0%} is the most for a trend"
    if share > STABLE_SHARE_MAX:
        return Stability.NOISY, f"{varies}; {STABLE_SHARE_MAX:.0%} is the most for the gate"
    if wild > wild_max(runs):
        return Stability.NOISY, f"{varies}, but was wild in {wild} runs: demoted"
    if wild:
        more = wild_max(runs) + 1 - wild
        why = f"{varies}; it was wild in {wild}, and is demoted if it is in {more} more"
        return Stability.STABLE, why
    return Stability.STABLE, varies
