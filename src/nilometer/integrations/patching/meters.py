"""What a patch makes of a function: a timer, a counter, a span, or an event when it raises.

Where no dimension is asked for, a function gets what its decorator would have made: for a
timer and a span the wrapper in C. Else each set of dimensions has such a wrapper of its own,
and what is around them only finds out which.
"""

from __future__ import annotations

from functools import update_wrapper
from types import MethodType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, cast

from nilometer.errors import ConfigError
from nilometer.integrations.patching.described import How, answering, describing
from nilometer.integrations.patching.hooks import Hook
from nilometer.measure.decorate import kind_of, lend_methods
from nilometer.measure.pure import Lap
from nilometer.measure.timed import wrapped as timed
from nilometer.trace import CURRENT, span
from nilometer.trace.decorate import driver_of
from nilometer.trace.twin import wrapped as spanned

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nilometer.integrations.patching.described import Answered, Described
    from nilometer.integrations.patching.hooks import Pairs
    from nilometer.measure import Registry
    from nilometer.measure.pure import Timer
    from nilometer.model.patch import Patch

    Function = Callable[..., Any]
    Call = Callable[[tuple[Any, ...], dict[str, Any]], Any]

PLAIN: Final = "function"
"""The kind of what runs when it is called; others make a body that runs in steps."""


class Switch(Protocol):
    """What says whether there is anything to do in a call: a timer or counter itself does."""

    @property
    def on(self) -> bool:
        """Whether there is, now."""


class Meter(Protocol):
    """What is made of a function, and of each of its runs."""

    switch: Switch

    def around(self, function: Function, pairs: Pairs) -> Function:
        """The function, measured with these dimensions."""

    def run(self, pairs: Pairs) -> Any:
        """One run, for a ``with``; `set_attributes` adds dimensions before it ends."""


class Series:
    """The series of one instrument by their dimensions; so many are remembered at most."""

    __slots__ = ("_instrument", "_kept", "_known")

    def __init__(self, instrument: Any, kept: int) -> None:
        self._instrument = instrument
        self._kept = kept
        self._known: dict[Pairs, Any] = {(): instrument}

    def of(self, pairs: Pairs) -> Any:
        """The one with these; `bind` would want a mapping made for each call."""
        found = self._known.get(pairs)
        if found is None:
            found = self._instrument.bind(**dict(pairs))
            if len(self._known) <= self._kept:
                self._known[pairs] = found
        return found


class Timed:
    """A timer; `<name>.errors` counts what is raised."""

    def __init__(self, registry: Registry, name: str, patch: Patch) -> None:
        self._clock = registry.clock.elapsed_ns
        self._timer = registry.timer(name, level=patch.level, description=_told(patch))
        self._series = Series(self._timer, registry.series_max)
        self.switch: Switch = self._timer

    def around(self, function: Function, pairs: Pairs) -> Function:
        """The timer's own decorator."""
        timed: Function = self._series.of(pairs)(function)
        return timed

    def run(self, pairs: Pairs) -> Run:
        """Timed from here to its end."""
        return Run(self._ended, self._clock, pairs)

    def _ended(self, elapsed_ns: int, pairs: Pairs, error: BaseException | None) -> None:
        timer = self._series.of(pairs)
        timer.keep(elapsed_ns)
        if error is not None:
            timer.failed(type(error))


class Counted:
    """A counter of calls, whether they return or raise."""

    def __init__(self, registry: Registry, name: str, patch: Patch) -> None:
        self._amount = patch.amount
        self._counter = registry.counter(name, level=patch.level, description=_told(patch))
        self._series = Series(self._counter, registry.series_max)
        self.switch: Switch = self._counter

    def around(self, function: Function, pairs: Pairs) -> Function:
        """Counted, then called."""
        add, amount = self._series.of(pairs).add, self._amount

        def counted(*args: Any, **kwargs: Any) -> Any:
            add(amount)
            return function(*args, **kwargs)

        return entry(function, counted)

    def run(self, pairs: Pairs) -> Run:
        """Counted at its end."""
        return Run(self._ended, int, pairs)

    def _ended(self, _: int, pairs: Pairs, __: BaseException | None) -> None:
        self._series.of(pairs).add(self._amount)


