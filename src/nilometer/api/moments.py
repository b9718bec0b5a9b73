"""Times as REST writes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def iso_8601(at_ns: int) -> str:
    """UTC to the nanosecond.

    >>> iso_8601(1_500_000_000_123_456_789)
    '2017-07-14T02:40:00.123456789Z'
    """
    seconds, ns = divmod(at_ns, 10**9)
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ns:09d}Z"
