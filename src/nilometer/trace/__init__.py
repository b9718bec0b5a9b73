"""One signed request, traced through every function and service it touches.

`span` and `traced` mark pieces of work, `headers` go with onward requests, `carry` takes the
current span into threads and greenlets. `trigger` (imported by those who hold keys) decides
which requests are traced; `drain_spans` gives the pump what has been recorded.
"""

from nilometer.trace.current import CURRENT, Joined
from nilometer.trace.drain import drain_spans
from nilometer.trace.propagation import TracingExecutor, carry, headers
from nilometer.trace.twin import (
    RING,
    UNTRACED,
    Ring,
    Span,
    Trace,
    Untraced,
    current_span,
    current_trace_id,
    span,
    start_root,
    traced,
)

__all__ = [
    "CURRENT",
    "Joined",
    "RING",
    "Ring",
    "Span",
    "Trace",
    "TracingExecutor",
    "UNTRACED",
    "Untraced",
    "carry",
    "current_span",
    "current_trace_id",
    "drain_spans",
    "headers",
    "span",
    "start_root",
    "traced",
]