class Spanned:
    """A span, where the request is traced."""

    def __init__(self, _: Registry, name: str, __: Patch) -> None:
        self._name = name
        self.switch: Switch = Traced()

    def around(self, function: Function, pairs: Pairs) -> Function:
        """As `traced` wraps it."""
        driver = driver_of(function)
        return dressed(spanned(function, self._name, dict(pairs), driver), function)

    def run(self, pairs: Pairs) -> Any:
        """The span itself."""
        return span(self._name, **dict(pairs))


class Traced:
    """On where the request is traced; else nobody looks at its arguments."""

    __slots__ = ()

    @property
    def on(self) -> bool:
        """Whether it is."""
        return CURRENT.get() is not None


METERS: Final[dict[str, Callable[[Registry, str, Patch], Meter]]] = {
    "timer": Timed,
    "counter": Counted,
    "span": Spanned,
}


class Run:
    """One run whose dimensions are complete when it has ended."""

    __slots__ = ("_clock", "_ended", "_pairs", "_started")

    def __init__(
        self, ended: Callable[..., None], clock: Callable[[], int], pairs: Pairs
    ) -> None:
        self._ended = ended
        self._clock = clock
        self._pairs = pairs

    def __enter__(self) -> Self:
        self._started = self._clock()
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._ended(self._clock() - self._started, self._pairs, error)

    def set_attributes(self, more: Mapping[str, str], /) -> None:
        """What the result told."""
        self._pairs = (*self._pairs, *more.items())


def wrapping(
    patch: Patch,
    name: str,
    registry: Registry,
    how: How = How(),  # noqa: B008 (a value)
) -> Callable[[Function], Function]:
    """What puts into a function's place what the patch makes of it.

    Instruments and hooks are made and found here, once; what it returns makes nothing and
    imports nothing. Raises ConfigError, and InstrumentClashError for a name that is taken.
    """
    if patch.dimensions:
        import inspect  # noqa: F401 - who wraps holds a lock, and must not import then
    hook, last = (
        Hook(one, patch, registry) if one else None for one in (patch.hook, patch.result_hook)
    )
    if patch.make == "event":
        source = registry.event_source(name, level=patch.level, description=_told(patch))
        return lambda function: _raising(
            registry, source, function, describing(patch, hook, function, how)
        )
    meter = METERS[patch.make](registry, name, patch)
    answer = answering(patch, last, how)

    def around(function: Function) -> Function:
        describe = describing(patch, hook, function, how)
        if answer is not None:
            return _answered(patch, meter, function, describe, answer)
        if describe is None:
            return meter.around(function, ())
        kept = registry.series_max if patch.make != "span" else 0
        return _routed(meter, function, describe, kept)

    return around


def _routed(meter: Meter, function: Function, describe: Described, kept: int) -> Function:
    """Each set of dimensions with a wrapper of its own; `kept` are remembered at most."""
    known: dict[Pairs, Function] = {}
    switch = meter.switch

    def measured(*args: Any, **kwargs: Any) -> Any:
        if not switch.on:
            return function(*args, **kwargs)
        args, kwargs, pairs = describe(args, kwargs)
        inside = known.get(pairs)
        if inside is None:
            inside = meter.around(function, pairs)
            if len(known) < kept:
                known[pairs] = inside
        return inside(*args, **kwargs)

    return entry(function, measured)


