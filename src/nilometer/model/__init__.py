"""The values that cross boundaries; this package imports nothing of ours.

A *batch* is what a source yields and an exporter takes: who measured (resource), how far every
series moved (readings), timed pieces of requests (spans) and single happenings (events).

What `import nilometer` loads annotates its tuples with types and not, by `from __future__
import annotations`, with their text: `typing` compiles each, and the first costs 1 ms.
"""

from nilometer.model.batch import Batch
from nilometer.model.dimensions import AttributeValue, Dimensions, dimensions_of
from nilometer.model.distribution import SCALE, Distribution
from nilometer.model.event import Event
from nilometer.model.level import Level
from nilometer.model.reading import Kind, Reading
from nilometer.model.rejected import Rejected
from nilometer.model.resource import Resource
from nilometer.model.span import Link, SpanKind, SpanRecord, Status

__all__ = [
    "AttributeValue",
    "Batch",
    "Dimensions",
    "Distribution",
    "Event",
    "Kind",
    "Level",
    "Link",
    "Reading",
    "Rejected",
    "Resource",
    "SCALE",
    "SpanKind",
    "SpanRecord",
    "Status",
    "dimensions_of",
]
