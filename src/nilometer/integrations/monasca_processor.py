"""One processor of the Monasca persister: what it receives, drops, completes, and how long.

Of a message only its processing is timed, in C; that is also what was received, and what fails
is what is dropped. All else is measured by batch. It runs in the thread that consumes.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.monasca_redelivery import Redelivery

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.monasca_ledger import Ledger
    from nilometer.measure import Registry

PASSED_OVER: Final = {
    "points beyond retention policy dropped": "retention_policy",
    "unable to parse": "unparsable",
}
"""Answers of a database after which the persister goes on without the batch; our reasons."""

ASKED_OF_KAFKA: Final = ("assignment", "position", "committed", "get_watermark_offsets")
"""Without these in its client nobody can tell what it delivers again."""


class Meters:
    """The instruments, which all processors share."""

    def __init__(self, registry: Registry) -> None:
        def counter(name: str, description: str) -> Any:
            full = f"monasca.persister.{name}"
            return registry.counter(full, unit="{message}", description=description)

        self.received = counter("received", "Messages that Kafka delivered.")
        self.dropped = counter(
            "dropped", "Messages that could not be processed, and batches passed over."
        )
        self.completed = counter("completed", "Messages written to the database.")
        self.duplicated = counter(
            "duplicated", "Messages written once more, as Kafka delivered them again."
        )
        self.process = registry.timer(
            "monasca.persister.process",
            description="Making a data point of one message.",
            errors=self.dropped,
            tally=self.received,
        )
        self.write = registry.timer(
            "monasca.persister.write", description="Writing one batch to the database."
        )
        self.flush = registry.timer(
            "monasca.persister.flush", description="Writing one batch and committing it."
        )
        self.commit = registry.timer(
            "monasca.persister.commit", description="Telling Kafka how far a batch came."
        )


class Processor:
    """One persister that runs in this process; `on` says whether it is measured.

    `number` is which one of its topic's it is.
    """

    def __init__(
        self, meters: Meters, persister: Any, ledger: Ledger, group: str, number: int
    ) -> None:
        dimensions = {
            "messaging.destination.name": persister._kafka_topic,
            "monasca.processor": str(number),
            "thread": threading.current_thread().name,
            **({"messaging.consumer.group.name": group} if group else {}),
        }
        self._persister = persister
        self._repository = persister.repository
        self._dropped = meters.dropped.bind(**dimensions)
        self._completed = meters.completed.bind(**dimensions)
        self._duplicated = meters.duplicated.bind(**dimensions)
        self._flush = meters.flush.bind(**dimensions)
        self._on = False
        self._passed_over = ""
        self._count = 0
        self._positions: list[tuple[int, int]] = []
        client = getattr(persister._consumer, "_consumer", None)
        known = all(hasattr(client, name) for name in ASKED_OF_KAFKA)
        self.redelivery = Redelivery(ledger, client, self._place) if known else None
        process: Callable[..., Any] = self._repository.process_message
        self._timed = meters.process.bind(**dimensions)(process)
        write: Callable[..., Any] = self._repository.write_batch
        self._timed_write = meters.write.bind(**dimensions)(write)
        commit: Callable[..., Any] = persister._consumer.commit
        self._timed_commit = meters.commit.bind(**dimensions)(commit)
        self._before = {name: vars(part).get(name) for part, name in self._parts()}

    @property
    def on(self) -> bool:
        """Whether it is measured; set by the integration's level."""
        return self._on

    @on.setter
    def on(self, on: bool) -> None:
        if on != self._on:
            self._on = on
            self._place()

    def _place(self) -> None:
        """Put into the persister's parts what is to be called just now."""
        ours = {"write_batch": self._writing, "commit": self._timed_commit}
        ours["process_message"] = self._processing()
        for part, name in self._parts():
            placed = ours[name] if self._on else self._before[name]
            if placed is not None:
                setattr(part, name, placed)
            else:
                vars(part).pop(name, None)

    def _parts(self) -> tuple[tuple[Any, str], ...]:
        return (
            (self._repository, "process_message"),
            (self._repository, "write_batch"),
            (self._persister._consumer, "commit"),
        )

    def _processing(self) -> Callable[..., Any]:
        """What processes a message: the timer alone, where none can have come again."""
        if self.redelivery is None or not self.redelivery.looks:
            return self._timed
        timed, look = self._timed, self.redelivery.look

        def process_message(message: Any) -> Any:
            processed = timed(message)
            look(message)
            return processed

        return process_message

    def flush(self, original: Callable[[Any], None]) -> None:
        """Do what `_flush` does, which is there to be done."""
        self._passed_over = ""
        self._count = self._persister._data_points.get_count()
        self._positions = self.redelivery.positions() if self.redelivery else []
        with self._flush.lap():
            original(self._persister)
        if self._passed_over:  # the persister went on without it, and has committed
            self._dropped.bind(**{"error.type": self._passed_over}).add(self._count)
            self._complete()

    def _writing(self, data_points: Any) -> Any:
        try:
            written = self._timed_write(data_points)
        except Exception as error:
            self._passed_over = reason_of(error)
            raise
        self._completed.add(self._count)
        self._duplicated.add(self._complete())
        return written

    def _complete(self) -> int:
        return self.redelivery.completed(self._positions) if self.redelivery else 0


def reason_of(error: Exception) -> str:
    """Why a batch is passed over, if it is."""
    said = str(error)
    return next((reason for words, reason in PASSED_OVER.items() if words in said), "other")
