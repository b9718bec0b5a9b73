"""The floor: what the least pure-Python wrapper that could measure anything costs."""

from __future__ import annotations

from functools import wraps
from time import perf_counter_ns
from typing import Any

from bench import subjects
from bench.pairs import Loop, calls, nothing


def two_clocks() -> tuple[Loop, Loop]:
    """A wrapper that reads the clock twice and keeps nothing; ratios are against this."""

    def timed(function: Any) -> Any:
        @wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            started = perf_counter_ns()
            try:
                return function(*args, **kwargs)
            finally:
                perf_counter_ns() - started

        return wrapper

    return calls(subjects.work, 1, 2), calls(timed(subjects.work), 1, 2)


def clock() -> tuple[Loop, Loop]:
    """One reading of the clock."""
    return nothing, calls(perf_counter_ns)


CASES = {"timer on": two_clocks, "clock reading": clock}
