"""The only way in for time, so that tests can bring their own.

Durations come from the monotonic clock and never from the wall clock, which steps back when it
is corrected. Both are whole nanoseconds.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

elapsed_ns = time.perf_counter_ns
wall_ns = time.time_ns


class Clock(NamedTuple):
    """Production says ``Clock()``; a test says ``FakeTime().clock`` (`nilometer.testing`)."""

    elapsed_ns: Callable[[], int] = time.perf_counter_ns
    wall_ns: Callable[[], int] = time.time_ns
    sleep_s: Callable[[float], None] = time.sleep
