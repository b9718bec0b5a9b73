"""The measurement: what an instrument adds to a call, as the median of paired differences.

Bare and measured loops alternate in one process, a few milliseconds each, and the *difference*
of each pair counts: what disturbs the machine for longer than a pair disturbs both sides. Time
is the calling thread's CPU time, so a neighbour on the core costs nothing; what a library does
in threads of its own shows in the process's CPU time, kept beside it.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from itertools import repeat
from typing import NamedTuple

Loop = Callable[[int], object]
"""Runs what is measured so many times."""

PAIR_NS = (
    10_000_000  # one side of a pair: far above the clock's 1 us, below the scheduler's slice
)
SHORT_ROUNDS = 8  # a bounded side is shorter and so noisier: more of them make up for it
ROUNDS = 41  # the median's standard error is then a fifth of one round's spread


class Pair(NamedTuple):
    """What is compared. `after` runs behind each side, as a background thread would: its time
    is the process's and not the calling thread's.

    `calls_max` bounds one side where something fills up that only `after` empties.
    """

    bare: Loop
    measured: Loop
    after: Callable[[], object] | None = None
    calls_max: int = 1 << 30


class Added(NamedTuple):
    """What a call costs more than the bare one, in nanoseconds."""

    thread_ns: float
    process_ns: float
    spread: float  # half the distance between the quartiles, in nanoseconds
    calls: int


def calls(function: Callable[..., object], *arguments: object) -> Loop:
    """A loop that calls the function so many times; looping costs both sides the same.

    Each number of arguments has its own, as ``function(*arguments)`` would flatter wrappers:
    it keeps the interpreter from running the bare function without a C call, as it does at
    every ordinary call, and what a wrapper takes from its function is just that.
    """

    def none(times: int) -> None:
        for _ in repeat(None, times):
            function()

    def one(times: int) -> None:
        first = arguments[0]
        for _ in repeat(None, times):
            function(first)

    def two(times: int) -> None:
        first, second = arguments
        for _ in repeat(None, times):
            function(first, second)

    return (none, one, two)[len(arguments)]


def nothing(times: int) -> None:
    """The empty loop: what is measured against it is the whole cost of the call."""
    for _ in repeat(None, times):
        pass


def added(pair: Pair, *, rounds: int = ROUNDS) -> Added:
    """Alternate the two sides and take the median of the differences."""
    times = calibrate(pair)
    if times == pair.calls_max:
        rounds *= SHORT_ROUNDS
    pair.bare(times)
    gc.collect()
    thread: list[float] = []
    process: list[float] = []
    for _ in range(rounds):
        bare_thread, bare_process = spent(pair, pair.bare, times)
        our_thread, our_process = spent(pair, pair.measured, times)
        thread.append((our_thread - bare_thread) / times)
        process.append((our_process - bare_process) / times)
    low, middle, high = statistics.quantiles(thread, n=4)
    return Added(middle, statistics.median(process), (high - low) / 2, times * rounds)


def calibrate(pair: Pair) -> int:
    """How many calls fill one side of a pair; warms the loop up on the way."""
    times = 16
    while times < pair.calls_max:
        took, _ = spent(pair, pair.measured, times)
        if took >= PAIR_NS / 2:
            return min(int(times * PAIR_NS / took), pair.calls_max)
        times *= 2
    return pair.calls_max


def spent(pair: Pair, loop: Loop, times: int) -> tuple[int, int]:
    """Thread and process CPU nanoseconds of one run."""
    process, thread = time.process_time_ns(), time.thread_time_ns()
    loop(times)
    thread = time.thread_time_ns() - thread
    if pair.after is not None:
        pair.after()
    return thread, time.process_time_ns() - process
