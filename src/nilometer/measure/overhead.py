"""What one recording costs on this machine: measured on scratch instruments, when asked.

Counters, gauges and timers have a cost per call. Whoever wraps more around them (a middleware,
a traced span) says what that costs beyond them, by running the real thing around nothing.
"""

from __future__ import annotations

from contextvars import Context
from functools import lru_cache
from time import perf_counter_ns
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType

    from nilometer.measure.family import Instrument
    from nilometer.measure.registry import Registry

# The process pays for its calibration, and a worker that serves a thousand requests pays for
# all of it in those: ten kinds at 0.3 ms each are 3 us a request.
CALLS: Final = 400  # of 5 to 200 ns each: 2 us at least, forty times what the clock takes
CALLS_WRAPPED: Final = 40  # of 0.3 to 5 us each: as long, and 0.2 ms at most
ROUNDS: Final = 5  # the least of five: whatever disturbs only adds

_calibrated: dict[Callable[[], float], float] = {}


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


def total_ns(
    registry: Registry,
    instruments: Sequence[Instrument],
    dearer: Mapping[str, tuple[Callable[[], float], Callable[[], int] | None]],
) -> int:
    """Return what all calls cost: of instruments, and of what is dearer than those."""
    calls = {one.name: one.calls for one in instruments}
    total = sum(
        int(calls[one.name] * cost_ns(registry.core, one.kind))
        for one in instruments
        if calls[one.name]
    )
    for what, (calibrate, counted) in dearer.items():
        n = calls.get(what, 0) if counted is None else counted()
        if n:
            total += int(n * _calibration(registry, what, calibrate))
    return total


def _calibration(registry: Registry, what: str, calibrate: Callable[[], float]) -> float:
    if calibrate not in _calibrated:
        try:
            # in no context: whoever flushes inside of a request is not who is measured
            _calibrated[calibrate] = Context().run(calibrate)
        except Exception:  # noqa: BLE001 (an estimate less is no reason to send nothing)
            registry.lost("calibration", what)
            _calibrated[calibrate] = 0.0
    return _calibrated[calibrate]


def extra_ns(
    wrapped: Callable[[Registry], Callable[[], object]], bare: Callable[[], object]
) -> float:
    """Return what a wrapper costs a call beyond the instruments that it moves.

    `wrapped` makes, for a scratch registry, the call whose bare form is `bare`.
    """
    from nilometer.measure.registry import Registry

    registry = Registry()
    call = wrapped(registry)
    spent = min(_spent_ns(call, CALLS_WRAPPED) for _ in range(ROUNDS))
    spent -= min(_spent_ns(bare, CALLS_WRAPPED) for _ in range(ROUNDS))
    registry._dearer.clear()  # counted here is what is counted anyhow
    registry.collect()
    counted = registry.overhead() / ROUNDS
    return max(spent - counted, 0) / CALLS_WRAPPED


def event_ns() -> float:
    """Return what an event with the usual two attributes costs."""
    return extra_ns(
        lambda registry: lambda: registry.event("calibration", host="c1", attempt=2), _nothing
    )


def _nothing() -> None:
    """Do what is timed: nothing."""


def _per_call(call: Callable[[], object], bare: Callable[[], object] | None) -> float:
    spent = min(_spent_ns(call, CALLS) for _ in range(ROUNDS))
    if bare is not None:
        spent -= min(_spent_ns(bare, CALLS) for _ in range(ROUNDS))
    return max(spent, 0) / CALLS


def _spent_ns(call: Callable[[], object], calls: int) -> int:
    started_ns = perf_counter_ns()
    for _ in range(calls):
        call()
    return perf_counter_ns() - started_ns
