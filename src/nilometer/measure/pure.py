"""What an instrument does at each call: the specification of `_core.c`.

A *family* is what the series of one instrument share, above all the flag `on`. A *handle* is
what the user holds: `Counter`, `Gauge` or `Timer` with one set of dimensions. Policy (names,
levels, bounds on series, collecting) lies in registry.py, for both twins.

The lock of this file is the interpreter: CPython switches threads, and runs signal handlers,
only at calls, at function entry and at backward jumps. Every read-modify-write below is one
straight line without a call, so none is ever torn, and none needs a lock (110 ns each).
"""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Any, Final, Literal, Self, SupportsIndex

from nilometer.measure.folding import Taken, folded_with, merged
from nilometer.measure.pure_arena import Arena as Arena  # noqa: TC001 - it is ours
from nilometer.model.dimensions import text_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import TypeVar

    from nilometer.model import Dimensions, Level

    Function = TypeVar("Function", bound=Callable[..., Any])

VALUE_MAX: Final = 2**63 - 1
INTEGER_MIN: Final = -(2**63)
# Sorting costs more per value the more there are, finding the buckets less: measured, a timer
# around an empty function costs the least from 256 to 1,024. 512 integers are 16 KiB.
PENDING_MAX: Final = 512

# A body raises a handful of classes; one that makes classes as it goes must not fill memory.
ERROR_CLASSES_MAX: Final = 100

_ONE: Final = 1  # the interpreter keeps one object for each small integer


class Family:
    """What the series of one instrument share; a registry makes it, and flips `on`."""

    __slots__ = (
        "arena",
        "bindings",
        "clock",
        "description",
        "level",
        "name",
        "on",
        "owner",
        "unit",
    )

    def __init__(
        self,
        owner: Any,
        arena: Arena,
        clock: Callable[[], int],
        name: str,
        unit: str,
        level: Level,
        description: str,
    ) -> None:
        self.owner = owner
        self.arena = arena
        self.clock = clock
        self.name = name
        self.unit = unit
        self.level = level
        self.description = description
        self.on = False
        self.bindings: dict[tuple[Any, ...], Any] = {}


class Handle:
    """One set of dimensions of an instrument."""

    __slots__ = ("__weakref__", "_at", "_local", "calls", "dimensions", "family")

    def __init__(self, family: Family, dimensions: Dimensions, local: Any = None) -> None:
        self.family = family
        self.dimensions = dimensions
        self._local = local
        self._at = 0  # of its block, if it has one
        self.calls = 0

    @property
    def name(self) -> str:
        """The name under which readings appear."""
        return self.family.name

    @property
    def unit(self) -> str:
        """What the values count, in UCUM."""
        return self.family.unit

    @property
    def level(self) -> Level:
        """How deep measuring must go for this to be on."""
        return self.family.level

    @property
    def description(self) -> str:
        """What the values mean, for people."""
        return self.family.description

    @property
    def on(self) -> bool:
        """Whether it measures now."""
        return self.family.on

    def bind(self, /, **dimensions: object) -> Self:
        """Return the child with these dimensions added; values become text."""
        if not dimensions:
            return self
        key: list[Any] = [self]
        for name, value in dimensions.items():
            key.append(name)
            key.append(value if type(value) is str else text_of(value))
        bound = tuple(key)
        try:
            child: Self = self.family.bindings[bound]
        except KeyError:
            child = self.family.owner.child(bound)
        return child

    def _here(self) -> Self:
        """The child of the thread that calls; threads keep theirs."""
        try:
            child: Self = self._local.child
        except AttributeError:
            child = self._local.child = self.family.owner.thread_child(self)
        return child

    def lie(self) -> int:
        """Return where its values lie in the arena; 0 if they have no place there."""
        region = self.family.arena.region
        return 0 if region is None or self._local is not None else region.place(self)

    def __copy__(self) -> Self:
        """An instrument stays what it is in a copy of what holds it."""
        return self

    def __deepcopy__(self, memo: object) -> Self:
        """An instrument stays what it is in a copy of what holds it."""
        return self

    def __repr__(self) -> str:
        pairs = "".join(f" {name}={value}" for name, value in self.dimensions)
        state = "on" if self.family.on else "off"
        return f"<{type(self).__name__} {self.family.name}{pairs} {state}>"


