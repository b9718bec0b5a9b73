"""A signed traceparent as it nearly always comes: the specification of C's `signed_parts`.

Whoever signs writes version 00 of the traceparent, and ours is the only member of the
tracestate. Whatever is spelled otherwise is left to `signing`, which takes all that the
standard allows.
"""

from __future__ import annotations

from typing import Final

PARENT_CHARS: Final = 55  # of version 00
BEFORE: Final = "nilo="

Parts = tuple[bytes, bytes, bool, int, str, str, bytes]
"""Trace id, parent id (none where a request begins), whether it is sampled; when it expires in
seconds since 1970, its nonce, its MAC, and the message that this is of."""


def signed_parts(traceparent: str, tracestate: str) -> Parts | None:
    """What both headers say together in their usual spelling; None if they are spelled
    otherwise. Nothing of it is verified."""
    from nilometer.trace.signing import (  # it brings hashlib, needed only where keys are
        message_of,
        parse_signature,
        parse_traceparent,
        sender_of,
    )

    if len(traceparent) != PARENT_CHARS or not traceparent.startswith("00-"):
        return None
    if not tracestate.startswith(BEFORE):
        return None
    parent = parse_traceparent(traceparent)
    signed = parse_signature(tracestate[len(BEFORE) :])
    if parent is None or signed is None:
        return None
    return (
        parent.trace_id,
        sender_of(parent),
        parent.sampled,
        signed.expiry_s,
        signed.nonce,
        signed.mac,
        message_of(traceparent, signed.expiry_text, signed.nonce),
    )
