"""Handles of the pure twin whose values lie in a file.

A handle becomes one of these when it is given a place, and stays one; all others are as they
were and cost what they did. As in pure.py each read-modify-write of one value is a straight
line without a call; a timer's record is several, under a lock that nobody waits for long: what
finds it taken stays pending, and whoever comes next enters it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nilometer.measure.arena_layout import (
    COUNTER_BYTES,
    GAUGE_BYTES,
    GAUGE_INTEGER,
    GAUGE_REAL,
    TIMER,
)
from nilometer.measure.pure import (
    INTEGER_MIN,
    VALUE_MAX,
    Counter,
    Gauge,
    Handle,
    Timer,
    number_of,
    whole_number,
)
from nilometer.measure.region import WORD

if TYPE_CHECKING:
    from nilometer.measure.folding import Taken
    from nilometer.measure.region import Placed, Region

FOLD_S: Final = 0.01  # others hold the lock for microseconds; what we interrupted never lets go
TAKE_S: Final = 1.0


def region_of(handle: Handle) -> Region:
    """Where a handle of these lies."""
    region: Region = handle.family.arena.region
    return region


class LastingCounter(Counter):
    """A counter whose value is two words of the file."""

    __slots__ = ()

    def add(self, n: int = 1, /) -> None:
        """Count n more, a whole number from 0 to 2**63-1."""
        if not self.family.on:
            return
        if n.__class__ is not int or not 0 <= n <= 0x3FFFFFFF:
            n = whole_number(n, "n")
        words = region_of(self).words
        at = self._at >> 3
        low = words[at] + n
        words[at] = low & WORD
        words[at + 1] += low >> 64
        self._others += 1

    def take(self) -> int | None:
        """Return how far it moved since it was last taken; None if it did not."""
        stray = super().take() or 0  # of who was just adding when it moved here
        words = region_of(self).words
        at = self._at >> 3
        moved = words[at] + (words[at + 1] << 64)
        words[at] = 0
        words[at + 1] = 0
        return moved + stray or None

    def reset(self) -> None:
        """Forget what was counted: a child process starts from zero."""
        super().reset()
        words = region_of(self).words
        words[self._at >> 3] = words[(self._at >> 3) + 1] = 0

    def __del__(self) -> None:
        self.family.arena.region.release(self._at, COUNTER_BYTES)


class LastingGauge(Gauge):
    """A gauge whose value is two words of the file: which kind it is of, and the value."""

    __slots__ = ()

    def set(self, x: float, /) -> None:
        """Hold x from now on: an integer of 64 bits or a finite float."""
        x = number_of(x)
        region = region_of(self)
        kinds, at = region.integers, self._at >> 3
        kinds[at] = 0
        if x.__class__ is float:
            region.reals[at + 1] = x
            kinds[at] = GAUGE_REAL
        else:
            kinds[at + 1] = x  # type: ignore[assignment] # it is whole
            kinds[at] = GAUGE_INTEGER
        self.calls += 1

    def add(self, dx: float = 1, /) -> None:
        """Move the value up, or down if dx is below zero; it starts from 0."""
        dx = number_of(dx)
        region = region_of(self)
        kinds, reals, at = region.integers, region.reals, self._at >> 3
        kind = kinds[at]
        value = (kinds if kind == GAUGE_INTEGER else reals)[at + 1] if kind else 0
        moved = value + dx
        if moved - moved != 0:
            raise ValueError(f"x must be finite, got {moved}")
        if moved.__class__ is int and not INTEGER_MIN <= moved <= VALUE_MAX:
            moved *= 1.0
        kinds[at] = 0
        if moved.__class__ is float:
            reals[at + 1] = moved
            kinds[at] = GAUGE_REAL
        else:
            kinds[at + 1] = moved  # type: ignore[assignment] # it is whole
            kinds[at] = GAUGE_INTEGER
        self.calls += 1

    def take(self) -> int | float | None:
        """Return the value; None while there is none."""
        region = region_of(self)
        kinds, at = region.integers, self._at >> 3
        kind = kinds[at]
        if not kind:
            return None
        return kinds[at + 1] if kind == GAUGE_INTEGER else region.reals[at + 1]

    def reset(self) -> None:
        """Forget the value: a child process starts from zero."""
        super().reset()
        region_of(self).integers[self._at >> 3] = 0

    def __del__(self) -> None:
        self.family.arena.region.release(self._at, GAUGE_BYTES)


class LastingTimer(Timer):
    """A timer whose distribution lies in the file, with nothing pending for long."""

    __slots__ = ()

    def keep(self, elapsed_ns: int, /) -> None:
        """Count a time that our own clock measured: nothing is checked again."""
        self._pending.append(elapsed_ns)
        self.fold()

    def fold(self) -> None:
        """Enter what is pending, unless somebody else is just entering."""
        lock = region_of(self).lock
        while self._pending and lock.acquire(timeout=FOLD_S):
            try:
                self._enter()
            finally:
                lock.release()

    def _enter(self) -> None:
        region = region_of(self)
        fresh: list[int] = []
        pending = self._pending
        self._pending = fresh
        for elapsed_ns in pending:
            region.record(self._at, elapsed_ns)

    def move(self) -> None:
        """Enter what was recorded before it had a place here."""
        taken = super().take()
        if taken is None:
            return
        self.calls -= taken.samples  # they will be taken once more
        region = region_of(self)
        words, first = region.words, self._at // 8
        with region.lock:
            words[first] += taken.samples
            words[first + 1] += taken.zeros
            words[first + 2] = min(words[first + 2], taken.minimum)
            words[first + 3] = max(words[first + 3], taken.maximum)
            low = words[first + 4] + taken.total
            words[first + 4] = low & WORD
            words[first + 5] += low >> 64
            for bucket, count in taken.buckets.items():
                region.count(self._at, bucket, count)

    def take(self) -> Taken | None:
        """Return what was recorded since it was last taken; None if nothing was."""
        if self._folded:  # by who was just summing up when it moved here
            self.move()
        region = region_of(self)
        if not region.lock.acquire(timeout=TAKE_S):
            return None  # we interrupted who has it; it stays for the next interval
        try:
            self._enter()
            taken = region.taken(self._at)
        finally:
            region.lock.release()
        if taken is not None:
            self.calls += taken.samples
        return taken

    def reset(self) -> None:
        """Forget what was recorded: a child process starts from zero."""
        super().reset()
        region_of(self).clear(self._at)

    def __del__(self) -> None:
        self.family.arena.region.release_timer(self._at)


def _move_counter(counter: LastingCounter) -> None:
    moved, calls = Counter.take(counter), counter.calls
    if moved:
        words, at = region_of(counter).words, counter._at >> 3
        low = words[at] + moved
        words[at] = low & WORD
        words[at + 1] += low >> 64
    counter.calls = calls


def _move_gauge(gauge: LastingGauge) -> None:
    value = Gauge.take(gauge)
    if value is not None:
        gauge.set(value)
        gauge.calls -= 1


PLACED: Final[Placed] = {
    Counter: (LastingCounter, COUNTER_BYTES, _move_counter),
    Gauge: (LastingGauge, GAUGE_BYTES, _move_gauge),
    Timer: (LastingTimer, TIMER.size, LastingTimer.move),
}
