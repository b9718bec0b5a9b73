"""The only way in for time, so that tests can bring their own.

Durations come from the monotonic clock and never from the wall clock, which steps back when it
is corrected. Both are whole nanoseconds.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

elapsed_ns = time.perf_counter_ns
wall_ns = time.time_ns


class Clock(NamedTuple):
    """Production says ``Clock()``; a test says ``FakeTime().clock`` (`nilometer.testing`)."""

    elapsed_ns: Callable[[], int] = time.perf_counter_ns
    wall_ns: Callable[[], int] = time.time_ns
    sleep_s: Callable[[float], None] = time.sleep
