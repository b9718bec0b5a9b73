"""Which messages Kafka delivers again: those of a partition below what was completed before.

What is completed is asked of Kafka's client once per batch. Each message is looked at only
until its partition is where it was left; from then on none can come again until partitions
are given out anew. A partition at rest never gets there: of those Kafka is asked once.
"""

from __future__ import annotations

from logging import getLogger
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations import faults
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.monasca_ledger import Ledger

log = getLogger("nilometer")

SKEW_MS: Final = 600_000  # a producer's clock may be ahead of ours; by ten minutes none is
ASKED_S: Final = 1.0  # once after partitions were given out, and only where one is at rest


class Redelivery:
    """What one consumer of confluent-kafka gets a second time.

    ``look(message)`` is to be called with each message while `looks` says so; `changed` is
    called when that changes. `again` are those that came again since the last `completed`.
    """

    def __init__(self, ledger: Ledger, client: Any, changed: Callable[[], None]) -> None:
        self._ledger = ledger
        self._client = client
        self._changed = changed
        self._assigned: set[int] | None = None
        self._passed: set[int] = set()
        self._known: dict[int, int] = {}  # where each partition was left
        self._asked = False
        self.looks = True
        self.again = 0

    def look(self, message: Any) -> None:
        """Count a message that comes again. Never raises."""
        try:
            partition = message.partition()
            if partition not in self._passed:
                self._look(partition, message)
        except Exception as error:  # noqa: BLE001  the message is processed all the same
            self._give_up(error)

    def _look(self, partition: int, message: Any) -> None:
        left_at = self._known.get(partition)
        if left_at is None:
            left_at = self._known[partition] = self._left_at(partition, message)
        if message.offset() < left_at:
            self.again += 1
            return
        self._passed.add(partition)
        if self._assigned is None:
            self._assigned = {
                one.partition for one in self._client.assignment() if self._is_left(one)
            }
        self._look_no_more_if_passed()

    def _is_left(self, assigned: Any) -> bool:
        return self._ledger.completed(assigned.partition).offset > 0

    def _look_no_more_if_passed(self) -> None:
        if self._assigned is not None and self._assigned <= self._passed:
            self._set(looks=False)

    def _left_at(self, partition: int, message: Any) -> int:
        """Where a partition was left; 0 where the topic was made anew since."""
        offset, at_ms = self._ledger.completed(partition)
        if message.offset() >= offset:
            return offset
        here = next(one for one in self._client.assignment() if one.partition == partition)
        _low, high = self._client.get_watermark_offsets(here, cached=True)
        _kind, written_ms = message.timestamp()
        if 0 <= high < offset or written_ms > at_ms + SKEW_MS:
            self._ledger.forget(partition)
            return 0
        return offset

    def positions(self) -> list[tuple[int, int]]:
        """How far each partition was handed out; all of that is in this batch or before it."""
        try:
            assigned = self._client.assignment()
            if self.looks and not self._asked:
                self._asked = True
                self._pass_at_rest([one for one in assigned if self._is_left(one)])
            asked = self._client.position(assigned)
        except Exception as error:  # noqa: BLE001  the batch is written all the same
            self._give_up(error)
            return []
        return [(one.partition, one.offset) for one in asked if one.offset >= 0]

    def _pass_at_rest(self, left: list[Any]) -> None:
        """Of a partition of which all that was completed is committed nothing comes again."""
        late = [one for one in left if one.partition not in self._passed]
        if not late:
            return
        try:
            answers = self._client.committed(late, timeout=ASKED_S)
        except Exception as error:  # noqa: BLE001  no answer; messages are looked at further
            log.debug("not known how far it is committed: %r", error)
            return
        for one in answers:
            if one.offset >= self._ledger.completed(one.partition).offset:
                self._passed.add(one.partition)
        self._look_no_more_if_passed()

    def completed(self, positions: list[tuple[int, int]]) -> int:
        """Note what was completed, and return how much of it had been so before."""
        again, self.again = self.again, 0
        for partition, offset in positions:
            self._ledger.complete(partition, offset)
        return again

    def begin_anew(self) -> None:
        """Partitions are given out anew: look again, from wherever they were left."""
        self._assigned = None
        self._asked = False
        self._passed.clear()
        self._known.clear()
        self._set(looks=True)

    def _set(self, *, looks: bool) -> None:
        if looks != self.looks:
            self.looks = looks
            self._changed()

    def _give_up(self, error: Exception) -> None:
        REGISTRY.lost("redelivery", type(error).__name__)
        faults.tell("monasca_persister", "what comes again", error, so="is not known")
        self._set(looks=False)
