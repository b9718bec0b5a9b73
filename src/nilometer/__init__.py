"""Nilometer measures what happens deep inside Python services, at next to nil cost.

    import nilometer

    nilometer.configure(service="compute", export=["otlp://127.0.0.1:4318"])
    boots = nilometer.timer("instance.boot")

    @boots
    def boot(server): ...

Instruments work before `configure` and without it: their values are kept, bounded, and go out
with the first interval of the first exporter. Importing this package loads nothing but itself;
each name below brings its module when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from typing import Unpack

    from nilometer.config import Arguments
    from nilometer.measure import counter, event, event_source, gauge, set_level, timer
    from nilometer.model.level import Level
    from nilometer.trace import carry, current_span, current_trace_id, headers, span, traced
    from nilometer.trace.trigger import Triggers

    OFF = Level.OFF
    BASIC = Level.BASIC
    DETAIL = Level.DETAIL
    DEEP = Level.DEEP

__all__ = [
    "counter",
    "gauge",
    "timer",
    "event",
    "event_source",
    "set_level",
    "span",
    "traced",
    "current_span",
    "current_trace_id",
    "headers",
    "carry",
    "triggers",
    "configure",
    "flush",
    "shutdown",
    "Level",
    "OFF",
    "BASIC",
    "DETAIL",
    "DEEP",
]

FLUSH_S: Final = 2.0
"""Long enough for one request to a neighbour, short enough not to hold up a service's end."""

_HOMES: Final = {
    "counter": "nilometer.measure",
    "gauge": "nilometer.measure",
    "timer": "nilometer.measure",
    "event": "nilometer.measure",
    "event_source": "nilometer.measure",
    "set_level": "nilometer.measure",
    "span": "nilometer.trace",
    "traced": "nilometer.trace",
    "current_span": "nilometer.trace",
    "current_trace_id": "nilometer.trace",
    "headers": "nilometer.trace",
    "carry": "nilometer.trace",
    "Level": "nilometer.model.level",
}
_LEVELS: Final = ("OFF", "BASIC", "DETAIL", "DEEP")


def configure(**settings: Unpack[Arguments]) -> None:
    """Start measuring for real: read all settings, open the exporters, start the pump.

    What is given here wins over ``NILOMETER_...`` variables, and these over nilometer.toml;
    docs/settings.md lists all settings. Called again, it replaces what ran before. Raises
    `nilometer.errors.ConfigError`, which names every setting that cannot be used; then nothing
    has changed.
    """
    from nilometer import assembly

    assembly.configure(settings)


def triggers() -> Triggers:
    """The configured triggers, for a middleware made by hand.

    ``app = Middleware(app, triggers=nilometer.triggers())`` may stand before `configure`: the
    settings that hold when a request comes decide whether it is traced.
    """
    from nilometer import assembly

    return assembly.triggers()


def flush(timeout_s: float = FLUSH_S) -> bool:
    """Send what is measured so far; whether all of it was taken within the time allowed.

    What a receiver refused was not taken, nor what was lost for another reason meanwhile; the
    log says why, and `nilometer.lost` how much. False where nobody is there to take it: before
    `configure`, after `shutdown`, and without exporters. Raises TypeError for a `timeout_s`
    that is no number.
    """
    from nilometer import assembly

    return assembly.flush(timeout_s)


def shutdown(timeout_s: float = FLUSH_S) -> bool:
    """Flush, then stop the pump and close the exporters; `configure` may follow.

    Runs by itself when the process ends in order. Returns and raises as `flush` does: False,
    too, where nobody was there to take anything.
    """
    from nilometer import assembly

    return assembly.shutdown(timeout_s)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    elif name in _LEVELS:
        value = import_module("nilometer.model.level").Level[name]
    else:
        raise AttributeError(f"module 'nilometer' has no attribute {name!r}")
    globals()[name] = value  # found once: afterwards an ordinary attribute
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
