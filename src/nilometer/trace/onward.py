"""What goes with a request that a traced request sends: signed by the key that was accepted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from nilometer.model.identity import uuid_text
from nilometer.trace.limits import ONWARD_TTL_S
from nilometer.trace.signing import sign_osprofiler, sign_traceparent

if TYPE_CHECKING:
    from nilometer.clock import Clock
    from nilometer.trace.signing import Key


class Signer(NamedTuple):
    """Signs onward requests of one trace, by the key that was accepted.

    What is sent by the span that is current C makes by itself (onward.h), from these fields.
    """

    key: Key | None
    base_id: str
    expiry_s: int | None
    others: str
    clock: Clock
    osprofiler: bool = True

    def headers(
        self, trace_id: str, span_id: str, *, osprofiler: bool = True
    ) -> dict[str, str]:
        """Both forms, for a request sent by that span; unsigned if the trace came unsigned.

        OSProfiler's form, which never expires, only where it is understood, and asked for.

        A fresh nonce each time; valid for five minutes, but no longer than what was accepted.
        """
        traceparent = f"00-{trace_id}-{span_id}-01"
        onward = {"traceparent": traceparent}
        if self.key is None:
            if self.others:
                onward["tracestate"] = self.others
            return onward
        expiry_s = self.clock.wall_ns() // 1_000_000_000 + ONWARD_TTL_S
        if self.expiry_s is not None:
            expiry_s = min(expiry_s, self.expiry_s)
        ours = sign_traceparent(traceparent, expiry_s, os.urandom(16).hex(), self.key)
        onward["tracestate"] = f"{ours},{self.others}" if self.others else ours
        if not (osprofiler and self.osprofiler):
            return onward
        return onward | self.in_osprofilers_form(trace_id, span_id)

    def in_osprofilers_form(self, trace_id: str, span_id: str) -> dict[str, str]:
        """OSProfiler's two headers, signed."""
        if self.key is None:
            return {}
        base_id = self.base_id or uuid_text(trace_id)
        parent_id = uuid_text(trace_id[:16] + span_id)  # its last 8 bytes are the span's id
        info, mac = sign_osprofiler(base_id, parent_id, self.key)
        return {"X-Trace-Info": info, "X-Trace-HMAC": mac}
