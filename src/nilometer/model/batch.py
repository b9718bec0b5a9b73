"""The only thing that crosses a boundary."""

from typing import NamedTuple

from nilometer.model.event import Event
from nilometer.model.reading import Reading
from nilometer.model.resource import Resource
from nilometer.model.span import SpanRecord


class Batch(NamedTuple):
    """What one resource measured.

    A source is any ``() -> Batch``, an exporter any ``(Batch) -> None``. `delivery` tells it
    from others that say the same of the same time; empty where such another one can only be
    this one, sent again.
    """

    resource: Resource
    readings: tuple[Reading, ...] = ()
    spans: tuple[SpanRecord, ...] = ()
    events: tuple[Event, ...] = ()
    delivery: str = ""

    @property
    def rows(self) -> int:
        """How many readings, spans and events there are; a batch without any is not sent."""
        return len(self.readings) + len(self.spans) + len(self.events)
