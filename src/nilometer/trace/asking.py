"""Making the headers that ask for one request to be traced."""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from nilometer.clock import Clock
from nilometer.errors import ConfigError
from nilometer.trace.keys import parse_key
from nilometer.trace.onward import Signer

EXPIRY_AHEAD_S_MAX: Final = 900
"""How far ahead an expiry may lie. A header is made to be sent, not to be kept: each nonce has
to be remembered until its expiry. One minute more is allowed for clocks that differ."""

TTL_S: Final = 300
"""Validity of what we sign ourselves: enough for a request that waits in a queue."""


class Header(NamedTuple):
    """A trigger to send with one request, and the trace it asks for."""

    trace_id: str
    headers: dict[str, str]


def new_trigger(
    key: bytes | str, *, ttl_s: int = TTL_S, clock: Clock | None = None, origin: str = "key"
) -> Header:
    """Headers of both forms that ask for one request to be traced, and its trace id."""
    if not 1 <= ttl_s <= EXPIRY_AHEAD_S_MAX:
        raise ConfigError(
            f"{origin}: a trigger is valid for 1 to {EXPIRY_AHEAD_S_MAX} s, not {ttl_s}",
            slug="trigger-ttl",
        )
    clock = clock or Clock()
    trace_id = os.urandom(16).hex()
    expiry_s = clock.wall_ns() // 1_000_000_000 + ttl_s
    signer = Signer(parse_key(key, origin), "", expiry_s, "", clock)
    return Header(trace_id, signer.headers(trace_id, trace_id[16:]))  # no parent, see signing
