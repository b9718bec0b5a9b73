"""What one statsd series gathers between two flushes, one class per type of statsd.

Sampled lines are weighted: a line sent at rate 0.1 stands for ten. Counters add value times
weight. Timers count each value so many times; where that is no whole number the remainder is
carried on, so that counts stay whole, averages stay between the extremes, and nothing is lost
over time. (Etsy's daemon scales a timer's count but not its sum, others neither, or the value.)
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from nilometer.model import Distribution, Kind
from nilometer.model.distribution import bucket_of

NS_PER_MS: Final = 1_000_000
ROUNDING: Final = 1e-9  # 3 * (1 / 0.3) may be 9.999999999999998


class Counted:
    """A counter: how far it moved."""

    __slots__ = ("_value", "moved", "touched_ns")
    kind = Kind.COUNTER

    def __init__(self) -> None:
        self.touched_ns = 0
        self.moved = False
        self._value: float = 0

    def add(self, value: float, weight: float) -> None:
        """One line; whole numbers stay whole."""
        self._value += value if weight == 1 else value * weight

    def taken(self) -> float:
        """What it gathered; it starts afresh."""
        value, self._value = self._value, 0
        return _whole(value)


class Kept:
    """A gauge: the last value, kept over flushes so that ``+3`` has something to add to."""

    __slots__ = ("_value", "moved", "touched_ns")
    kind = Kind.GAUGE

    def __init__(self) -> None:
        self.touched_ns = 0
        self.moved = False
        self._value: float = 0

    def add(self, value: float, _weight: float) -> None:
        """A plain value; how many it stands for means nothing."""
        self._value = value

    def move(self, change: float) -> None:
        """A signed value."""
        self._value += change

    def taken(self) -> float:
        """The last value, which stays."""
        return self._value


class Timed:
    """A timer or histogram: every value, weighted, as a distribution."""

    __slots__ = (
        "_buckets",
        "_carry",
        "_high",
        "_low",
        "_negatives",
        "_samples",
        "_total",
        "_zeros",
        "moved",
        "touched_ns",
    )
    kind = Kind.DISTRIBUTION

    def __init__(self) -> None:
        self.touched_ns = 0
        self.moved = False
        self._carry = 0.0
        self._clear()

    def _clear(self) -> None:
        self._samples = 0
        self._total: float = 0
        self._low: float | None = None
        self._high: float | None = None
        self._zeros = 0
        self._buckets: dict[int, int] = {}
        self._negatives: dict[int, int] = {}

    def add(self, value: float, weight: float) -> None:
        """One line; extremes are what was seen, whatever its weight."""
        times = 1
        if weight != 1:
            self._carry += weight
            times = int(self._carry + ROUNDING)
            self._carry -= times
        if self._low is None or value < self._low:
            self._low = value
        if self._high is None or value > self._high:
            self._high = value
        self._samples += times
        self._total += value * times
        if value > 0:
            index = bucket_of(value)
            self._buckets[index] = self._buckets.get(index, 0) + times
        elif value == 0:
            self._zeros += times
        else:
            index = bucket_of(-value)
            self._negatives[index] = self._negatives.get(index, 0) + times

    def taken(self) -> Distribution:
        """What it gathered; it starts afresh, but for the remainder of its weights."""
        taken = Distribution(
            self._samples,
            self._total,
            self._low,
            self._high,
            dict(sorted(self._buckets.items())),
            self._zeros,
            dict(sorted(self._negatives.items())),
        )
        self._clear()
        return taken


class Seen:
    """A set: how many different members came. Digests are kept, so members have one size."""

    __slots__ = ("_members", "moved", "touched_ns")
    kind = Kind.GAUGE

    def __init__(self) -> None:
        self.touched_ns = 0
        self.moved = False
        self._members: set[bytes] = set()

    def add(self, member: str) -> bool:
        """Whether it was new."""
        before = len(self._members)
        self._members.add(blake2b(member.encode(), digest_size=16).digest())
        return len(self._members) > before

    def taken(self) -> int:
        """How many there were; it starts afresh."""
        count = len(self._members)
        self._members.clear()
        return count


class Rated:
    """Monasca's rate: how fast a number that only grows grew, per second.

    The last value of an interval is the first of the next, so no growth falls in between.
    """

    __slots__ = ("_first", "_last", "moved", "touched_ns")
    kind = Kind.GAUGE

    def __init__(self) -> None:
        self.touched_ns = 0
        self.moved = False
        self._first: tuple[int, float] | None = None
        self._last: tuple[int, float] = (0, 0.0)

    def add(self, value: float, elapsed_ns: int) -> None:
        """One line, and when it came by the monotonic clock."""
        self._last = (elapsed_ns, value)
        if self._first is None or value < self._first[1]:  # a restart: it grows from here
            self._first = self._last

    def taken(self) -> float | None:
        """Growth per second; None while there is only one value."""
        if self._first is None or self._last[0] <= self._first[0]:
            return None
        rate = (self._last[1] - self._first[1]) / ((self._last[0] - self._first[0]) / 1e9)
        self._first = self._last
        return rate


Series = Counted | Kept | Timed | Seen | Rated


def _whole(value: float) -> float:
    """The whole number that rounding in floats has missed by a hair; other values unchanged.

    >>> _whole(3 * (1 / 0.3)), _whole(2.5)
    (10, 2.5)
    """
    if isinstance(value, int):
        return value
    near = round(value)
    return near if abs(value - near) <= ROUNDING * abs(value) else value


def in_ns(milliseconds: float) -> int:
    """Milliseconds, as statsd's timers have them, in whole nanoseconds.

    >>> in_ns(0.1), in_ns(320)
    (100000, 320000000)
    """
    return round(milliseconds * NS_PER_MS)
