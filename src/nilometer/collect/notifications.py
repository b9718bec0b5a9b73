"""Notifications on their way into the tables: read, paired, committed, then acknowledged.

Whoever consumes a queue gives each message to `Intake.take` and asks for a `Flight` when none
is under way; when that is committed its last message is acknowledged, and with it all before.
What cannot be read is committed, too, as rejected: nobody would send it again. A message that
comes twice, redelivered or on two topics, counts once: by its id as long as that is remembered,
and beyond that by its row, which says the same (docs/adr/0011).
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.collect.budget import Rates, Totals
from nilometer.collect.instruments import ACCEPTED, DUPLICATES
from nilometer.collect.own import OWN_SERVICE
from nilometer.collect.points import Pairs
from nilometer.collect.units import Unit, committed
from nilometer.errors import WireError
from nilometer.model import Batch, Rejected, Resource
from nilometer.model.notification import PROFILER
from nilometer.wire.notifications import event_of, opened, resource_of, without_secrets
from nilometer.wire.osprofiler_points import point_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nilometer.clock import Clock
    from nilometer.collect.bus_url import Bus
    from nilometer.collect.group import GroupCommit
    from nilometer.collect.instruments import Refusals
    from nilometer.wire.notifications import Opened
    from nilometer.wire.osprofiler_points import Point

DOOR: Final = "notifications"

KEPT_BYTES_MAX: Final = 64 << 10  # of a message that cannot be read; a whole one has 2 kB
SEEN_MAX: Final = 100_000
"""Ids that are remembered: of what a broker may have under way by one queue twenty times, some
15 MB."""


class Message(NamedTuple):
    """One message; of `batch` and `point` at most one is there, neither if it was refused."""

    tag: int
    body: bytes
    origin: str
    identity: str = ""
    batch: Batch | None = None
    point: Point | None = None
    compression: str = ""


class Flight(NamedTuple):
    """Messages that are being committed; `tag` is the last one's."""

    units: list[Unit[Message]]
    tag: int
    events: int
    points: int


