"""When a task of Celery's was sent, as a header tells it, and so how long it waited.

On one machine that is told by the machine's clock, which nobody sets; between two of them by
their wall clocks, which may differ.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from nilometer.trace.trigger import HEADERS

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from nilometer.clock import Clock

HEADER: Final = "nilometer_sent"

CHARS_MAX: Final = 8 + 1 + 19 + 1 + 19
"""The machine, its clock and the wall clock in ns, whose digits last until the year 2286."""

WAIT_NS_MAX: Final = 366 * 86_400 * 10**9
"""No broker keeps a task for a year, no clock is off by one: beyond, it has been made up."""

UNKNOWN: Final = ""  # a machine that cannot be told is no other's

_OURS: Final = "nilo="  # in a tracestate


@cache
def machine() -> str:
    """Names this machine since its last start, with the clock of its container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
        clock = Path("/proc/self/ns/time").stat().st_ino
    except OSError:
        return UNKNOWN
    return f"{crc32(boot + b'%d' % clock):08x}"


def sent_now(clock: Clock) -> str:
    """What to send with a task."""
    return f"{machine()}.{clock.elapsed_ns()}.{clock.wall_ns()}"


def waited_ns(sent: Any, eta: Any, clock: Clock) -> int | None:
    """How long a task waited that begins now, not counting until it is due; None: not told.

    `sent` is what `sent_now` gave, or whatever somebody sent; `eta` the moment when it is due,
    as ISO 8601 has it.
    """
    if not isinstance(sent, str) or len(sent) > CHARS_MAX:
        return None
    try:
        where, elapsed, wall = sent.split(".")
        here = where and where == machine()
        waited = clock.elapsed_ns() - int(elapsed) if here else clock.wall_ns() - int(wall)
        if eta:
            due = datetime.fromisoformat(eta)
            if due.tzinfo is None:
                return None
            waited = min(waited, clock.wall_ns() - int(due.timestamp() * 1e9))
    except (ValueError, TypeError, OverflowError):
        return None
    return max(waited, 0) if abs(waited) < WAIT_NS_MAX else None


def without_trace(request: MutableMapping[str, Any]) -> dict[str, Any]:
    """The headers of a trace; ours are taken out, for they are of this message alone.

    Celery would send them again with a task that it retries.
    """
    found = {name: request[name] for name in HEADERS if name in request}
    if _OURS in str(found.get("tracestate")):
        for name in found:
            del request[name]
    return found