def whole_number(n: SupportsIndex, what: str) -> int:
    """Return n as an integer, or raise TypeError or ValueError."""
    number = index(n)
    if not 0 <= number <= VALUE_MAX:
        raise ValueError(f"{what} must be in 0..2**63-1, got {number}")
    return number


class Counter(Handle):
    """Counts up; a reading is how far it moved in the interval."""

    __slots__ = ("_ones", "_others", "_seen", "_value")

    def __init__(self, family: Family, dimensions: Dimensions, local: Any = None) -> None:
        super().__init__(family, dimensions, local)
        self._value = self._seen = self._ones = self._others = 0

    def add(self, n: int = 1, /) -> None:
        """Count n more, a whole number from 0 to 2**63-1."""
        if not self.family.on:
            return
        if n is _ONE and self._local is None:
            self._ones += 1  # call and value at once: a third faster
            return
        if self._local is not None:
            self._here().add(n)
            return
        if n.__class__ is not int or not 0 <= n <= 0x3FFFFFFF:  # one digit compares faster
            n = whole_number(n, "n")
        self._value += n
        self._others += 1

    def take(self) -> int | None:
        """Return how far it moved since it was last taken; None if it did not."""
        value = self._value + self._ones
        moved = value - self._seen
        self._seen = value
        self.calls = self._ones + self._others
        return moved or None

    def reset(self) -> None:
        """Forget what was counted: a child process starts from zero."""
        self._value = self._seen = self._ones = self._others = self.calls = 0


def number_of(x: object) -> int | float:
    """A gauge's value: whole numbers of 64 bits, anything else that has a float."""
    if hasattr(type(x), "__index__"):
        number: int | float = index(x)  # type: ignore[arg-type]
        if not INTEGER_MIN <= number <= VALUE_MAX:
            raise ValueError(f"x must be in -2**63..2**63-1, got {number}")
        return number
    if not hasattr(type(x), "__float__"):
        raise TypeError(f"x must be a number, not {type(x).__name__}")
    number = float(x)  # type: ignore[arg-type]
    if number - number != 0:  # of infinity and of what is no number, this is no number
        raise ValueError(f"x must be finite, got {number}")
    return number


class Gauge(Handle):
    """Holds the last value; a reading is that value, at each collect once there is one.

    It keeps its value while off, so that ups and downs balance; it is only not reported.
    """

    __slots__ = ("_value", "read")

    def __init__(self, family: Family, dimensions: Dimensions, local: Any = None) -> None:
        super().__init__(family, dimensions, local)
        self._value: int | float | None = None
        self.read: Callable[[], float | None] | None = None

    def set(self, x: float, /) -> None:
        """Hold x from now on: an integer of 64 bits or a finite float."""
        if self._local is not None:
            self._here().set(x)
            return
        self._value = number_of(x)
        self.calls += 1

    def add(self, dx: float = 1, /) -> None:
        """Move the value up, or down if dx is below zero; it starts from 0."""
        if self._local is not None:
            self._here().add(dx)
            return
        dx = number_of(dx)
        value = self._value
        moved = dx if value is None else value + dx
        if moved - moved != 0:
            raise ValueError(f"x must be finite, got {moved}")
        if moved.__class__ is int and not INTEGER_MIN <= moved <= VALUE_MAX:
            moved *= 1.0
        self._value = moved  # no call since it was read: see the top
        self.calls += 1

    def take(self) -> int | float | None:
        """Return the value; None while there is none."""
        return self._value

    def reset(self) -> None:
        """Forget the value: a child process starts from zero."""
        self._value = None
        self.calls = 0


