"""How far this process' instruments have moved, without taking their readings from anybody.

Reading an instrument starts it afresh, so whoever reads beside an exporter, or beside the
`capture` of a test, would take from them. What is read here is kept, and given to the next
that asks.
"""

from __future__ import annotations

import os
from threading import RLock
from typing import TYPE_CHECKING, Any, Final

from nilometer.measure import REGISTRY
from nilometer.model import Distribution, Event, Kind, Reading

if TYPE_CHECKING:
    from nilometer.measure import Registry

SAMPLES: Final = ".samples"
"""What counts how often a timer was used; `counters` names it the same."""

KEPT_MAX: Final = 10_000
"""Readings kept for whoever asks next, 300 bytes each: 3 MB if nobody ever does."""


OURS: Final = "nilometer."
"""What we cost and lose ourselves is no test's."""


class Tap:
    """Stands where ``registry.collect`` stood, and adds up what comes by."""

    def __init__(self, registry: Registry = REGISTRY) -> None:
        self.totals: dict[str, int | float] = {}
        self._registry = registry
        self._collect = registry.collect
        self._lock = RLock()
        self._readings: list[Reading] = []
        self._events: list[Event] = []

    def begin(self) -> None:
        """Add up from now on."""
        self._registry.collect = self._collected  # type: ignore[method-assign]

    def after_fork(self) -> None:
        """What was kept is the parent's, and no thread of the child holds the lock."""
        self._lock = RLock()
        self._readings.clear()
        self._events.clear()

    def end(self) -> None:
        """Leave nothing behind."""
        vars(self._registry).pop("collect", None)

    def now(self) -> dict[str, int | float]:
        """How far each counter moved since `begin`; of timers, how often they were used.

        How long they took is another each time; `nilometer metrics` shows that.
        """
        with self._lock:
            readings, events = self._taken(reading=False)
            kept = [one for one in readings if one.kind is not Kind.GAUGE]
            self._readings = [*self._readings, *kept][-KEPT_MAX:]
            self._events = [*self._events, *events][-KEPT_MAX:]
            return dict(self.totals)

    def _collected(self, **given: Any) -> tuple[tuple[Reading, ...], tuple[Event, ...]]:
        with self._lock:
            readings, events = self._taken(**given)
            kept, self._readings = self._readings, []
            noted, self._events = self._events, []
        return (*kept, *readings), (*noted, *events)

    def _taken(self, **given: Any) -> tuple[tuple[Reading, ...], tuple[Event, ...]]:
        readings, events = self._collect(**given)
        for one in readings:
            if one.name.startswith(OURS):
                continue
            if isinstance(one.value, Distribution):
                self._add(f"{one.name}{SAMPLES}", one.value.samples)
            elif one.kind is Kind.COUNTER:
                self._add(one.name, one.value)
        return readings, events

    def _add(self, name: str, value: float) -> None:
        self.totals[name] = self.totals.get(name, 0) + value


def moved(
    before: dict[str, int | float], after: dict[str, int | float]
) -> dict[str, int | float]:
    """What moved in between, by name."""
    return {
        name: value - before.get(name, 0)
        for name, value in after.items()
        if value != before.get(name, 0)
    }


def known(registry: Registry = REGISTRY) -> list[str]:
    """The names under which instruments count, moved or not."""
    suffix = {"counter": "", "timer": SAMPLES}
    return [
        one.name + suffix[one.kind]
        for one in registry.instruments()
        if one.kind in suffix and not one.name.startswith(OURS)
    ]


_tap: Tap | None = None


def tap() -> Tap:
    """The one of this process, made and begun at the first use."""
    global _tap
    if _tap is None:
        _tap = Tap()
        _tap.begin()
    return _tap


def let_go() -> None:
    """Take it off again, if there is one."""
    global _tap
    if _tap is not None:
        _tap.end()
        _tap = None


def _after_fork() -> None:
    if _tap is not None:
        _tap.after_fork()


os.register_at_fork(after_in_child=_after_fork)
