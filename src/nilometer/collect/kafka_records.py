"""Messages of Kafka on their way into the tables: read, committed, and only then done with.

Whoever consumes topics gives each message to `Records.take` and asks for a `Flight` when none
is under way; when that is committed, each partition is done with up to what `ends` says. What
cannot be read is committed, too, as rejected: nobody would send it again. A message that comes
twice, after a crash or to another collector of the group, counts once: it is known by the id
that its sender gave it, else by where it lies, and becomes the same rows whoever reads it
(docs/adr/0027).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.collect.body import BODY_BYTES_MAX
from nilometer.collect.instruments import ACCEPTED
from nilometer.collect.otlp import dated, named
from nilometer.collect.own import OWN_SERVICE
from nilometer.collect.units import Unit, committed
from nilometer.errors import WireError
from nilometer.model import Batch, Rejected, Resource
from nilometer.wire import kafka, otlp_in

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from nilometer.clock import Clock
    from nilometer.collect.group import GroupCommit
    from nilometer.collect.instruments import Refusals

DOOR: Final = "kafka"
KEPT_BYTES_MAX: Final = 64 << 10  # of a message that cannot be read: what a row may hold
ID_BYTES_MAX: Final = 200

_DECODE: Final[Mapping[str, Callable[..., otlp_in.Decoded]]] = {
    "traces": otlp_in.decode_traces,
    "metrics": otlp_in.decode_metrics,
    "logs": otlp_in.decode_logs,
}


class Record(NamedTuple):
    """One message; `at_ns` is when it was given to Kafka, 0 where nobody told."""

    topic: str
    partition: int
    offset: int
    at_ns: int
    value: bytes
    headers: Mapping[str, bytes]

    @property
    def origin(self) -> str:
        """Where it lies."""
        return f"{self.topic}/{self.partition}/{self.offset}"


class Flight(NamedTuple):
    """Messages that are being committed; `ends` has what comes next of each partition."""

    units: list[Unit[Record]]
    ends: dict[tuple[str, int], int]
    accepted: Counter[str]


class Records:
    """What was taken from one cluster; all but `commit` is called by its one thread.

    `signals` says by topic which signal a message is that does not tell.
    """

    def __init__(
        self,
        group: GroupCommit,
        refusals: Refusals,
        signals: Mapping[str, str],
        *,
        clock: Clock,
    ) -> None:
        self._group = group
        self._refusals = refusals
        self._signals = signals
        self._clock = clock
        # Not who took it: the same message may come to another, and is known again by all this.
        self._resource = Resource(OWN_SERVICE)
        self._gathered: list[tuple[Record, str, list[Batch]]] = []
        self.rows = 0
        self.bytes = 0

    def take(self, record: Record) -> None:
        """One message, after those before it in its partition."""
        signal = ""
        try:
            signal = self._signal(record)
            batches = self._read(record, signal)
        except WireError as error:
            batches = [self._rejected(record, error.reason, str(error))]
        except Exception as error:  # noqa: BLE001 - it would come again and again, all behind it wait
            batches = [self._rejected(record, "unforeseen", f"{type(error).__name__}: {error}")]
        self._gathered.append((record, signal, batches))
        self.rows += sum(batch.rows for batch in batches)
        self.bytes += len(record.value)

    @property
    def gathered(self) -> int:
        """How many messages wait for a flight."""
        return len(self._gathered)

    def _signal(self, record: Record) -> str:
        told = record.headers.get(kafka.SIGNAL, b"").decode("utf-8", "replace")
        signal = told or self._signals.get(record.topic, "")
        if signal not in _DECODE:
            because = (
                f"{kafka.SIGNAL} is {told[:40]!r}, none of {', '.join(kafka.SIGNALS)}"
                if told
                else f"it has no header {kafka.SIGNAL}, and its topic is not said to be of one"
            )
            raise WireError(because, reason="signal")
        return signal

    def _read(self, record: Record, signal: str) -> list[Batch]:
        if len(record.value) > BODY_BYTES_MAX:
            because = f"{len(record.value)} bytes, more than the {BODY_BYTES_MAX} allowed"
            raise WireError(because, reason="too-large")
        decoded = named(_DECODE[signal](record.value, json=False))
        identity = record.headers.get(kafka.DELIVERY, b"")[:ID_BYTES_MAX].hex()
        delivery = f"{DOOR} {identity or record.origin}"
        at_ns = record.at_ns or self._clock.wall_ns()
        batches = [
            dated(batch, at_ns)._replace(delivery=delivery)
            for batch in decoded.batches
            if batch.rows
        ]
        for reason, items in decoded.rejected.items():
            self._refusals.count(DOOR, f"item-{reason}", items)
        if decoded.rejected:
            batches.append(self._kept(record, "items", decoded.because))
        return batches

    def _rejected(self, record: Record, reason: str, detail: str) -> Batch:
        self._refusals.count(DOOR, reason, detail=f"{record.origin}: {detail}")
        return self._kept(record, reason, detail)

    def _kept(self, record: Record, reason: str, detail: str) -> Batch:
        row = Rejected(
            record.at_ns or self._clock.wall_ns(),
            DOOR,
            record.origin,
            reason,
            detail,
            record.value[:KEPT_BYTES_MAX],
            len(record.value),
        )
        return Batch(self._resource, rejected=(row,))

    def _unstorable(self, record: Record, because: str) -> Batch:
        return self._rejected(record, "not-storable", because)

    def forget(self, places: Collection[tuple[str, int]] | None = None) -> None:
        """Messages in no flight will come again, to us or to another: of these partitions, or
        all of them."""
        kept = [
            each
            for each in self._gathered
            if places is not None and (each[0].topic, each[0].partition) not in places
        ]
        self._gathered = kept
        self.rows = sum(batch.rows for _, _, batches in kept for batch in batches)
        self.bytes = sum(len(record.value) for record, _, _ in kept)

    def flight(self) -> Flight | None:
        """All that was gathered, to be committed; None if that is nothing."""
        if not self._gathered:
            return None
        gathered, self._gathered = self._gathered, []
        self.rows = self.bytes = 0
        accepted: Counter[str] = Counter()
        ends: dict[tuple[str, int], int] = {}
        for record, signal, batches in gathered:
            ends[record.topic, record.partition] = record.offset + 1
            accepted[signal] += sum(batch.rows - len(batch.rejected) for batch in batches)
        units = [Unit(batches, [record]) for record, _, batches in gathered if batches]
        return Flight(units, ends, accepted)

    async def commit(self, flight: Flight) -> None:
        """Return when all of it is committed, however often that must be tried."""
        await committed(self._group, flight.units, self._unstorable)
        for signal, rows in flight.accepted.items():
            if rows:
                ACCEPTED.bind(door=DOOR, kind=signal).add(rows)
