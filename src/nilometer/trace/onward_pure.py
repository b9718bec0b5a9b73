"""What goes with a request that is sent from here; the specification of C's ``onward.h``."""

from __future__ import annotations

from typing import Final

from nilometer.trace.current import CURRENT, Joined

NO_SPAN: Final = "0" * 16


def headers(*, osprofiler: bool = True) -> dict[str, str]:
    """What to send with an onward request so that it is part of the current one.

    In a traced request both forms, signed with the key that was accepted; in a joined one what
    came; otherwise nothing. The signature expires, so ask for each request anew. Without
    `osprofiler` it is not in OSProfiler's form, which does not: for what is kept somewhere.
    """
    current = CURRENT.get()
    if current is None or current.over:
        return {}
    if isinstance(current, Joined):
        return dict(current.onward)
    signer = current.trace.signer
    trace_id, span_id = current.trace_id, current.span_id
    if span_id == NO_SPAN:  # it stands for a sender who has none: see `signing`
        span_id = trace_id[16:]
    if signer is None:
        return {"traceparent": f"00-{trace_id}-{span_id}-01"}
    signed: dict[str, str] = signer.headers(trace_id, span_id, osprofiler=osprofiler)
    return signed
