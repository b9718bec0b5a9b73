"""Waking one thread from anywhere: another thread, a signal handler, a finalizer."""

from __future__ import annotations

import threading
from contextlib import suppress


class Bell:
    """Wakes one waiting thread; ringing never blocks, whoever rings and wherever.

    A bare lock used as a binary semaphore: unlike a Condition it can be rung by a signal
    handler or a finalizer that interrupts the very thread that waits.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._rung = False

    def ring(self) -> None:
        """Wake the waiter, now or as soon as it waits; rung twice is rung once."""
        if not self._rung:
            self._rung = True
            with suppress(RuntimeError):  # two rang at once
                self._lock.release()

    def wait(self, timeout_s: float) -> bool:
        """Whether it rang within that time."""
        if not self._lock.acquire(timeout=max(0.0, min(timeout_s, threading.TIMEOUT_MAX))):
            return False
        self._rung = False
        return True
