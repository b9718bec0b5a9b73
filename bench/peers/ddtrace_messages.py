"""ddtrace's integration of kombu; it has none of pika or of oslo.messaging."""

from __future__ import annotations

from bench import buses
from bench.peers.ddtrace_library import off, store

CASES = {
    "kombu publish untraced": off(lambda: store("kombu", buses.kombu_publishes)),
    "kombu publish traced": lambda: store("kombu", buses.kombu_publishes),
}
