"""What one recording costs on this machine: measured on a scratch instrument, when asked."""

from __future__ import annotations

from functools import lru_cache
from time import perf_counter_ns
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

CALLS: Final = (
    2000  # 0.4 ms in Python: long enough for a clock of 50 ns, short enough for a page
)
ROUNDS: Final = 5  # the least of five: whatever disturbs only adds


@lru_cache(maxsize=8)
def cost_ns(core: ModuleType, kind: str) -> float:
    """Return the added cost, in ns, of one call of a counter, gauge or timer of this core."""
    from nilometer.measure.registry import Registry

    registry = Registry(core=core)
    if kind == "counter":
        return _per_call(registry.counter("calibration").add, None)
    if kind == "gauge":
        gauge = registry.gauge("calibration")
        return _per_call(gauge.add, None)
    return _per_call(registry.timer("calibration")(_nothing), _nothing)


def _nothing() -> None:
    """Do what is timed: nothing."""


def _per_call(call: Callable[[], object], bare: Callable[[], object] | None) -> float:
    spent = min(_spent_ns(call) for _ in range(ROUNDS))
    if bare is not None:
        spent -= min(_spent_ns(bare) for _ in range(ROUNDS))
    return max(spent, 0) / CALLS


def _spent_ns(call: Callable[[], object]) -> int:
    started_ns = perf_counter_ns()
    for _ in range(CALLS):
        call()
    return perf_counter_ns() - started_ns
