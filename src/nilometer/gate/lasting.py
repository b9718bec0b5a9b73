"""The level of a series, as it was known after each run: what is decided once stays decided.

A ratchet. Five runs in a row on one side of the level are another level. To less, or to little
more, it is followed; to so much more that it alarms it is *held*: runs are judged by the level
before until somebody accepts it or the counter is back. Nothing is looked at again from later,
so that no run that comes after another changes by what that one was judged.

What a counter came back from by itself is no news when it comes again: else one that has two
levels, and stays on each for a while, would alarm in half of its runs for ever.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.gate.robust import median
from nilometer.gate.stability import (
    RUNS_MIN,
    floor_at,
    spread_of,
)
from nilometer.gate.steps import Step

if TYPE_CHECKING:
    from collections.abc import Sequence

HELD_SCALES_MIN: Final = 4.0
"""That is `joint.SCALES_MIN`: less alarms nobody, and is followed and told."""

AWAY_SCALES_MIN: Final = HELD_SCALES_MIN / 2
"""A run that is nearer to where an alarm begins than to the level: 0.4 % of an exact one."""

LEVEL_RUNS: Final = RUNS_MIN
"""So many in a row are a level: of normal noise five so far out are one case in 10^8."""

TIMES_MIN: Final = 2
"""So often a counter was held and came back by itself: the third time is how it is."""

RECENT_RUNS: Final = 120
"""The latest, which tell the level and its scale; the gate looks at as many."""


class Held(NamedTuple):
    """A lasting step up that nobody accepted: from which place on, and the level it led to."""

    start: int
    level: float


class Visit(NamedTuple):
    """A level that a counter left by itself, at this place, and how many runs were on it.

    `is_given`: somebody had accepted it.
    """

    end: int
    level: float
    runs: int
    is_given: bool = False


class Known(NamedTuple):
    """Where a counter was, and left by itself.

    `levels` are those that it was on lately, `heights` those that it went up to and, where it
    was held, came back from. `own` runs are on the level of now; what is nearer than `far` to a
    level is of it.
    """

    levels: tuple[Visit, ...] = ()
    heights: tuple[Visit, ...] = ()
    own: int = 0
    far: float = 0.0

    def explains(self, value: float) -> bool:
        """Whether more runs were there than are on the level of now, or it was so high twice.

        Of a level that was accepted, and left since, one run is enough.
        """
        near = [one for one in self.levels if abs(one.level - value) < self.far]
        times = sum(one.level > value - self.far for one in self.heights)
        if times >= TIMES_MIN or any(one.is_given for one in near):
            return True
        return sum(one.runs for one in near) > self.own

    def runs_at(self, value: float) -> int:
        """How many runs of these were as high."""
        every = (*self.levels, *self.heights)
        return sum(one.runs for one in every if one.level > value - self.far)


class _Move(NamedTuple):
    """A level that was left for another, at this place."""

    at: int
    before: float
    after: float


class Levels:
    """A series run after run; `at` are the places of its values, which may have gaps."""

    def __init__(self, *, is_counted: bool, is_steady: bool = True) -> None:
        self.level = 0.0
        self._is_counted = is_counted
        self._is_steady = is_steady
        self._own: list[float] = []  # the runs that show the level, ...
        self._sorted: list[float] = []  # ... the latest of them
        self._earlier: list[float] = []  # how far others were off the levels before
        self._scale = 0.0
        self._is_given = False  # by who accepted it, however few runs show it
        self._away: list[tuple[int, float]] = []  # the latest, in a row, on one side
        self._is_held = False
        self._here: list[tuple[int, float]] = []  # all of this level, and wild ones
        self._offs: dict[int, float] = {}  # of each run, from the level of its time
        self._moves: list[_Move] = []
        self._places: list[int] = []
        self._levels: list[Visit] = []  # that it left by itself
        self._heights: list[Visit] = []

    def add(self, at: int, value: float) -> None:
        """The next run."""
        self._places.append(at)
        if not self._is_steady or (len(self._own) < LEVEL_RUNS and not self._is_given):
            self._show(at, value)
            return
        side = self._side(value)
        if self._away and side != self._side_of_away():
            self._settle(at)
            side = self._side(value)
        if not side:
            self._show(at, value)
            return
        self._away.append((at, value))
        if not self._is_held and len(self._away) >= LEVEL_RUNS:
            self._move()

    def accept(
        self, value: float, shown: Sequence[tuple[int, float]], *, near: float = 0.0
    ) -> None:
        """Somebody accepted this as the level, which begins with the runs that are `shown`.

        Of those, the ones within `near` of it differ by noise, if they are not of it.
        """
        self._settle(shown[0][0])
        self._places += [at for at, _ in shown]
        for told in (self._moves, self._levels, self._heights):
            told.clear()
        far = HELD_SCALES_MIN * self._scale_at(value)
        self._begin([one for one in shown if abs(one[1] - value) < far])
        others = {at: one - value for at, one in shown if abs(one - value) >= far}
        self._offs |= {at: off if abs(off) <= near else 0.0 for at, off in others.items()}
        self._is_given = True

    @property
    def runs(self) -> int:
        """How many runs show the level itself."""
        return len(self._own)

    @property
    def held(self) -> Held | None:
        """The step up that is an alarm until it is accepted or gone."""
        if not self._is_held:
            return None
        level = self._level_of_away()
        halfway = self.level + (level - self.level) / 2
        start = self._away[-1][0]
        for at, value in reversed(self._away):
            if value < halfway:
                break
            start = at
        return Held(start, level)

    @property
    def known(self) -> Known:
        """Where it was before the runs that are away now, which change none of it."""
        end = bisect_left(self._places, self._away[0][0]) if self._away else len(self._places)
        start = max(0, end - RECENT_RUNS)
        ends = [bisect_left(self._places, one.end) - start for one in self._levels]
        levels = tuple(
            one._replace(runs=min(one.runs, most))
            for one, most in zip(self._levels, ends, strict=True)
            if most > 0
        )
        far = HELD_SCALES_MIN * self._known_scale()
        return Known(levels, tuple(self._heights), len(self._own), far)

    def steps(self, places: Sequence[int]) -> tuple[Step, ...]:
        """What moved since a level was accepted; `places` are those of all known runs."""
        moves = list(self._moves)
        if held := self.held:
            moves.append(_Move(held.start, self.level, held.level))
        ends = [one.at for one in moves[1:]] + [places[-1] + 1] if moves else []
        told = []
        for one, end in zip(moves, ends, strict=True):
            runs = bisect_left(places, end) - bisect_left(places, one.at)
            share = (one.after - one.before) / abs(one.before) if one.before else 0.0
            moved = f"the level moved from {one.before:.6g} to {one.after:.6g}"
            moved += f" ({share:+.1%})" if one.before else ""
            because = f"{moved} and stayed for {runs} runs"
            told.append(Step(one.at, because, one.before, one.after))
        return tuple(told)

    def off_level(self) -> dict[int, float]:
        """How far each run was off the level of its time.

        What is held says only how it varies; and of runs in a row that cost more and then no
        more, the first: a build that was retried is one event, however often.
        """
        offs = self._offs | {at: value - self.level for at, value in self._here}
        if self._is_held or (self._away and self.known.explains(self._level_of_away())):
            return offs | self._offs_of_away()
        return offs | {at: value - self.level for at, value in self._away}

    def _side(self, value: float) -> int:
        """Whether a run is above (1) or below (-1) the level, or of it."""
        off = value - self.level
        side = 1 if off > 0 else -1
        if abs(off) < AWAY_SCALES_MIN * floor_at(self.level, is_counted=self._is_counted):
            return 0
        scale = self._known_scale()
        least = AWAY_SCALES_MIN * scale
        if self._is_held:  # it is back where it alarms no more
            if side > 0 and self.known.explains(value):
                return 0
            least = min(HELD_SCALES_MIN * scale, (self._level_of_away() - self.level) / 2)
        return side if side * off >= least else 0

    def _known_scale(self) -> float:
        self._scale = self._scale or self._scale_at(self.level)
        return self._scale

    def _scale_at(self, level: float) -> float:
        earlier = self._earlier[max(0, len(self._earlier) + len(self._sorted) - RECENT_RUNS) :]
        offs = [*(value - self.level for value in self._sorted), *earlier] or [0.0]
        return spread_of(
            [level + off for off in offs], level, is_counted=self._is_counted
        ).scale

    def _side_of_away(self) -> int:
        return 1 if self._away[-1][1] > self.level else -1

    def _level_of_away(self) -> float:
        return float(median(value for _, value in self._away[-LEVEL_RUNS:]))

    def _show(self, at: int, value: float) -> None:
        """A run of the level itself."""
        self._here.append((at, value))
        self._own.append(value)
        insort(self._sorted, value)
        if len(self._own) > RECENT_RUNS:
            gone = self._own[-RECENT_RUNS - 1]
            del self._sorted[bisect_left(self._sorted, gone)]
        if value != self.level or len(self._own) == 1:
            self.level, self._scale = float(median(self._sorted)), 0.0

    def _settle(self, at: int) -> None:
        """The runs that were away did not stay; here is the first that is not."""
        away, is_held = self._away, self._is_held
        if is_held:
            assert self.held is not None
            self._offs |= self._offs_of_away()
            level, start = self.held.level, self.held.start
            self._moves += [_Move(start, self.level, level), _Move(at, level, self.level)]
            self._heights.append(Visit(at, level, len(away)))
            self._offs.pop(start)
            self._here.append((start, dict(away)[start]))  # all of them are one event
        self._away, self._is_held = [], False
        if is_held or not away:
            return
        far = HELD_SCALES_MIN * self._known_scale()
        wild = [one for one in away if abs(one[1] - self.level) >= far]
        is_more = bool(wild) and wild[0][1] > self.level
        for one in away:
            if one not in wild:
                self._show(*one)
            elif one is wild[0] or not is_more:
                self._here.append(one)
            else:
                self._offs[one[0]] = 0.0

    def _offs_of_away(self) -> dict[int, float]:
        level = self._level_of_away()
        most = HELD_SCALES_MIN * self._known_scale()
        offs = {at: value - level for at, value in self._away}
        return {at: off if abs(off) < most else 0.0 for at, off in offs.items()}

    def _move(self) -> None:
        """Enough runs in a row are away to be a level: it is held, or followed."""
        level, latest = self._level_of_away(), self._away[-LEVEL_RUNS:]
        far = HELD_SCALES_MIN * self._known_scale()
        if abs(level - self.level) < far:
            if not self._is_exact(latest):  # then that is how it varies
                self._settle(self._away[-1][0])
                return
        elif self._is_news(level, far):
            self._is_held = True
            return
        if all(abs(value - level) < far for _, value in latest):
            self._leave(latest[0][0], level)
            self._here += self._away[:-LEVEL_RUNS]
            self._moves.append(_Move(latest[0][0], self.level, level))
            self._begin(latest)

    def _leave(self, at: int, level: float) -> None:
        """For this level, by itself."""
        self._levels.append(Visit(at, self.level, len(self._own), self._is_given))
        if level > self.level:
            self._heights.append(Visit(at, level, 0))

    def _is_exact(self, latest: Sequence[tuple[int, float]]) -> bool:
        """Whether no run of the level differs from another, nor one of these."""
        values = [value for _, value in latest]
        return self._sorted[0] == self._sorted[-1] and min(values) == max(values)

    def _is_news(self, level: float, far: float) -> bool:
        """Whether this is more than what it was on, and was not there lately.

        A few odd runs at the start of a history are no level that anything is more than.
        """
        if level < self.level or self.known.explains(level):
            return False
        near = sum(abs(value - self.level) < far for value in self._sorted)
        return self._is_given or near >= LEVEL_RUNS

    def _begin(self, shown: Sequence[tuple[int, float]]) -> None:
        """Another level, which these runs show."""
        is_exact = (
            self._sorted[:1] == self._sorted[-1:]
        )  # a wild run of it says nothing of another
        self._offs |= {at: 0.0 if is_exact else v - self.level for at, v in self._here}
        self._earlier += [value - self.level for value in self._own]
        del self._earlier[:-RECENT_RUNS]
        self._own, self._sorted, self._here = [], [], []
        self._away, self._scale, self._is_given = [], 0.0, False
        for at, value in shown:
            self._show(at, value)
