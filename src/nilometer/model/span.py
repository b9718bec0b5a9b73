"""A timed piece of one request."""

from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

from nilometer.model.dimensions import AttributeValue
from nilometer.model.event import Event


class SpanKind(IntEnum):
    """Which side of a call a span is; the numbers are OTLP's."""

    UNSPECIFIED = 0
    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


class Status(IntEnum):
    """How a span ended; the numbers are OTLP's."""

    UNSET = 0
    OK = 1
    ERROR = 2


class Link(NamedTuple):
    """A span elsewhere that this one has to do with, not its parent."""

    trace_id: bytes
    span_id: bytes
    attributes: Mapping[str, AttributeValue]


class SpanRecord(NamedTuple):
    """A finished span.

    `trace_id` is 16 bytes, `span_id` and `parent_id` 8; the root's `parent_id` is empty.
    Times are wall-clock nanoseconds since 1970, the end being start plus *monotonic* duration.
    A span left by an exception has status ERROR, the exception's class in ``error.type`` and
    its text, cut, in `status_message`.
    """

    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    name: str
    kind: SpanKind
    started_ns: int
    ended_ns: int
    attributes: Mapping[str, AttributeValue]
    status: Status = Status.UNSET
    status_message: str = ""
    events: tuple[Event, ...] = ()
    links: tuple[Link, ...] = ()
    scope: str = ""
