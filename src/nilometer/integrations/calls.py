"""Calls of a library's functions: timed always, with a span where the request is traced.

For integrations whose calls differ from one to the next (a command, a destination): what is
known of each kind of call is an `Operation`, made once, and one call of it is a `Call`. It
holds a clock and a span and nothing of the caller's, so it serves ``async`` code as well.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self

from nilometer.clock import elapsed_ns
from nilometer.integrations.callers import where
from nilometer.measure import REGISTRY
from nilometer.measure.decorate import kind_of
from nilometer.model import Level, SpanKind
from nilometer.trace import CURRENT, span
from nilometer.trace.possible import can_trace
from nilometer.trace.steps import awaited
from nilometer.trace.twin import wrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from nilometer.measure import Registry

    Inside = tuple[Callable[..., Any], Callable[..., Any]]
    """A function with a span around each call; and the same with the place of the caller in it.
    Which one is to be called is `Depth.deep`'s to say: ``inside[depth.deep]``."""

OPERATIONS_MAX: Final = 1000
"""Operations remembered of an integration, half a KiB each, 2 with wrappers of their own; what
exceeds it is made anew each time, and its series end in their instrument's overflow."""

LEVELS: Final = "integrations"
"""``levels = {"integrations.redis" = "deep"}``: the level of an integration, by its name."""


class Depth:
    """How deep one integration measures; it follows the levels while the process runs.

    OFF passes every call on untouched. DEEP adds to spans where in the caller's code they
    began. A process that is OFF as a whole still traces the requests that are asked for; what
    `rests` passes calls on until one can be.
    """

    __slots__ = ("on", "deep", "_registry", "_name", "_rests", "_switches")

    def __init__(
        self, integration: str, registry: Registry = REGISTRY, *, rests: bool = False
    ) -> None:
        self._registry = registry
        self._name = f"{LEVELS}.{integration}"
        self._rests = rests
        self._switches: list[Any] = []
        self.follow()
        registry.followers.append(self.follow)

    def follow(self) -> None:
        """Take over what the levels say now."""
        levels = self._registry.levels
        said = levels.of(self._name)
        if said > Level.OFF or levels.deciding(self._name):
            self._set(said > Level.OFF)
        else:
            self._set(not self._rests or can_trace() or not levels.are_off())
        self.deep = said >= Level.DEEP

    def _set(self, on: bool) -> None:
        self.on = on
        for one in self._switches:
            one.on = on

    def switch(self, one: Any) -> None:
        """Have its `on` say the same, for as long as this integration lasts."""
        one.on = self.on
        self._switches.append(one)

    def end(self) -> None:
        """Pass everything on from now on, and follow the levels no more."""
        self._set(False)
        self._switches.clear()
        self.deep = False
        with suppress(ValueError):
            self._registry.followers.remove(self.follow)


