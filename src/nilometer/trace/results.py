"""What becomes of requests that ask for a trace, in words."""

from __future__ import annotations

from typing import Final

RESULTS: Final = frozenset(
    [
        "accepted",
        "accepted_unsigned",
        "joined",
        "bad_signature",
        "expired",
        "expiry_too_far",
        "replayed",
        "nonces_full",
        "budget_requests",
        "clear_key",
        "not_sampled",
        "malformed_traceparent",
        "malformed_tracestate",
        "malformed_osprofiler",
        "oversize",
        "fault",
    ]
)
"""What ``nilometer.trigger`` counts; docs/tracing.md explains each."""