class Intake:
    """What was taken from one bus; `take` and `flight` are called by its one thread."""

    def __init__(
        self, group: GroupCommit, refusals: Refusals, bus: Bus, *, clock: Clock
    ) -> None:
        self._group = group
        self._refusals = refusals
        self._clock = clock
        self._resource = Resource(OWN_SERVICE, host=socket.gethostname(), pid=os.getpid())
        self._rates = Rates(bus.rate, clock)
        self._traces = Totals(bus.trace_points)
        self._pairs = Pairs()
        self._seen: dict[str, None] = {}
        # What the budgets said of messages that are in no flight: they come again when the
        # connection is lost, and count only once.
        self._judged: dict[str, bool] = {}
        self._failed: list[Flight] = []
        self._gathered: list[Message] = []
        self.gathered_bytes = 0

    @property
    def gathered(self) -> int:
        """How many messages wait for a flight."""
        return len(self._gathered)

    def remember(self, points: Iterable[Point]) -> None:
        """Points that lie in the tables and wait for the others."""
        self._pairs.remember(points)

    def take(
        self, tag: int, body: bytes, exchange: str, key: str, compression: str = ""
    ) -> None:
        """One message, published to `exchange` under the routing key `key`."""
        topic, _, _ = key.rpartition(".")
        self.gathered_bytes += len(body)
        message = Message(tag, body, f"{exchange}/{key}", compression=compression)
        try:
            message = self._read(message, exchange, topic, compression)
        except WireError as error:
            batch = self._rejected(message, error.reason, str(error))
            message = message._replace(batch=batch)
        except Exception as error:  # noqa: BLE001 - it would come again and again, all behind it wait
            batch = self._rejected(message, "unforeseen", f"{type(error).__name__}: {error}")
            message = message._replace(batch=batch)
        self._gathered.append(message)

    def _read(self, message: Message, exchange: str, topic: str, compression: str) -> Message:
        found = opened(message.body, compression)
        message = message._replace(identity=found.identity)
        if found.identity in self._seen:  # counts in no budget a second time
            return message
        if found.name.startswith(PROFILER):
            point = point_of(found.message["payload"], at_ns=found.at_ns)
            if self._may_have(found, point):
                return message._replace(point=point)
        elif self._may_have(found):
            resource, event = event_of(found, exchange=exchange, topic=topic)
            return message._replace(batch=Batch(resource, events=(event,)))
        return message

    def _may_have(self, found: Opened, point: Point | None = None) -> bool:
        """Whether it is within the budgets, in which it counts once, however often it comes."""
        judged = self._judged.get(found.identity)
        if judged is None:
            judged = self._judged[found.identity] = self._counted(found, point)
            _bound(self._judged)
        return judged

    def _counted(self, found: Opened, point: Point | None) -> bool:
        if point is None:
            return self._within(found.at_ns, "publisher", *resource_of(found.publisher)[:2])
        who = point.resource
        within = self._within(found.at_ns, "service", who.service, who.attributes)
        return within and self._within_trace(point)

    def _within(self, sent_ns: int, *key: object) -> bool:
        taken = self._rates.takes(key, sent_ns)
        if not taken:
            self._refusals.count(DOOR, "flood", detail=" ".join(map(str, key)))
        return taken

    def _within_trace(self, point: Point) -> bool:
        taken = self._traces.takes(point.trace_id)
        if not taken:
            self._refusals.count(DOOR, "trace-flood", detail=point.trace_id.hex())
        return taken

    def _rejected(self, message: Message, reason: str, detail: str) -> Batch:
        self._refusals.count(DOOR, reason, detail=f"{message.origin}: {detail}")
        kept = without_secrets(message.body, message.compression)[:KEPT_BYTES_MAX]
        row = Rejected(
            self._clock.wall_ns(),
            DOOR,
            message.origin,
            reason,
            detail,
            kept,
            len(message.body),
        )
        return Batch(self._resource, rejected=(row,))

    def _unstorable(self, message: Message, because: str) -> Batch:
        return self._rejected(message, "not-storable", because)

    def forget(self) -> None:
        """The connection is gone: what is in no flight, or in one that failed, will be
        delivered again."""
        while self._failed:
            self._seen.clear()
            for unit in self._failed.pop().units:
                told = (each.identity for each in unit.messages)
                self._judged |= dict.fromkeys(filter(None, told), True)
        _bound(self._judged)
        self._gathered.clear()  # but not what the budgets said of it
        self.gathered_bytes = 0

    def flight(self) -> Flight | None:
        """All that was gathered, to be committed; None if that is nothing."""
        if not self._gathered:
            return None
        gathered, self._gathered = self._gathered, []
        self.gathered_bytes = 0
        fresh = [message for message in gathered if self._is_new(message.identity)]
        for message in gathered:
            self._judged.pop(message.identity, None)
        units = [Unit([each.batch], [each]) for each in fresh if each.batch is not None]
        events = len(units)
        points = [each.point for each in fresh if each.point is not None]
        if points:
            told = [each for each in fresh if each.point is not None]
            units.append(Unit(self._pairs.paired(points), told))
        return Flight(units, gathered[-1].tag, events, len(points))

    def _is_new(self, identity: str) -> bool:
        if not identity:
            return True
        if identity in self._seen:
            DUPLICATES.bind(kind=DOOR).add()
            return False
        self._seen[identity] = None
        _bound(self._seen)
        return True

    async def commit(self, flight: Flight) -> None:
        """Return when all of it is committed, however often that must be tried.

        What it raises ends the connection, and `forget` follows in the bus's thread.
        """
        try:
            await committed(self._group, flight.units, self._unstorable)
        except BaseException:
            self._failed.append(flight)
            raise
        ACCEPTED.bind(door=DOOR, kind="events").add(flight.events)
        ACCEPTED.bind(door=DOOR, kind="points").add(flight.points)


def _bound(remembered: dict[str, Any]) -> None:
    while len(remembered) > SEEN_MAX:
        del remembered[next(iter(remembered))]
