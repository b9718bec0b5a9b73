"""What one statsd line says: a sample, before anyone has aggregated it."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from nilometer.model import Dimensions


class SampleType(Enum):
    """The types of all dialects, by the word on the wire."""

    COUNTER = "c"
    TIMER = "ms"
    GAUGE = "g"
    HISTOGRAM = "h"
    DISTRIBUTION = "d"
    SET = "s"
    RATE = "r"  # Monasca
    KEY_VALUE = "kv"  # statsite
    EVENT = "_e"  # DogStatsD
    SERVICE_CHECK = "_sc"  # DogStatsD


class Sample(NamedTuple):
    """One value of one series.

    `weight` is 1 / sample rate: how many values this one stands for. It counts in counts, sums
    and quantiles, never in extremes, and is 1 where a rate means nothing (gauges, sets).
    A timer's value is in milliseconds. `relative` gauges are added to the last value.

    A set's member is `text` (value 1). Of an event `name` is the title, `text` the body, value
    1; of a service check value is the status 0..3 and `text` the message.
    """

    name: str
    type: SampleType
    value: int | float
    weight: float
    dimensions: Dimensions
    at_ns: int | None = None
    relative: bool = False
    text: str = ""
