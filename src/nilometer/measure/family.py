"""One instrument's series: which there are, how many there may be, and where the rest goes."""

from __future__ import annotations

from _thread import _local
from typing import TYPE_CHECKING, Any, Final, Protocol

from nilometer.measure.decorate import decorate
from nilometer.measure.events import TEXT_CHARS_MAX, clean
from nilometer.model import dimensions_of

if TYPE_CHECKING:
    from types import ModuleType

    from nilometer.clock import Clock
    from nilometer.measure.pure import Arena, Counter
    from nilometer.model import Dimensions, Level

OVERFLOW: Final = (("otel.metric.overflow", "true"),)
"""The dimensions, as OpenTelemetry says, of the series that takes what exceeds the bound."""

# Each order of writing the same dimensions takes one entry; two orders are usual at most.
BINDINGS_PER_SERIES: Final = 2


class Home(Protocol):
    """What an instrument needs of its registry."""

    clock: Clock
    core: ModuleType
    arena: Arena
    series_max: int

    def lost(self, what: str, reason: str, n: int = 1) -> None:
        """Count something of ours that is lost."""

    def overflowed(self, name: str) -> None:
        """Count a bind beyond the bound on series."""


class Instrument:
    """Name, kind and unit, with the handles and series that were made of them.

    `handles` are what users hold. `series` have the values: the same, but for instruments by
    thread, whose handles lead to the series of the thread that calls.
    """

    __slots__ = (
        "_make",
        "_registry",
        "description",
        "errors",
        "family",
        "handles",
        "kind",
        "level",
        "name",
        "origin",
        "overflowed",
        "per_thread",
        "root",
        "series",
        "unit",
    )

    def __init__(
        self,
        registry: Home,
        name: str,
        kind: str,
        unit: str,
        level: Level,
        description: str,
        per_thread: bool,
        origin: str,
    ) -> None:
        core = registry.core
        self._registry = registry
        self._make = {"counter": core.Counter, "gauge": core.Gauge, "timer": core.Timer}[kind]
        self.name = name
        self.kind = kind
        self.unit = unit
        self.level = level
        self.description = description
        self.per_thread = per_thread
        self.origin = origin
        self.overflowed = 0
        self.errors: Counter | None = None
        self.family = core.Family(
            self, registry.arena, registry.clock.elapsed_ns, name, unit, level, description
        )
        self.handles: dict[Dimensions, Any] = {}
        self.series: dict[Dimensions, Any] = {}
        if per_thread:
            import threading  # noqa: F401 (its first import must not be a worker thread's)
        self.root = self._handle(())

    @property
    def on(self) -> bool:
        """Whether it measures now."""
        on: bool = self.family.on
        return on

    @property
    def series_count(self) -> int:
        """How many series hold values."""
        return len(self.series)

    def _handle(self, dimensions: Dimensions) -> Any:
        if not self.per_thread:
            return self._series(dimensions)
        handle = self._make(self.family, dimensions, _local())
        return self.handles.setdefault(dimensions, handle)

    def _series(self, dimensions: Dimensions) -> Any:
        handle = self._make(self.family, dimensions)
        return self.series.setdefault(dimensions, handle)

    def child(self, bound: tuple[Any, ...]) -> Any:
        """The child that `bind` has not met: (parent, name, text, name, text, ...)."""
        given = bound[1:]
        fitting = tuple(self._fitting(text) for text in given)
        pairs = zip(fitting[::2], fitting[1::2], strict=True)
        dimensions = dimensions_of({**dict(bound[0].dimensions), **dict(pairs)})
        known = self.handles if self.per_thread else self.series
        child = known.get(dimensions)
        if child is None:
            if len(known) > self._registry.series_max:  # the root is not counted
                return self._overflow(known)
            child = self._handle(dimensions)
        if (
            fitting == given
            and len(self.family.bindings) < BINDINGS_PER_SERIES * self._registry.series_max
        ):
            self.family.bindings[bound] = child
        return child

    def thread_child(self, handle: Any) -> Any:
        """The series of this handle for the thread that calls."""
        from threading import current_thread

        merged = {**dict(handle.dimensions), "thread": self._fitting(current_thread().name)}
        dimensions = dimensions_of(merged)
        child = self.series.get(dimensions)
        if child is not None:
            return child
        if len(self.series) >= self._registry.series_max:
            return self._overflow(self.series)
        return self._series(dimensions)

    def _overflow(self, known: dict[Dimensions, Any]) -> Any:
        self.overflowed += 1
        if self.name != "nilometer.series.overflow":
            self._registry.overflowed(self.name)
        child = known.get(OVERFLOW)
        if child is not None:
            return child
        return self._handle(OVERFLOW) if known is self.handles else self._series(OVERFLOW)

    def _fitting(self, text: str) -> str:
        if len(text) > TEXT_CHARS_MAX:
            self._registry.lost("dimension", "too_long")
        return clean(text[:TEXT_CHARS_MAX])

    def error_counter(self, timer: Any, kind: str) -> Counter:
        """The counter of the errors of this name that leave the body of this timer."""
        assert self.errors is not None  # timers are made with it
        return self.errors.bind(**{**dict(timer.dimensions), "error.type": kind})

    def decorate(self, timer: Any, function: Any) -> Any:
        """Return `function` timed by `timer`."""
        return decorate(self._registry.core.wrap, timer, function)

    def reset(self) -> None:
        """Forget all values."""
        for series in list(self.series.values()):
            series.reset()