class Calls:
    """The calls of one integration that one timer measures.

    Its errors are counted in `<name>.errors`, by the call's dimensions and `error.type`.
    `costs` says what our wrapper costs a call beyond the timer, `rests` is `Depth`'s.
    """

    __slots__ = ("depth", "kind", "_timer", "_errors", "_operations", "_series")

    def __init__(
        self,
        integration: str,
        name: str,
        *,
        description: str,
        level: Level = Level.BASIC,
        kind: SpanKind = SpanKind.CLIENT,
        registry: Registry = REGISTRY,
        costs: Callable[[], float] | None = None,
        rests: bool = False,
    ) -> None:
        self.depth = Depth(integration, registry, rests=rests)
        self.kind = kind
        self._timer = registry.timer(name, level=level, description=description)
        self._errors = registry.counter(
            f"{name}.errors",
            unit="{error}",
            level=level,
            description=f"Errors of {name}.",
        )
        self._operations: dict[Hashable, Operation] = {}
        self._series: set[Any] = set()
        if costs is not None:
            registry.costs_also(f"{name} of {integration}", costs, self._counted)

    def operation(
        self,
        key: Hashable,
        name: str,
        dimensions: Mapping[str, str],
        attributes: Mapping[str, object] | None = None,
    ) -> Operation:
        """What is known under this key, else made: its span's name, and what both show.

        Look it up by `known` first, which builds no mapping.
        """
        made = Operation(self, name, dimensions, {**dimensions, **(attributes or {})})
        if len(self._operations) < OPERATIONS_MAX:
            self._operations[key] = made
        return made

    def known(self, key: Hashable) -> Operation | None:
        """The operation of that key, if there is one."""
        return self._operations.get(key)

    def timed(
        self, dimensions: Mapping[str, str]
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """What makes of a function one that is timed in the series of these dimensions.

        Its errors are counted, too; it is in C where there is C, and costs half of a `Call`.
        """
        timer: Callable[[Callable[..., Any]], Callable[..., Any]] = self._bound(dimensions)
        return timer

    def timed_inside(self, function: Callable[..., Any], operation: Operation) -> Inside:
        """The same as `inside`, timed in the operation's series, with its name and attributes.

        In C where there is C, it costs a third of a `Call`.
        """
        timed = self.timed(operation.dimensions)
        plain, placed = self.inside(function, operation.name, operation.attributes)
        return timed(plain), timed(placed)

    def inside(
        self, function: Callable[..., Any], name: str, attributes: Mapping[str, object]
    ) -> Inside:
        """What runs in the place of a function where a request is traced: with a span.

        Made once, it costs a third of a span that is made of its parts at each call. Where
        no request is traced it passes calls on.
        """
        shown = dict(attributes)
        driver = awaited if kind_of(function) == "coroutine" else None

        def placed(*args: Any, **named: Any) -> Any:
            here = {**shown, **where()}
            return wrapped(function, name, here, driver, self.kind)(*args, **named)

        return wrapped(function, name, shown, driver, self.kind), placed

    def record_for(self, dimensions: Mapping[str, str]) -> Callable[[int], None]:
        """What records a duration in ns in the series of these dimensions."""
        record: Callable[[int], None] = self._bound(dimensions).record
        return record

    def _bound(self, dimensions: Mapping[str, str]) -> Any:
        series = self._timer.bind(**dimensions)
        self._series.add(series)
        return series

    def _counted(self) -> int:
        """Calls of this integration: others may share its timer."""
        return sum(series.calls for series in list(self._series))

    def failed(self, dimensions: Mapping[str, str], error: BaseException | str) -> None:
        """Count what a call raised, or what is known of how it failed."""
        kind = error if isinstance(error, str) else type(error).__name__
        self._errors.bind(**dimensions, **{"error.type": kind}).add()


class Operation:
    """One kind of call: its series, and what its spans show."""

    __slots__ = ("calls", "name", "record", "dimensions", "attributes")

    def __init__(
        self,
        calls: Calls,
        name: str,
        dimensions: Mapping[str, str],
        attributes: dict[str, object],
    ) -> None:
        self.calls = calls
        self.name = name
        self.record = calls.record_for(dimensions)
        self.dimensions = dimensions
        self.attributes = attributes


class Call:
    """One call, for a ``with`` statement: ``with Call(operation) as call:``.

    `span` is the call's span where the request is traced, else None. What it raises passes
    unchanged.
    """

    __slots__ = ("_operation", "_started", "span")

    def __init__(self, operation: Operation) -> None:
        self._operation = operation
        self.span: Any = None

    def __enter__(self) -> Self:
        if CURRENT.get() is not None:
            self._begin_span()
        self._started = elapsed_ns()
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        operation = self._operation
        operation.record(elapsed_ns() - self._started)
        if error is not None:
            operation.calls.failed(operation.dimensions, error)
        if self.span is not None:
            self.span.finish(error)

    def _begin_span(self) -> None:
        operation = self._operation
        made: Any = span(operation.name, **operation.attributes)
        if not made.recording:
            return
        made.kind = operation.calls.kind
        if operation.calls.depth.deep:
            made.set_attributes(where())
        self.span = made.start()
