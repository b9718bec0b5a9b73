"""The measurement: what an instrument adds to a call, as the median of paired differences.

Bare and measured loops alternate in one process, a few milliseconds each, and the *difference*
of each pair counts: what disturbs the machine for longer than a pair disturbs both sides. Time
is the calling thread's CPU time, so a neighbour on the core costs nothing; what a library does
in threads of its own shows in the process's CPU time, kept beside it.

A machine's speed changes from second to second. So the floor, that least wrapper to which the
targets are ratios, takes its turn in every round, and what is judged is the case's difference
by the floor's of the same round.
"""

from __future__ import annotations

import gc
import math
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
SHORT_ROUNDS = 8  # a bounded side is shorter and so noisier: up to so many more make up for it
ROUNDS = 41  # the median's standard error is then a fifth of one round's spread
FLOOR_SIDE_NS = 1_000_000  # at least: a thousand times the clock's 1 us


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
    floor_ns: float
    floor_spread: float
    floors_low: float  # between these two lies, with 95 %, the cost in floors
    floors_high: float


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


def added(pair: Pair, floor: Pair, *, rounds: int = ROUNDS) -> Added:
    """Alternate the sides of both and take the medians of the differences."""
    times, side_ns = calibrate(pair)
    rounds *= max(1, min(SHORT_ROUNDS, round(PAIR_NS / side_ns)))
    floor_times, _ = calibrate(floor, max(FLOOR_SIDE_NS, min(side_ns, PAIR_NS)))
    pair.bare(times)
    gc.collect()
    thread: list[float] = []
    process: list[float] = []
    floors: list[float] = []
    for _ in range(rounds):
        thread_ns, process_ns = difference(pair, times)
        thread.append(thread_ns)
        process.append(process_ns)
        floors.append(difference(floor, floor_times)[0])
    ratios = [ours / least for ours, least in zip(thread, floors, strict=True) if least > 0]
    return Added(
        statistics.median(thread),
        statistics.median(process),
        spread_of(thread),
        times * rounds,
        statistics.median(floors),
        spread_of(floors),
        *median_bounds(ratios),
    )


def difference(pair: Pair, times: int) -> tuple[float, float]:
    """What a call costs more in this round: nanoseconds of the thread, and of the process."""
    bare_thread, bare_process = spent(pair, pair.bare, times)
    our_thread, our_process = spent(pair, pair.measured, times)
    return (our_thread - bare_thread) / times, (our_process - bare_process) / times


def spread_of(values: list[float]) -> float:
    """Half the distance between the quartiles."""
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / 2


def median_bounds(values: list[float]) -> tuple[float, float]:
    """Between which two of the values the true median lies, with 95 % or more.

    Of n values the number below it is binomial, however they are distributed: within
    n/2 - 0.98 sqrt(n) of the ends there are less than 2.5 % each.

    >>> median_bounds([5.0, 1.0, 4.0, 2.0, 3.0])
    (1.0, 5.0)
    """
    ordered = sorted(values)
    outside = max(0, math.floor(len(ordered) / 2 - 0.98 * math.sqrt(len(ordered))))
    return ordered[outside], ordered[-1 - outside]


def calibrate(pair: Pair, fill_ns: float = PAIR_NS) -> tuple[int, float]:
    """How many calls fill one side of a pair, and how long they take; warms up on the way."""
    times = 16
    while times < pair.calls_max:
        took, _ = spent(pair, pair.measured, times)
        if took >= fill_ns / 2:
            filled = min(int(times * fill_ns / took), pair.calls_max)
            return filled, took * filled / times
        times *= 2
    took, _ = spent(pair, pair.measured, pair.calls_max)
    return pair.calls_max, max(took, 1)


def spent(pair: Pair, loop: Loop, times: int) -> tuple[int, int]:
    """Thread and process CPU nanoseconds of one run."""
    process, thread = time.process_time_ns(), time.thread_time_ns()
    loop(times)
    thread = time.thread_time_ns() - thread
    if pair.after is not None:
        pair.after()
    return thread, time.process_time_ns() - process
