"""Who may send how much: a sender that floods is refused, the others are not."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from nilometer.clock import Clock

BURST_S: Final = 10  # a service that starts tells a lot at once, and is then quiet
KEYS_MAX: Final = 10_000  # senders and traces that are remembered: 2 MB


class _Bucket(NamedTuple):
    left: float
    at_ns: int
    sent_ns: int


class Rates:
    """Lets each key have `rate` a second, and ten seconds' worth at once.

    A second has passed if it passed here, or between the times at which they say they were
    sent: what a queue held while nobody read it comes at once, and yet is no flood.
    """

    def __init__(self, rate: float, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._kept: OrderedDict[object, _Bucket] = OrderedDict()

    def takes(self, key: object, sent_ns: int) -> bool:
        """Whether one more of this key, sent then, is within its rate; it is then counted."""
        now_ns = self._clock.elapsed_ns()
        sent_ns = min(sent_ns, self._clock.wall_ns())  # whose clock is ahead gains nothing
        most = self._rate * BURST_S
        before = self._kept.pop(key, None) or _Bucket(most, now_ns, sent_ns)
        passed_ns = max(now_ns - before.at_ns, sent_ns - before.sent_ns)
        left = min(most, before.left + passed_ns * self._rate / 1e9)
        taken = left >= 1
        self._kept[key] = _Bucket(left - taken, now_ns, max(sent_ns, before.sent_ns))
        _forget(self._kept)
        return taken


class Totals:
    """Lets each key have so many in all, as long as it is among the latest."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[object, int] = OrderedDict()

    def takes(self, key: object) -> bool:
        """Whether one more of this key is within its total; it is then counted."""
        so_far = self._kept.pop(key, 0)
        self._kept[key] = min(self._most, so_far + 1)
        _forget(self._kept)
        return so_far < self._most

    def give_back(self, key: object) -> None:
        """What was counted was not kept: it will come again."""
        if key in self._kept:
            self._kept[key] -= 1


def _forget(kept: OrderedDict[object, Any]) -> None:
    while len(kept) > KEYS_MAX:
        kept.popitem(last=False)
