"""All instruments of a process: made once by name, switched by level, collected together.

Two rules: whatever a reading might be lost by is counted in `nilometer.lost`, and user code
(gauges that read a callable) runs before anything is taken, under no lock that others need.
"""

from __future__ import annotations

import os
import weakref
from _thread import RLock
from typing import TYPE_CHECKING, Any, Final

from nilometer.clock import Clock
from nilometer.errors import InstrumentClashError
from nilometer.measure import twin
from nilometer.measure.asked import NAME_CHARS_MAX, origin, refuse_other_than_text, way
from nilometer.measure.events import ATTRIBUTES_MAX, EventBuffer, EventSource, attributes_of
from nilometer.measure.family import Instrument
from nilometer.measure.levels import Levels
from nilometer.measure.readings import readings_of
from nilometer.measure.reads import GaugeRead, reads_of
from nilometer.model import Event, Level

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from nilometer.measure.family import Notes
    from nilometer.measure.pure import Counter, Gauge, Timer
    from nilometer.measure.state import InstrumentState
    from nilometer.model import Reading

# A dashboard shows tens of series; a label taken from user input makes millions. A series with
# its values is 0.5 to 2 KiB, so an instrument that is full holds at most 2 MiB.
SERIES_MAX: Final = 1000

# Instruments are named in source code: the largest services have some thousand. Beyond are
# names built from data; such instruments work, but are switched off and counted as lost.
INSTRUMENTS_MAX: Final = 10_000


