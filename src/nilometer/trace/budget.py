"""What a key holder can cost: requests a second, and the memory of nonces seen."""

from __future__ import annotations

from _thread import RLock
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

REQUESTS_PER_SECOND: Final = 10.0
"""Traced requests a second that a process takes on; see `SPANS_PER_TRACE_MAX` for the cost."""

NONCES_MAX: Final = 16_384
"""Nonces remembered. At the default budget 10 * (900 + 60) = 9,600 can be alive. At 260 bytes
each (a text of 32, a tuple, a number, places in heap and set) a full memory takes 4 MB."""


class Budget:
    """Traced requests per second, as a bucket that holds one second's worth.

    The specification of C's `Budget`; threads may share it.
    """

    # No slots: where eventlet makes locks green it looks into none.

    def __init__(self, rate: float, elapsed_ns: Callable[[], int]) -> None:
        self._rate = rate
        self._level = self._level_max = max(1.0, rate)
        self._elapsed_ns = elapsed_ns
        self._seen_ns = elapsed_ns()
        self._lock = RLock()

    def reset_after_fork(self) -> None:
        """The lock may be held by a thread that did not survive."""
        self._lock = RLock()

    def take(self) -> bool:
        """Whether one more may start now."""
        with self._lock:
            now = self._elapsed_ns()
            level = self._level + (now - self._seen_ns) * self._rate / 1e9
            if level > self._level_max:
                level = self._level_max
            self._seen_ns = now
            may = level >= 1.0
            self._level = level - 1.0 if may else level
        return may


class Nonces:
    """Nonces seen, each until it expires; at most so many.

    The specification of C's `Nonces`; threads may share it.
    """

    # No slots: where eventlet makes locks green it looks into none.

    def __init__(self, most: int) -> None:
        self._most = most
        self._alive: set[str] = set()
        self._by_expiry: list[tuple[int, str]] = []
        self._lock = RLock()

    def reset_after_fork(self) -> None:
        """The lock may be held by a thread that did not survive."""
        self._lock = RLock()

    def __len__(self) -> int:
        return len(self._alive)

    def spend(
        self, nonce: str, expiry_s: int, now_s: int, may: Callable[[], bool]
    ) -> str | None:
        """Remember one until it expires, if ``may()`` says so; else why it is refused.

        What has expired is forgotten, two at a time as one comes in: no request pays for many.
        """
        alive, by_expiry = self._alive, self._by_expiry
        with self._lock:
            if nonce in alive:
                return "replayed"
            for _ in (1, 2):
                if not by_expiry or by_expiry[0][0] >= now_s:
                    break
                alive.discard(heappop(by_expiry)[1])
            if len(alive) >= self._most:
                return "nonces_full"
            if not may():
                return "budget_requests"
            alive.add(nonce)
            heappush(by_expiry, (expiry_s, nonce))
        return None
