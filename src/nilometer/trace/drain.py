"""What the pump asks for: the spans recorded since the last time; what was lost is counted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nilometer.measure import REGISTRY
from nilometer.trace import cost
from nilometer.trace.twin import RING

if TYPE_CHECKING:
    from nilometer.model import SpanRecord


class _Finished:
    """How many spans have been made here, as far as they have been drained."""

    spans = 0


def drain_spans() -> tuple[SpanRecord, ...]:
    """This process's finished spans, oldest first, each given once.

    Losses since the last time go to the counter ``nilometer.lost`` by `what` and `reason`.
    """
    spans = RING.drain()
    losses = RING.take_losses()
    _Finished.spans += len(spans)
    if losses:
        _Finished.spans += losses.get(("spans", "ring_full"), 0)
        lost = REGISTRY.counter("nilometer.lost", description="What we lost, and why.")
        for (what, reason), number in losses.items():
            lost.bind(what=what, reason=reason).add(number)
    return spans


def after_fork() -> None:
    """Start afresh in a child."""
    _Finished.spans = 0


os.register_at_fork(after_in_child=after_fork)
REGISTRY.costs_also("spans", cost.span_ns, lambda: _Finished.spans)
REGISTRY.costs_also("nilometer.trigger", cost.trigger_ns)