class Registry:
    """Instruments by name. A process has one, `measure.REGISTRY`; tests make their own.

    `correlate` returns (trace_id, span_id) of the span an event happened in; tracing sets it.
    `on_read` is called when a gauge is given a `read=`; who collects sets it. `followers` are
    called after each change of levels, and when the first request can be traced.
    """

    def __init__(
        self,
        *,
        clock: Clock = Clock(),  # noqa: B008 (an immutable value)
        series_max: int = SERIES_MAX,
        core: ModuleType = twin.core,
    ) -> None:
        self.clock = clock
        self.core = core
        self.series_max = series_max
        self.arena = core.Arena()
        self.catalogue: Notes | None = None
        self.correlate: Callable[[], tuple[bytes, bytes]] | None = None
        self.on_read: Callable[[], None] | None = None
        self._instruments: dict[str, Instrument] = {}
        self._sources: dict[str, EventSource] = {}
        self.followers: list[Callable[[], None]] = []
        self.levels = Levels()
        self._dearer: dict[str, tuple[Callable[[], float], Callable[[], int] | None]] = {}
        self._events = events = EventBuffer()
        self.costs_also("events", _event_ns, lambda: events.kept)
        self._start_afresh()
        self._lost = self.counter("nilometer.lost", description="What we lost, and why.")
        self._overflow = self.counter(
            "nilometer.series.overflow", description="Binds beyond the bound on series."
        )
        _REGISTRIES.add(self)

    def _start_afresh(self) -> None:
        self._making = RLock()
        self._collecting = RLock()
        self.collected_ns = self.clock.wall_ns()
        self._told = {"refused": 0, "errors_missed": 0}

    # --- making -----------------------------------------------------------------------------

    def counter(
        self,
        name: str,
        *,
        unit: str = "1",
        level: Level | str = Level.BASIC,
        description: str = "",
        per_thread: bool = False,
    ) -> Counter:
        """Return the counter of that name, made if there is none.

        Raises InstrumentClashError if the name is taken by another kind or unit.
        """
        root: Counter = self._made(name, "counter", unit, level, description, per_thread).root
        return root

    def gauge(
        self,
        name: str,
        *,
        unit: str = "1",
        level: Level | str = Level.BASIC,
        description: str = "",
        read: Callable[[], float | None] | None = None,
        per_thread: bool = False,
    ) -> Gauge:
        """Return the gauge of that name, made if there is none.

        `read` is called at each collect while the gauge is on, and replaces an earlier one;
        None from it means no value now, what it raises is counted in `nilometer.lost`.
        Raises InstrumentClashError if the name is taken by another kind or unit.
        """
        if read is not None and not callable(read):
            raise TypeError(f"read must be callable, not {type(read).__name__}")
        root: Gauge = self._made(name, "gauge", unit, level, description, per_thread).root
        if read is not None:
            root.read = read
            if self.on_read is not None:
                self.on_read()
        return root

    def timer(
        self,
        name: str,
        *,
        unit: str = "ns",
        level: Level | str = Level.BASIC,
        description: str = "",
        per_thread: bool = False,
        errors: Counter | None = None,
        tally: Counter | None = None,
    ) -> Timer:
        """Return the timer of that name, made if there is none.

        Bodies left by an exception are counted by `error.type` in the counter `errors`, which
        is `<name>.errors` if none is given; in that of `tally`, at no cost, all that it timed.
        Raises ValueError for another unit than ns, and InstrumentClashError if either name is
        taken by another kind or unit.
        """
        if unit != "ns":
            raise ValueError(f"a timer counts in ns, not in {unit!r}")
        with self._making:
            name = self._fitting(name, NAME_CHARS_MAX - len(".errors"))
            if errors is None:  # both are made, or none
                self._refuse_clash(f"{name}.errors", "counter", "{error}")
            instrument = self._made(name, "timer", unit, level, description, per_thread)
            instrument.tally = tally or instrument.tally
            if tally is not None and self.catalogue is not None:
                self.catalogue.note(instrument)
            if instrument.errors is None:
                instrument.errors = errors or self.counter(
                    f"{name}.errors",
                    unit="{error}",
                    level=level,
                    description=f"Errors of {name}.",
                    per_thread=per_thread,
                )
        root: Timer = instrument.root
        return root

    def distribution(self, name: str, *, unit: str = "1", description: str = "") -> Timer:
        """Return what keeps the distribution of whole numbers, as a timer does that of ns.

        Raises InstrumentClashError if the name is taken by another kind or unit.
        """
        root: Timer = self._made(name, "timer", unit, Level.BASIC, description, False).root
        return root

    def event_source(
        self, name: str, *, level: Level | str = Level.BASIC, description: str = ""
    ) -> EventSource:
        """Return the event source of that name, made if there is none."""
        with self._making:
            name = self._fitting(name)
            source = self._sources.get(name)
            if source is None:
                refuse_other_than_text(name, "1", description)
                self._refuse_clash(name, "event", EventSource.unit)
                made_at = origin()
                depth = Level.of(level, origin=made_at)
                source = EventSource(self.emit, name, depth, description, made_at)
                source.on = self.levels.is_on(name, source.level)
                if self._has_room():
                    self._sources[name] = source
        return source

    def event(self, name: str, /, **attributes: object) -> None:
        """Note one thing that happened, now; the first use of a name makes its source."""
        source = self._sources.get(name) or self.event_source(name)
        source.emit(**attributes)

    def _made(
        self,
        name: str,
        kind: str,
        unit: str,
        level: Level | str,
        description: str,
        per_thread: bool,
    ) -> Instrument:
        with self._making:
            name = self._fitting(name)
            self._refuse_clash(name, kind, unit)
            known = self._instruments.get(name)
            if known is not None and known.per_thread == per_thread:
                return known
            if known is not None:
                raise InstrumentClashError(
                    f"{origin()}: {kind} {name!r}{way(per_thread)} was made as a "
                    f"{known.kind}{way(known.per_thread)} at {known.origin}",
                    slug="instrument-clash",
                )
            refuse_other_than_text(name, unit, description)
            made_at = origin()
            depth = Level.of(level, origin=made_at)
            listed = self._has_room()
            instrument = Instrument(
                self, name, kind, unit, depth, description, per_thread, made_at, listed
            )
            if listed:
                instrument.family.on = self.levels.is_on(name, instrument.level)
                self._instruments[name] = instrument
            return instrument

    def _refuse_clash(self, name: str, kind: str, unit: str) -> None:
        known = self._instruments.get(name) or self._sources.get(name)
        if known is not None and (known.kind, known.unit) != (kind, unit):
            raise InstrumentClashError(
                f"{origin()}: {kind} {name!r} in {unit!r} was made as a {known.kind} "
                f"in {known.unit!r} at {known.origin}",
                slug="instrument-clash",
            )

    def _fitting(self, name: str, chars_max: int = NAME_CHARS_MAX) -> str:
        if not isinstance(name, str) or len(name) <= chars_max:
            return name  # what is no text is refused in its place
        self.lost("name", "too_long")
        return name[:chars_max]

    def _has_room(self) -> bool:
        if len(self._instruments) + len(self._sources) < INSTRUMENTS_MAX:
            return True
        self.lost("instruments", "too_many")
        return False

    def made(self) -> list[Instrument]:
        """Return those that take values; a list, as a signal may make one more."""
        return list(self._instruments.values())

    # --- levels -----------------------------------------------------------------------------

    def set_level(self, prefix: str, level: Level | str) -> None:
        """Measure what lies under this prefix (whole dotted parts; '' is all) this deep.

        The longest prefix that fits a name decides, also for instruments that are made later.
        Raises ConfigError for a level that is none.
        """
        if not isinstance(prefix, str):
            raise TypeError(f"prefix must be text, not {type(prefix).__name__}")
        with self._making:
            self.levels.set(prefix, Level.of(level, origin=origin()))
            for instrument in self.made():
                instrument.family.on = self.levels.is_on(instrument.name, instrument.level)
            for source in list(self._sources.values()):
                source.on = self.levels.is_on(source.name, source.level)
            self.follow()

    def follow(self) -> None:
        """Call who follows, now that something has changed by which they decide."""
        with self._making:
            for follow in list(self.followers):
                follow()

    def level_of(self, name: str) -> Level:
        """Return the level set for a name: that of the longest prefix that fits it."""
        return self.levels.of(name)

    # --- collecting -------------------------------------------------------------------------

    def collect(self, *, reading: bool = True) -> tuple[tuple[Reading, ...], tuple[Event, ...]]:
        """Return what was measured since the last collect, and start afresh.

        Counters and timers that did not move are left out; gauges are there once they have a
        value. Safe beside recording threads: nothing is lost, nothing counted twice. Without
        `reading`, whoever collects has called what `reads` returned.
        """
        if reading:
            for read in self.reads():
                read()
        with self._collecting:
            self._tell_misses()
            ended_ns = self.clock.wall_ns()
            started_ns = min(self.collected_ns, ended_ns)  # the wall clock may have stepped
            self.collected_ns = ended_ns
            events = self._events.take()
            taken = tuple(readings_of(self.made(), started_ns, ended_ns))
            if self.catalogue is not None:
                self.catalogue.collected(ended_ns)
            return taken, events

    def reads(self) -> list[GaugeRead]:
        """Return what is to be called for the gauges that are on and read something."""
        return reads_of(self.made(), self.lost)

    def _tell_misses(self) -> None:
        """Count as lost what the twin could not place where it happened."""
        refused = ("refused", "values", "arena_full")
        missed = ("errors_missed", "errors", "no_stack")
        for told, what, reason in (refused, missed):
            more = getattr(self.arena, told) - self._told[told]
            if more > 0:
                self.lost(what, reason, more)
                self._told[told] += more

    # --- what we cost and lose --------------------------------------------------------------

    def lost(self, what: str, reason: str, n: int = 1) -> None:
        """Count something of ours that is lost, in `nilometer.lost`."""
        self._lost.bind(what=what, reason=reason).add(n)

    def overflowed(self, name: str) -> None:
        """Count a bind beyond the bound on series."""
        self._overflow.bind(instrument=name).add()

    def emit(self, name: str, attributes: dict[str, Any]) -> None:
        """Keep one event until the next collect; what does not fit is counted."""
        if self._events.is_full:
            self.lost("events", "buffer_full")
            return
        if len(attributes) > ATTRIBUTES_MAX:
            self.lost("attributes", "limit", len(attributes) - ATTRIBUTES_MAX)
        trace_id, span_id = self.correlate() if self.correlate is not None else (b"", b"")
        kept = attributes_of(attributes)
        self._events.keep(Event(name, self.clock.wall_ns(), kept, trace_id, span_id))

    def costs_also(
        self, what: str, calibrate: Callable[[], float], calls: Callable[[], int] | None = None
    ) -> None:
        """Let `overhead` reckon with a wrapper: its ns a call beyond the instruments it moves.

        `calls` is how many there were: by default those of the instrument called `what`.
        """
        self._dearer[what] = calibrate, calls

    def overhead(self) -> int:
        """About how many ns recording took up to the last collect: calls, at calibrated costs.

        Calibrating takes a few ms a kind, once per process.
        """
        from nilometer.measure.overhead import total_ns

        with self._collecting:
            return total_ns(self, self.made(), dict(self._dearer))

    def instruments(self) -> tuple[InstrumentState, ...]:
        """Return every instrument with its state, in the order they were made."""
        from nilometer.measure.state import states_of

        return states_of([*self._instruments.values(), *self._sources.values()])

    def reset_after_fork(self) -> None:
        """Forget all values and let go of locks that another thread held: for the child."""
        self._start_afresh()
        self.catalogue = None  # the file is the parent's
        self.arena.leave()
        self._events.take()
        self._events.kept = 0
        for instrument in self.made():
            instrument.reset()


def _event_ns() -> float:
    from nilometer.measure.overhead import event_ns

    return event_ns()


_REGISTRIES: Final[weakref.WeakSet[Registry]] = weakref.WeakSet()


def follow_all() -> None:
    """Call who follows any registry."""
    for registry in list(_REGISTRIES):
        registry.follow()


def after_fork() -> None:
    """Start afresh in a child; also called where a server forks without telling Python."""
    for registry in list(_REGISTRIES):
        registry.reset_after_fork()


os.register_at_fork(after_in_child=after_fork)
