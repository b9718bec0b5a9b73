"""Moments and durations as people write them, in whole nanoseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from nilometer.clock import wall_ns

NS: Final[dict[str, int]] = {
    "ns": 1,
    "us": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86_400 * 10**9,
    "w": 604_800 * 10**9,
}
"""Units of durations."""

NS_MAX: Final = 2**63 - 1  # the year 2262: times are 64 bits in the tables

# What a bare number of so many digits counts, since 1970: seconds till 5138, then finer units.
_EPOCH_UNITS: Final = ((11, 10**9), (14, 10**6), (17, 10**3), (20, 1))

DURATION: Final = re.compile(rf"([0-9]{{1,19}}(?:\.[0-9]{{1,9}})?)({'|'.join(NS)})")
"""How a duration is written."""

_EPOCH: Final = re.compile(r"([0-9]{1,19})(\.[0-9]{1,9})?")


def duration_ns(text: object) -> int:
    """A duration with its unit, in nanoseconds.

    >>> duration_ns("250ms"), duration_ns("1.5s")
    (250000000, 1500000000)
    """
    match = DURATION.fullmatch(str(text))
    if match is None:
        raise ValueError(f"write a number with its unit, as in 250ms ({', '.join(NS)})")
    whole, _, fraction = match[1].partition(".")
    unit = NS[match[2]]
    # Whole numbers throughout: a float would be off by hundreds of nanoseconds at the far end.
    value = int(whole) * unit + _fraction(fraction, unit)
    if value > NS_MAX:
        raise ValueError("that is longer than 292 years")
    return value


def moment_ns(text: object) -> int:
    """A moment, in nanoseconds since 1970: ISO 8601, a number since 1970, or how long ago.

    >>> moment_ns("1970-01-01T00:00:01Z"), moment_ns("1"), moment_ns("1500000000000000000")
    (1000000000, 1000000000, 1500000000000000000)
    """
    told = str(text).strip()
    if told == "now":
        return wall_ns()
    if DURATION.fullmatch(told):
        return max(wall_ns() - duration_ns(told), 0)
    epoch = _EPOCH.fullmatch(told)
    value = _since_1970(epoch) if epoch else iso_8601_ns(told)
    if not 0 <= value <= NS_MAX:
        raise ValueError("times go from 1970 to 2262")
    return value


def _since_1970(epoch: re.Match[str]) -> int:
    whole, fraction = epoch[1], (epoch[2] or ".")[1:]
    unit = next(unit for digits, unit in _EPOCH_UNITS if len(whole) <= digits)
    return int(whole) * unit + _fraction(fraction, unit)


def _fraction(digits: str, unit: int) -> int:
    """So many whole nanoseconds are the digits after the point."""
    return int(digits.ljust(9, "0")) * unit // 10**9


_FINER: Final = re.compile(r"[.,][0-9]{6}([0-9]{1,3})")


def iso_8601_ns(told: str) -> int:
    """Nanoseconds since 1970; without an offset it is UTC. Raises ValueError for other text.

    >>> iso_8601_ns("1970-01-01T00:00:01.000000007Z")
    1000000007
    """
    # A + that was not quoted arrives as a space; nothing else puts one before the offset.
    told = re.sub(r" (?=\d\d:?\d\d$)", "+", told) if "T" in told else told
    try:
        moment = datetime.fromisoformat(told)
    except ValueError:
        raise ValueError(
            "write ISO 8601 as in 2026-11-20T08:30:00Z, seconds or nanoseconds since 1970, "
            f"or how long ago, as in 15m ({', '.join(NS)})"
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    finer = _FINER.search(told)  # than Python's moments are, which cut it off
    finest = int(finer[1].ljust(3, "0")) if finer else 0
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000 + finest
