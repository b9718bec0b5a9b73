"""What the collector measures about itself; it is a measured service like any other.

The instruments are made through `nilometer`, as every service makes its own, and their readings
are written to the collector's own tables as service "nilometer-collector".
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

import nilometer
from nilometer.clock import Clock
from nilometer.measure import REGISTRY
from nilometer.model import Kind

if TYPE_CHECKING:
    from nilometer.model import Event, Reading

log = logging.getLogger("nilometer.collector")

REJECTED = nilometer.counter(
    "nilometer.collector.rejected",
    unit="{item}",
    description="Requests, datagrams, lines and rows that were refused, by door and reason.",
)
ACCEPTED = nilometer.counter(
    "nilometer.collector.accepted",
    unit="{row}",
    description="Spans, readings and events that were taken and committed, by door and kind.",
)
COMMIT = nilometer.timer(
    "nilometer.collector.commit", description="How long commits to the tables took."
)
COMMITTED = nilometer.counter(
    "nilometer.collector.committed", unit="{row}", description="Rows committed."
)
COMMIT_FAILED = nilometer.counter(
    "nilometer.collector.commit.failed",
    unit="{commit}",
    description="Commits that the tables refused; their senders were told to come again.",
)
DATAGRAMS = nilometer.counter(
    "nilometer.collector.statsd.datagrams", unit="{datagram}", description="Datagrams received."
)
BUS_LOST = nilometer.counter(
    "nilometer.collector.notifications.disconnected",
    unit="{time}",
    description="How often a broker of notifications was not there, by what it said.",
)
KAFKA_LOST = nilometer.counter(
    "nilometer.collector.kafka.disconnected",
    unit="{time}",
    description="How often no broker of Kafka was there, by what was said.",
)
KAFKA_LAG = nilometer.gauge(
    "nilometer.collector.kafka.lag",
    unit="{message}",
    description="Messages that wait in the partitions of this collector, by topic and group.",
)
LOST = nilometer.counter("nilometer.lost", description="What we lost, and why.")
CLAMPED = nilometer.counter(
    "nilometer.collector.clamped",
    unit="{row}",
    description="Rows far from today, by kind: of clocks off by weeks, or of old traces; kept.",
)
DUPLICATES = nilometer.counter(
    "nilometer.collector.duplicates",
    unit="{row}",
    description="Rows equal to rows taken before, by kind: sent again, they count once.",
)
QUERY = nilometer.timer(
    "nilometer.collector.query", description="How long REST queries took, by route."
)

MAINTAIN = nilometer.timer(
    "nilometer.collector.maintain", description="How long compaction and retention took."
)
MAINTAIN_FAILED = nilometer.counter(
    "nilometer.collector.maintain.failed", description="Maintenance that the store refused."
)

QUIET_NS: Final = 60 * 10**9  # a flood of bad input must not become a flood of log lines


class Sayer:
    """Logs about each matter at most once a minute, with how often it came meanwhile."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        self._said_ns: dict[str, int] = {}
        self._unsaid: dict[str, int] = {}
        self._lock = threading.Lock()  # matters come from the loop and the statsd thread

    def say(self, matter: str, detail: str = "", *, times: int = 1) -> None:
        """`matter` is a word of ours, so there are few; `detail` is cut and quoted."""
        with self._lock:
            now_ns = self._clock.elapsed_ns()
            times += self._unsaid.get(matter, 0)
            is_due = now_ns - self._said_ns.get(matter, now_ns - QUIET_NS) >= QUIET_NS
            self._unsaid[matter] = 0 if is_due else times
            if not is_due:
                return
            self._said_ns[matter] = now_ns
        shown = f": {detail[:200]!r}" if detail else ""
        log.warning("%s (%d times)%s", matter, times, shown)


class Refusals:
    """Counts what each door refuses, by reason, and says so."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._sayer = Sayer(clock)

    def count(self, door: str, reason: str, items: int = 1, *, detail: str = "") -> None:
        """So many more `items` refused at `door` (otlp, statsd, http, rest) for this reason."""
        if not items:
            return  # an empty metric of a kind that is refused: there was nothing to refuse
        REJECTED.bind(door=door, reason=reason).add(items)
        self._sayer.say(f"{door}: refused, {reason}", detail, times=items)


def taken() -> tuple[tuple[Reading, ...], tuple[Event, ...]]:
    """What the collector measured about itself since the last call; nothing if it was idle.

    Gauges report at every call whether they moved or not, so they alone are no news: else each
    writing of our own readings would be a reason for the next one.
    """
    readings, events = REGISTRY.collect()
    if events or any(reading.kind is not Kind.GAUGE for reading in readings):
        return readings, events
    return (), ()
