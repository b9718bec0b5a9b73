"""The very calls of `osprofiler_library`, with ours in OSProfiler's place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import osprofiler.profiler  # noqa: F401  what is replaced

from bench.pairs import Pair
from bench.peers.nilometer_library import RING_SHARE
from nilometer.integrations import osprofiler as drop_in
from nilometer.trace import drain_spans
from nilometer.trace.trigger import Triggers

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.pairs import Loop

KEY = "a key"
drop_in.install(
    triggers=Triggers([KEY], requests_per_second=1e6, spans_per_trace=10**9),
)

from bench.peers import osprofiler_library  # noqa: E402  it finds ours there


def drained(case: Callable[[], tuple[Loop, Loop]]) -> Callable[[], Pair]:
    """Emptying the ring is the pump's work in the background."""
    return lambda: Pair(*case(), drain_spans, RING_SHARE)


CASES = {
    name: drained(case)
    for name, case in osprofiler_library.CASES.items()
    if not name.startswith(
        "sql"
    )  # an engine's tracing is our own integration's, which has cases
}
