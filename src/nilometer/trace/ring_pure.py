"""Where finished spans wait for the pump: the specification; its twin is in ``_core.c``."""

from __future__ import annotations

from _thread import RLock
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from nilometer.clock import Clock
from nilometer.trace.held import ANY_BYTES, hold
from nilometer.trace.limits import SPANS_RING_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.model import SpanRecord


class Ring:
    """Finished spans until the pump takes them; bounded, what does not fit is counted.

    `on_half_full` is called once when the ring is half full, and again only after a drain. It
    runs wherever a span happened to end, so it must be quick and must not block
    (``queue.SimpleQueue.put`` is right); if it raises it is taken off and counted.

    One with `bytes_max` weighs what ends in it (`held.py`), and asks the request for more room
    where it has too little.
    """

    # No slots: where eventlet makes locks green it looks into none.

    def __init__(
        self,
        capacity: int = SPANS_RING_MAX,
        bytes_max: int = ANY_BYTES,
        *,
        clock: Clock | None = None,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        self.capacity = capacity
        self.bytes_left = bytes_max
        self._half = (capacity - 1) // 2  # with so many there, one more makes it half full
        self._short_way = self._half if bytes_max == ANY_BYTES else -1
        self.clock = clock or Clock()
        self.on_half_full: Callable[[], object] | None = None
        self._onward: Ring | None = None
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Forget everything: what the parent recorded, the parent sends."""
        self._items: deque[Any] = deque()
        self._lost: dict[tuple[str, str], int] = {}
        self._lock = RLock()  # the old one may be held by a thread that did not survive
        self._woken = False

    def __len__(self) -> int:
        return len(self._items)

    def lose(self, what: str, reason: str, number: int = 1) -> None:
        """Count a loss, to be told by `take_losses`."""
        if self._onward is not None:
            self._onward.lose(what, reason, number)
            return
        with self._lock:
            key = what, reason
            self._lost[key] = self._lost.get(key, 0) + number

    def take_losses(self) -> dict[tuple[str, str], int]:
        """What was lost since the last time, by (what, reason)."""
        with self._lock:
            lost, self._lost = self._lost, {}
        return lost

    def _receive(self, finished: Any) -> None:
        """Take a span that has just ended, if there is room for what was set on it.

        A root always has room: when it has ended all is forgotten, or handed on.
        """
        if self.bytes_left == ANY_BYTES or finished._is_root() or self._has_room(finished):
            self.put(finished)

    def _has_room(self, finished: Any) -> bool:
        weight = hold(finished)
        while weight > self.bytes_left:
            had = self.bytes_left
            if not finished.trace.asks_for_more() or self.bytes_left <= had:
                self.lose("spans", "budget_bytes")
                return False
        if self.bytes_left != ANY_BYTES:  # it was closed meanwhile
            self.bytes_left -= weight
        return True

    def put(self, finished: Any) -> None:
        """Take a finished span, or count it as lost when there is no room."""
        items = self._items
        if len(items) >= self.capacity:
            self._refuse(finished)
            return
        items.append(finished)
        if len(items) > self._half and not self._woken:
            self._woken = True
            self._wake()

    def _refuse(self, finished: Any) -> None:
        if self._onward is not None:
            self._onward.put(finished)
        elif self.capacity:
            self.lose("spans", "ring_full")

    def grow(self, capacity: int, more_bytes: int = 0) -> None:
        """Have room for so many spans from now on; never for fewer, and not once closed."""
        if not self.capacity:
            return
        if self.capacity < capacity:
            self.capacity = capacity
            self._half = (capacity - 1) // 2
        if self.bytes_left != ANY_BYTES:
            self.bytes_left += min(more_bytes, ANY_BYTES - 1 - max(0, self.bytes_left))
        else:
            self._short_way = self._half

    def close(self, onward: Ring | None) -> None:
        """Take nothing any more: spans and losses, here or to come, go onward, or nowhere."""
        last = onward
        while last is not None and last is not self:
            last = last._onward
        if last is self:
            raise ValueError("a ring cannot be closed onto itself")
        if not self.capacity:
            return  # it is closed
        self._short_way = -1  # it is shut first
        self._onward = onward
        self.capacity = 0
        self.bytes_left = ANY_BYTES
        items, self._items = self._items, deque()
        if onward is None:
            return
        while items:
            onward.put(items.popleft())
        for loss, number in self.take_losses().items():
            onward.lose(*loss, number)

    def _wake(self) -> None:
        if self.on_half_full is None:
            return
        try:
            self.on_half_full()
        except Exception:  # noqa: BLE001 -- the pump's fault is not the application's
            self.on_half_full = None
            self.lose("wake_ups", "raised")

    def drain(self) -> tuple[SpanRecord, ...]:
        """Take out all finished spans, oldest first. Spans that cannot be read are counted."""
        items = self._items
        self._woken = False
        records = []
        for _ in range(len(items)):
            try:
                finished = items.popleft()
            except IndexError:  # another thread is draining too
                break
            try:
                records.append(finished.record())
            except Exception:  # noqa: BLE001 -- one odd span must not take the others with it
                self.lose("spans", "unreadable")
        return tuple(records)


RING: Final = Ring()
"""This process's ring."""
