"""What a span costs, and what verifying a trigger does: measured on scratch ones, if asked."""

from __future__ import annotations

import os
from importlib import import_module
from time import perf_counter_ns
from typing import TYPE_CHECKING, Final

from nilometer.trace.twin import Ring, Trace, span, start_root

if TYPE_CHECKING:
    from nilometer.trace.trigger import Triggers

SPANS: Final = 50  # of 0.5 to 4 us each: 0.2 ms at most, so that no thread waits for long
TRIGGERS: Final = 10  # of 20 us each
ROUNDS: Final = 5  # the least of five: whatever disturbs only adds


def span_ns() -> float:
    """Return the ns of a span with three attributes, from its making to its end."""
    return min(_spans_ns() for _ in range(ROUNDS)) / SPANS


def _spans_ns() -> int:
    ring = Ring()
    with start_root("calibration", request=Trace(os.urandom(16), ring=ring)):
        started_ns = perf_counter_ns()
        for _ in range(SPANS):
            with span("calibration", number=1, text="two", share=3.0):
                pass
        spent_ns = perf_counter_ns() - started_ns
    ring.drain()
    return spent_ns


def trigger_ns() -> float:
    """Return the ns of verifying one signed request, by a key that nobody knows."""
    module = import_module("nilometer.trace.trigger")  # there, or none would have been counted
    key = os.urandom(32).hex()
    triggers: Triggers = module.Triggers([key], requests_per_second=1e6)
    triggers._add["accepted"] = _nothing  # no request was accepted here
    return min(_accepted_ns(triggers, module.new_trigger(key)[1]) for _ in range(TRIGGERS))


def _accepted_ns(triggers: Triggers, headers: dict[str, str]) -> int:
    named = {name.lower(): value for name, value in headers.items()}
    started_ns = perf_counter_ns()
    triggers.accept(named.get)
    return perf_counter_ns() - started_ns


def _nothing() -> None:
    """Count nothing."""