class Lap:
    """One use of a timer in a `with`. Made per use, so a timer may nest and be shared."""

    __slots__ = ("_started_ns", "_timer")

    def __init__(self, timer: Timer) -> None:
        self._timer: Timer | None = timer if timer.family.on else None
        self._started_ns: int | None = None

    def __enter__(self) -> None:
        if self._timer is not None:
            self._started_ns = self._timer.family.clock()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> Literal[False]:
        timer, started_ns = self._timer, self._started_ns
        if timer is None or started_ns is None:
            return False
        timer.keep(timer.family.clock() - started_ns)
        if kind is not None:
            timer.failed(kind)
        return False


class Timer(Handle):
    """Keeps the distribution of elapsed times; is its own decorator."""

    __slots__ = ("_errors", "_folded", "_pending")

    def __init__(self, family: Family, dimensions: Dimensions, local: Any = None) -> None:
        super().__init__(family, dimensions, local)
        self._pending: list[int] = []
        self._folded: list[Taken] = []
        self._errors: dict[type[BaseException], Counter] = {}

    def __call__(self, function: Function) -> Function:
        """Time each call of a function, or each run of the body it makes."""
        wrapper: Function = self.family.owner.decorate(self, function)
        return wrapper

    def lap(self) -> Lap:
        """Return a context manager that times its block."""
        return Lap(self)

    def record(self, elapsed_ns: int, /) -> None:
        """Count one elapsed time, in nanoseconds, from 0 to 2**63-1."""
        if not self.family.on:
            return
        if elapsed_ns.__class__ is not int or not 0 <= elapsed_ns <= VALUE_MAX:
            elapsed_ns = whole_number(elapsed_ns, "elapsed_ns")
        self.keep(elapsed_ns)

    def keep(self, elapsed_ns: int, /) -> None:
        """Count a time that our own clock measured: nothing is checked again."""
        if self._local is not None:
            self._here().keep(elapsed_ns)
            return
        pending = self._pending
        pending.append(elapsed_ns)
        if len(pending) >= PENDING_MAX:
            self.fold()

    def failed(self, kind: type[BaseException], /) -> None:
        """Count a body left by an exception; being closed is no error."""
        if issubclass(kind, GeneratorExit):
            return
        try:
            counter = self._errors.get(kind)
            if counter is None:
                counter = self.family.owner.error_counter(self, kind.__name__)
                if len(self._errors) < ERROR_CLASSES_MAX:
                    self._errors[kind] = counter
            counter.add()
        except Exception:  # noqa: BLE001 (the body's own error is on its way: no stack, no memory)
            self.family.arena.errors_missed += 1

    def fold(self) -> None:
        """Sum up what is pending. Whoever comes in between has a list of its own."""
        fresh: list[int] = []
        pending = self._pending
        self._pending = fresh
        if not pending:
            return
        try:
            folded = self._folded.pop()
        except IndexError:
            folded = Taken(0, 0, VALUE_MAX, 0, {}, 0)
        self._folded.append(folded_with(folded, pending))

    def take(self) -> Taken | None:
        """Return what was recorded since it was last taken; None if nothing was."""
        self.fold()
        try:
            taken = self._folded.pop()
            while self._folded:  # two threads folded at once
                taken = merged(taken, self._folded.pop())
        except IndexError:
            return None
        self.calls += taken.samples
        return taken._replace(buckets=dict(sorted(taken.buckets.items())))

    def reset(self) -> None:
        """Forget what was recorded: a child process starts from zero."""
        self._pending = []
        self._folded.clear()
        self.calls = 0


def wrap(timer: Timer, function: Callable[..., Any], kind: str) -> Callable[..., Any]:
    """Return what times each call of `function`, or each run of the body it makes."""
    from nilometer.measure.timed import wrapped  # only who decorates pays for the compiler

    return wrapped(timer, function, kind)
