"""One statistic per run over all counters, judged by what it was in every earlier run.

Fifty bounds of 98 % each are broken by four runs in five that changed nothing. So each run has
one number: the largest deviation of any admitted counter, upwards, in the scales of that
counter as the *other* runs show them (after Westfall and Young, "Resampling-Based Multiple
Testing", 1993: their maxT, with leave-one-out in the place of resampling). The new run and
every earlier one are treated alike. Hence, if nothing changed, the new one is the largest of
n + 1 with a probability of 1/(n + 1), however many counters there are and however they depend
on each other.

History has runs that were wild without a reason, or for one that was taken back. They must
not blind the gate to every smaller change; but each makes chance a better explanation of the
next one. So they are set aside, and counted: with w of them at least as far out, the rate that
is told is (1 + w)/(n + 1), and above `RATE_MAX` there is no alarm.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import cached_property
from math import copysign, inf, log, sqrt
from operator import itemgetter, sub
from statistics import NormalDist
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.gate.robust import NORMAL_PER_MAD, median
from nilometer.gate.stability import (
    RUNS_MIN,
    STABLE_SHARE_MAX,
    WILD_SCALES,
    floor_at,
    is_admitted_by,
    spread_of,
    wild_in,
    wild_max,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nilometer.gate.history import Key

SCALES_MIN: Final = 4.0
"""Less is no news even if it never happened before: 0.8 % of a counter that is exact."""

RATE_MAX: Final = 0.1
"""An alarm that is confirmed by a second, independent measurement is then false in 1 %."""

LISTED_RATE: Final = 0.05
"""Of the counters that are listed as moved, so many are not, on average."""

JOINT_RUNS_MAX: Final = 120
"""The latest: 1/(n + 1) is then below 1 %, and 200 counters take less than a second."""

ROUNDED: Final = 1 + 2.0**-40
"""By so much a limit of what is worked out in floats is raised: some thousand roundings."""

_NORMAL: Final = NormalDist()


class Column(NamedTuple):
    """A counter that takes part: its values in the earlier runs on its current level, and now.

    `doubt` is what a deviation of the new value is divided by, for a level of a few runs.
    `elsewhere` is how many earlier runs were as high on levels that the counter left by itself.
    """

    key: Key
    values: Sequence[float | None]
    now: float
    is_counted: bool = True
    doubt: float = 1.0
    elsewhere: int = 0


class Moved(NamedTuple):
    """How far a counter lies from what the earlier runs show, in their scales."""

    key: Key
    scales: float
    chance: float  # that noise alone gets so far, of this one counter
    elsewhere: int = 0  # how many runs were as high on levels that it left by itself


class Joint(NamedTuple):
    """What the joint statistic says of a run.

    `statistic` is the largest deviation in scales and `leading` the counter that shows it;
    `ordinary` the largest of any earlier run that was not wild (0 unless this could be an
    alarm), `above` how many earlier runs were at least as far out. `rate` is how
    often a run is so far out if nothing changed.
    `moved` are the counters that did, by descending scales; empty without an alarm.
    """

    runs: int
    counters: int
    statistic: float
    leading: Key | None
    ordinary: float
    above: int
    rate: float
    is_alarm: bool
    moved: tuple[Moved, ...]
    because: str


def joint(columns: Iterable[Column], runs: int, *, sign: int = 1) -> Joint:
    """Judge a run; `runs` is the number of earlier ones, `sign` -1 looks for less instead."""
    skipped = max(0, runs - JOINT_RUNS_MAX)
    rows = [Row(column, skipped, sign) for column in columns]
    moved: list[Moved] = []
    number = 0
    for row in rows:
        now = row.deviation(row.column.now)
        if now is None:
            continue
        number += 1
        scales = now / row.column.doubt
        if scales > 0:
            chance = chance_of(scales, row.runs - 1)
            moved.append(Moved(row.column.key, scales, chance, row.column.elsewhere))
    moved.sort(key=lambda one: (-one.scales, one.key))
    if not moved or moved[0].scales < SCALES_MIN:  # no alarm, whatever the others were
        return _quiet(moved, number, runs - skipped)
    found = _joint(_statistics(rows, runs - skipped), number, moved)
    same = [row for row in rows if row.is_same]
    keys = {row.column.key for row in same}
    apart = [one for one in moved if one.key in keys]
    if found.is_alarm or not apart:
        return found
    alone = _joint(_statistics(same, runs - skipped), len(same), apart, asked=2)
    return alone if alone.is_alarm else found


def _statistics(rows: Iterable[Row], runs: int) -> list[float]:
    """The largest deviation of each of the earlier runs, of these counters.

    Of each run those first that may be the largest, so that most need not be worked out.
    """
    likely: list[list[tuple[float, float, Row]]] = [[] for _ in range(runs)]
    for row in rows:
        for at, value in enumerate(row.values):
            if value is not None and (most := row.at_most(value)) > 0:
                likely[at].append((most, value, row))
    return [_largest(sorted(one, key=itemgetter(0), reverse=True)) for one in likely]


def _largest(likely: Iterable[tuple[float, float, Row]]) -> float:
    """The largest deviation of these values, each after what it is at most, descending."""
    largest = 0.0
    for most, value, row in likely:
        if most <= largest:
            break
        largest = max(largest, row.deviation(value) or 0.0)
    return largest


def _quiet(moved: Sequence[Moved], counters: int, runs: int) -> Joint:
    because = f"none of {counters} counters is above its level in {runs} earlier runs"
    if moved:
        because = (
            f"of {counters} counters {moved[0].key} is furthest above its level in {runs} "
            f"earlier runs, by {moved[0].scales:.1f} scales; {SCALES_MIN:g} are the least"
        )
    statistic = moved[0].scales if moved else 0.0
    leading = moved[0].key if moved else None
    rate = 1 / (runs + 1)
    return Joint(runs, counters, statistic, leading, 0.0, 0, rate, False, (), because)


def _joint(
    statistics: Sequence[float], counters: int, moved: Sequence[Moved], *, asked: int = 1
) -> Joint:
    """`asked` is how many such questions there were; with more than one it is of the same."""
    runs = len(statistics)
    statistic, leading = moved[0].scales, moved[0].key
    ordinary = max((one for one in statistics if one < WILD_SCALES), default=0.0)
    above = sum(one >= statistic for one in statistics)
    rate = asked * (1 + above) / (runs + 1)
    is_alarm = (
        runs >= RUNS_MIN
        and statistic >= SCALES_MIN
        and statistic > ordinary
        and (above == 0 or rate <= RATE_MAX)
    )
    which = "counters that are the same in every run" if asked > 1 else "counters"
    because = (
        f"of {counters} {which} {leading} is furthest from its level, by {statistic:.1f} "
        f"scales; in {runs} earlier runs the furthest was {ordinary:.1f}"
    )
    if above:
        because += f", but for {above} wild ones that were as far out"
    if moved[0].elsewhere:
        because += f", and {moved[0].elsewhere} on other levels, left by itself, were as high"
    if is_alarm:
        because += f"; without a change one run in {1 / rate:.0f} is so far out"
    listed = tuple(listed_of(moved, counters)) if is_alarm else ()
    return Joint(
        runs,
        counters,
        statistic,
        leading,
        ordinary,
        above,
        rate,
        is_alarm,
        listed,
        because,
    )


class Row:
    """A counter in the runs that are looked at, and how far each lies from all others.

    Deviations are in the direction that is looked for: more, or with a `sign` of -1 less.
    """

    def __init__(self, column: Column, skipped: int, sign: int) -> None:
        self.column = column
        self._sign = sign
        self.values = column.values[skipped:]
        known = [value for value in self.values if value is not None]
        self.runs = len(known)
        self._sorted = sorted([*known, column.now])
        self._seen: dict[float, float | None] = {}

    @property
    def is_same(self) -> bool:
        """Whether all runs, the new one among them, agree but for one at most."""
        every = self._sorted
        return len(every) > 1 and (every[0] == every[-2] or every[1] == every[-1])

    def at_most(self, value: float) -> float:
        """What the deviation of one of the values cannot exceed, if it has any."""
        middle, scale = self._least
        away = self._sign * (value - middle)
        if away <= 0:
            return 0.0
        return ROUNDED * away / scale if scale else inf

    @cached_property
    def _least(self) -> tuple[float, float]:
        """The median nearest to what is looked for, and the least scale, of all but any one.

        The median is one of the middle values, whichever is left out. As many as half lie no
        further from it than the median deviation, and no stretch that holds so many is shorter
        than the shortest of them all.
        """
        every = self._sorted
        never = self._sign * inf, 0.0
        if len(every) < RUNS_MIN:
            return never
        low, high = every[(len(every) - 2) // 2], every[(len(every) + 1) // 2]
        shortest = min(map(sub, every[len(every) // 2 - 1 :], every))
        measured = NORMAL_PER_MAD * shortest / 2
        if measured > ROUNDED * STABLE_SHARE_MAX * max(abs(low), abs(high)):
            return never  # the others would not admit the counter
        centre = min(abs(low), abs(high)) if low * high > 0 else 0.0
        scale = max(measured, floor_at(centre, is_counted=self.column.is_counted))
        return (low if self._sign > 0 else high), scale

    def deviation(self, value: float) -> float | None:
        """How far one of the values lies from the others, in their scales.

        None where the others would not admit the counter, or there are too few of them.
        """
        if value not in self._seen:
            place = bisect_left(self._sorted, value)
            others = self._sorted[:place] + self._sorted[place + 1 :]
            self._seen[value] = self._from(others, value)
        return self._seen[value]

    def _from(self, others: Sequence[float], value: float) -> float | None:
        """`others` are all but it, sorted."""
        if len(others) < RUNS_MIN - 1:
            return None
        if others[0] == others[-1] == value:
            return 0.0 if value else None
        middle = median(others)
        spread = spread_of(others, middle, is_counted=self.column.is_counted)
        if not is_admitted_by(others, middle, spread.measured):
            return None
        if not middle:  # what is mostly 0 moves at times for reasons of its own
            return None
        furthest = self._sign * ((others[-1] if self._sign > 0 else others[0]) - middle)
        is_wild = furthest > WILD_SCALES * spread.scale
        if is_wild and wild_in(others, middle, spread.scale, self._sign) > wild_max(
            len(others)
        ):
            return None
        if value == middle:
            return 0.0
        away = self._sign * (value - middle)
        return away / spread.scale if spread.scale else copysign(inf, away)


def chance_of(scales: float, freedom: int) -> float:
    """How likely normal noise is so many scales above its level, `freedom` + 1 runs telling it.

    The tail of Student's t, by Wallace's normal approximation (1959), which is good to 2 % of
    the quantile where there are five runs or more.

    >>> round(chance_of(2.0, 10), 3), chance_of(0.0, 10)
    (0.037, 0.5)
    """
    freedom = max(freedom, 1)
    normal = (8 * freedom + 1) / (8 * freedom + 3)
    return 1 - _NORMAL.cdf(normal * sqrt(freedom * log(1 + scales * scales / freedom)))


def listed_of(moved: Sequence[Moved], counters: int) -> list[Moved]:
    """Those of the counters (descending) that did move, after Benjamini and Yekutieli (2001).

    Their procedure holds the share of wrong ones among those listed at `LISTED_RATE` however
    the counters depend on each other; it divides the rate by 1 + 1/2 + ... + 1/m. The first is
    always listed: it made the alarm.
    """
    harmonic = sum(1 / k for k in range(1, counters + 1))
    by_chance = sorted(moved, key=lambda one: one.chance)
    last = 1
    for rank, one in enumerate(by_chance, 1):
        if one.chance <= LISTED_RATE * rank / (counters * harmonic):
            last = rank
    listed = {one.key for one in by_chance[:last]} | {moved[0].key}
    return [one for one in moved if one.key in listed]
