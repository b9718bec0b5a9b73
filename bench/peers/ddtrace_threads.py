"""ddtrace's integration of pools of threads; it has none of threads by themselves."""

from __future__ import annotations

from bench import threads
from bench.peers.ddtrace_http import in_a_span, patched
from bench.peers.ddtrace_library import off

CASES = {
    "thread pool submit untraced": off(lambda: patched("futures", threads.pool_submits)),
    "thread pool submit traced": lambda: in_a_span("futures", threads.pool_submits),
}
