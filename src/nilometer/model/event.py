"""One thing that happened."""

from collections.abc import Mapping
from typing import NamedTuple

from nilometer.model.dimensions import AttributeValue

INFO = 9  # OpenTelemetry's numbers: 1 trace, 5 debug, 9 info, 13 warn, 17 error, 21 fatal


class Event(NamedTuple):
    """One thing that happened, with its dimensions, not aggregated.

    `trace_id` (16 bytes) and `span_id` (8 bytes) name the span it happened in; empty if none.
    """

    name: str
    at_ns: int
    attributes: Mapping[str, AttributeValue]
    trace_id: bytes = b""
    span_id: bytes = b""
    severity: int = INFO
    body: str = ""
    scope: str = ""
