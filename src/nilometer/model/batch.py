"""The only thing that crosses a boundary."""

from typing import NamedTuple

from nilometer.model.event import Event
from nilometer.model.reading import Reading
from nilometer.model.rejected import Rejected
from nilometer.model.resource import Resource
from nilometer.model.span import SpanRecord


class Batch(NamedTuple):
    """What one resource measured.

    A source is any ``() -> Batch``, an exporter any ``(Batch) -> None``. `delivery` tells it
    from others that say the same of the same time; empty where such another one can only be
    this one, sent again. `rejected` is what a receiver could not read; no exporter carries it.
    """

    resource: Resource
    readings: tuple[Reading, ...] = ()
    spans: tuple[SpanRecord, ...] = ()
    events: tuple[Event, ...] = ()
    delivery: str = ""
    rejected: tuple[Rejected, ...] = ()

    @property
    def rows(self) -> int:
        """How many rows of all kinds there are; a batch without any is not sent."""
        return len(self.readings) + len(self.spans) + len(self.events) + len(self.rejected)
