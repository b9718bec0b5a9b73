"""The instruments as they run here: in C where it can be had, else in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nilometer.twin import choose

core = choose("nilometer.measure.pure", "nilometer.measure._core")

if TYPE_CHECKING:  # the types come from the specification
    from nilometer.measure.pure import Arena, Counter, Family, Gauge, Lap, Timer, wrap
else:
    Arena = core.Arena
    Counter = core.Counter
    Family = core.Family
    Gauge = core.Gauge
    Lap = core.Lap
    Timer = core.Timer
    wrap = core.wrap

__all__ = ["Arena", "Counter", "Family", "Gauge", "Lap", "Timer", "core", "wrap"]