def _answered(
    patch: Patch, meter: Meter, function: Function, describe: Described | None, answer: Answered
) -> Function:
    """With dimensions that only the result tells."""
    kind, switch = kind_of(function), meter.switch
    if kind not in (PLAIN, "coroutine"):
        raise ConfigError(
            f"{patch.origin}: {patch} asks for the result of a {kind}, which has none",
            slug="bad-patch",
        )

    def described(args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any], Pairs]:
        return describe(args, kwargs) if describe is not None else (args, kwargs, ())

    def measured(*args: Any, **kwargs: Any) -> Any:
        if not switch.on:
            return function(*args, **kwargs)
        args, kwargs, pairs = described(args, kwargs)
        with meter.run(pairs) as run:
            result, more = answer(function(*args, **kwargs), args, kwargs)
            run.set_attributes(dict(more))
        return result

    async def awaited(*args: Any, **kwargs: Any) -> Any:
        if not switch.on:
            return await function(*args, **kwargs)
        args, kwargs, pairs = described(args, kwargs)
        with meter.run(pairs) as run:
            result, more = answer(await function(*args, **kwargs), args, kwargs)
            run.set_attributes(dict(more))
        return result

    return dressed(measured if kind == PLAIN else awaited, function)


def _raising(
    registry: Registry, source: Any, function: Function, describe: Described | None
) -> Function:
    """An event when the body is left by an exception; arguments are read only then."""
    kind = kind_of(function)

    def tell(error: type[BaseException], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not source.on or issubclass(error, GeneratorExit):
            return
        try:
            pairs = describe(args, kwargs)[2] if describe is not None else ()
            source.emit(**{**dict(pairs), "error.type": error.__name__})
        except Exception:  # noqa: BLE001 (the body's own error is on its way: no stack, no memory)
            registry.arena.errors_missed += 1

    def plain(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            tell(type(error), args, kwargs)
            raise

    def steps(*args: Any, **kwargs: Any) -> Any:
        failures = Failures(source, lambda error: tell(error, args, kwargs))
        return timed(cast("Timer", failures), function, kind)(*args, **kwargs)

    return entry(function, plain if kind == PLAIN else steps)


class Failures:
    """Stands where a timer would, and hears only of what is raised."""

    __slots__ = ("failed", "_source")

    def __init__(self, source: Any, failed: Callable[[type[BaseException]], None]) -> None:
        self._source = source
        self.failed = failed

    @property
    def family(self) -> Self:
        """It has what the series of a timer share."""
        return self

    @property
    def on(self) -> bool:
        """Whether its level is on."""
        return bool(self._source.on)

    @staticmethod
    def clock() -> int:
        """Nobody asks how long it took."""
        return 0

    def keep(self, elapsed_ns: int) -> None:
        """That it has ended is nothing to tell."""

    def lap(self) -> Lap:
        """For a block, as a timer's own."""
        return Lap(cast("Timer", self))


class Stepped:
    """What stands for a function whose body runs in steps: `inspect` takes it for that one."""

    def __init__(self, function: Function, call: Function) -> None:
        self._function = function
        self._call = call

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self._call(*args, **kwargs)

    def __nilometer_rest__(self) -> None:
        """From now on, only pass calls on."""
        self._call = self._function

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __getattr__(self, name: str) -> Any:
        if name == "_function":  # not yet set, when a copy is being made
            raise AttributeError(name)
        return getattr(self._function, name)

    def __repr__(self) -> str:
        return f"<patched {self._function!r}>"

    def __reduce__(self) -> str:
        return str(self.__qualname__)


def entry(function: Function, call: Function) -> Function:
    """`call` in the function's place, under its name and of its kind."""
    made = call if kind_of(function) == PLAIN else Stepped(function, call)
    return dressed(made, function)


def dressed(wrapper: Any, function: Function) -> Function:
    """Under the function's name, with the methods that were added to it."""
    update_wrapper(wrapper, function, updated=())
    for name, value in getattr(function, "__dict__", {}).items():
        wrapper.__dict__.setdefault(name, value)  # what a wrapper keeps there is its own
    lend_methods(wrapper, function)
    made: Function = wrapper
    return made


def _told(patch: Patch) -> str:
    return f"Patched by settings: {patch}."
