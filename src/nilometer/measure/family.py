"""One instrument's series: which there are, how many there may be, and where the rest goes."""

from __future__ import annotations

import weakref
from _thread import RLock
from typing import TYPE_CHECKING, Any, Final, Protocol

from nilometer.measure.decorate import decorate
from nilometer.measure.events import TEXT_CHARS_MAX, clean
from nilometer.model import dimensions_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from nilometer.clock import Clock
    from nilometer.measure.pure import Arena, Counter, Handle
    from nilometer.measure.threads import Lease
    from nilometer.model import Dimensions, Level

OVERFLOW: Final = (("otel.metric.overflow", "true"),)
"""The dimensions, as OpenTelemetry says, of the series that takes what exceeds the bound."""

# Each order of writing the same dimensions takes one entry; two orders are usual at most.
BINDINGS_PER_SERIES: Final = 2


class Notes(Protocol):
    """What keeps a list of series beside their values, where these outlive the process."""

    def note(self, instrument: Instrument, /) -> None:
        """Add all series of an instrument."""

    def add(self, instrument: Instrument, dimensions: Dimensions, series: Handle, /) -> None:
        """Add a series, before anybody records in it."""

    def drop(self, series: Handle, /) -> None:
        """Take a series off the list, before its values are given up."""

    def collected(self, wall_ns: int, /) -> None:
        """From now on values are of the time after this."""


class Home(Protocol):
    """What an instrument needs of its registry."""

    clock: Clock
    core: ModuleType
    arena: Arena
    catalogue: Notes | None
    series_max: int

    def lost(self, what: str, reason: str, n: int = 1) -> None:
        """Count something of ours that is lost."""

    def overflowed(self, name: str) -> None:
        """Count a bind beyond the bound on series."""


class Instrument:
    """Name, kind and unit, with the handles and series that were made of them.

    `handles` are what users hold. `series` have the values: the same, but for instruments by
    thread, whose handles lead to the series of the thread that calls. Such a series is given
    back once its last thread has ended and its values have been taken.
    """

    __slots__ = (
        "_leases",
        "_leasing",
        "_local",
        "_make",
        "_registry",
        "calls_before",
        "description",
        "errors",
        "family",
        "handles",
        "kind",
        "level",
        "listed",
        "name",
        "origin",
        "overflowed",
        "per_thread",
        "root",
        "series",
        "tally",
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
        listed: bool = True,
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
        self.listed = listed  # its registry knows it, and collects it
        self.overflowed = 0
        self.errors: Counter | None = None
        self.tally: Counter | None = None  # reads how often this timer recorded
        self.family = core.Family(
            self, registry.arena, registry.clock.elapsed_ns, name, unit, level, description
        )
        self.handles: dict[Dimensions, Any] = {}
        self.series: dict[Dimensions, Any] = {}
        self.calls_before = 0  # of series that were given back
        if per_thread:  # the first import of threading must not be a worker thread's
            from nilometer.measure.threads import local_of_threads

            self._leases: weakref.WeakValueDictionary[Dimensions, Lease]
            self._leases = weakref.WeakValueDictionary()
            self._local = local_of_threads()
            self._leasing = RLock()
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

    @property
    def calls(self) -> int:
        """How often it recorded, until it was last taken."""
        own: int = sum(series.calls for series in list(self.series.values()))
        return self.calls_before + own

    def _handle(self, dimensions: Dimensions) -> Any:
        if not self.per_thread:
            return self._series(dimensions)
        from nilometer.measure.threads import local_of_threads

        handle = self._make(self.family, dimensions, local_of_threads())
        return self.handles.setdefault(dimensions, handle)

    def _series(self, dimensions: Dimensions) -> Any:
        handle = self._make(self.family, dimensions)
        series = self.series.setdefault(dimensions, handle)
        notes = self._registry.catalogue
        if series is handle and notes is not None and self.listed:
            notes.add(self, dimensions, series)
        return series

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
        from nilometer.measure.threads import name_of_thread

        merged = {**dict(handle.dimensions), "thread": self._fitting(name_of_thread())}
        dimensions = dimensions_of(merged)
        with self._leasing:
            child = self.series.get(dimensions)
            if child is None:
                if len(self.series) >= self._registry.series_max:
                    return self._overflow(self.series)
                child = self._series(dimensions)
            self._lease(dimensions)
        return child

    def _lease(self, dimensions: Dimensions) -> None:
        """Keep this series for as long as the thread that calls lives."""
        from nilometer.measure.threads import Lease

        held: dict[Dimensions, Lease] = self._local.__dict__
        if dimensions not in held:
            held[dimensions] = self._leases.setdefault(dimensions, Lease())

    def taken(self) -> Iterator[tuple[Dimensions, Any]]:
        """Take what each series has to say, and give back those of threads that have ended."""
        ended = self._ended() if self.per_thread else ()
        told = self.kind != "gauge" or self.family.on
        for dimensions, series in list(self.series.items()):
            value = self._last(dimensions, series) if dimensions in ended else series.take()
            if value is not None and told:
                yield dimensions, value

    def _last(self, dimensions: Dimensions, series: Any) -> Any:
        """Give a series back first, and take then: nobody records in it in between."""
        with self._leasing:
            if dimensions in self._leases:  # a thread of that name began
                return series.take()
            del self.series[dimensions]
        value = series.take()
        if self._registry.catalogue is not None:
            self._registry.catalogue.drop(series)
        self.calls_before += series.calls
        return value

    def _ended(self) -> set[Dimensions]:
        """Which series no thread records in any more."""
        return {d for d in list(self.series) if d not in self._leases and d != OVERFLOW}

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
        """Forget all values: for a child, where the threads of the parent are no more."""
        self.calls_before = 0
        if self.per_thread:
            self._leasing = RLock()
        for series in list(self.series.values()):
            series.reset()
