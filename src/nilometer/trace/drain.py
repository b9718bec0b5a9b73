"""What the pump asks for: the spans recorded since the last time; what was lost is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nilometer.measure import REGISTRY
from nilometer.trace.twin import RING

if TYPE_CHECKING:
    from nilometer.model import SpanRecord


def drain_spans() -> tuple[SpanRecord, ...]:
    """This process's finished spans, oldest first, each given once.

    Losses since the last time go to the counter ``nilometer.lost`` by `what` and `reason`.
    """
    spans = RING.drain()
    losses = RING.take_losses()
    if losses:
        lost = REGISTRY.counter("nilometer.lost", description="What we lost, and why.")
        for (what, reason), number in losses.items():
            lost.bind(what=what, reason=reason).add(number)
    return spans
