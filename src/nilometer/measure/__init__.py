"""Instruments: counters, gauges, timers and events, cheap enough to be always on.

    boots = measure.timer("instance.boot")

    @boots
    def boot(server): ...

An instrument is made once and held by the code that uses it; all of a process lie in REGISTRY.
"""

from nilometer.measure.registry import Registry

REGISTRY = Registry()
"""The instruments of this process."""

counter = REGISTRY.counter
gauge = REGISTRY.gauge
timer = REGISTRY.timer
event_source = REGISTRY.event_source
event = REGISTRY.event
set_level = REGISTRY.set_level

__all__ = [
    "REGISTRY",
    "Registry",
    "counter",
    "event",
    "event_source",
    "gauge",
    "set_level",
    "timer",
]
