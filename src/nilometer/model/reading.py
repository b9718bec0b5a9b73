"""One series' value over one interval."""

from enum import Enum
from typing import NamedTuple

from nilometer.model.dimensions import Dimensions
from nilometer.model.distribution import Distribution


class Kind(Enum):
    """How readings of a series combine over time: added up, replaced, or merged."""

    COUNTER = "counter"
    GAUGE = "gauge"
    DISTRIBUTION = "distribution"


class Reading(NamedTuple):
    """One series' value over one interval.

    A counter's value is how far it moved in the interval; a gauge's is the last one; a
    distribution's is what was recorded in the interval. Values of `cumulative` readings (only
    other systems send them) count from `started_ns`, which then stays the same from one reading
    to the next. Both times are wall-clock nanoseconds since 1970; for a gauge only `ended_ns`
    means anything. `unit` is UCUM as in OpenTelemetry (``ns``, ``By``, ``1``, ``{request}``).
    """

    name: str
    kind: Kind
    dimensions: Dimensions
    value: int | float | Distribution
    started_ns: int
    ended_ns: int
    unit: str = ""
    description: str = ""
    scope: str = ""  # the library that made the instrument, as OpenTelemetry names it
    cumulative: bool = False
