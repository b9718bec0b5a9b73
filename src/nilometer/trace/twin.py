"""The chosen twin's classes; their types are those of the specification."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nilometer.trace.current import CURRENT
from nilometer.trace.decorate import Decorator
from nilometer.twin import choose

if TYPE_CHECKING:
    from nilometer.trace import pure as chosen
else:
    chosen = choose("nilometer.trace.pure", "nilometer.trace._core")

RING = chosen.RING
UNTRACED = chosen.UNTRACED
Budget = chosen.Budget
Nonces = chosen.Nonces
Ring = chosen.Ring
Span = chosen.Span
Trace = chosen.Trace
Untraced = chosen.Untraced
current_span = chosen.current_span
current_trace_id = chosen.current_trace_id
headers = chosen.headers
identified = chosen.identified
new_id = chosen.new_id
osprofiler_ids = chosen.osprofiler_ids
signed_parts = chosen.signed_parts
span = chosen.span
stand_in = chosen.stand_in
start_root = chosen.start_root
wrapped = chosen.wrapped
traced = Decorator(wrapped)


def after_fork() -> None:
    """The child makes ids of its own and sends only what it recorded itself."""
    chosen.reseed()
    RING.reset_after_fork()
    current = CURRENT.get()
    if isinstance(current, Span):
        current.disown()


os.register_at_fork(after_in_child=after_fork)
