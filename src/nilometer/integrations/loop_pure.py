"""How long event loops are held, and by whom; the specification of ``_loop.c``."""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

IMPLEMENTATION: Final = "python"


class Run:
    """Stands where a loop runs its callbacks: ``original(callback, ...)``.

    ``told(callback, elapsed_ns)`` hears of what took `slow_ns` or longer, and of each while
    `every` is True; it never raises. `calls` is how many there were. While `on` is False all is
    only passed on.
    """

    __slots__ = (
        "original",
        "told",
        "slow_ns",
        "elapsed_ns",
        "every",
        "on",
        "calls",
        "__weakref__",
    )

    def __init__(
        self,
        original: Callable[..., Any],
        told: Callable[[Any, int], object],
        slow_ns: int,
        elapsed_ns: Callable[[], int],
    ) -> None:
        self.original = original
        self.told = told
        self.slow_ns = slow_ns
        self.elapsed_ns = elapsed_ns
        self.every = False
        self.on = True
        self.calls = 0

    def __call__(self, /, *args: Any, **named: Any) -> Any:
        """Run a callback."""
        if not self.on:
            return self.original(*args, **named)
        self.calls += 1
        started = self.elapsed_ns()
        try:
            return self.original(*args, **named)
        finally:
            elapsed = self.elapsed_ns() - started
            if self.on and (self.every or elapsed >= self.slow_ns):
                self.told(args[0] if args else None, elapsed)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """In a class of callbacks it is a method."""
        return self if instance is None else MethodType(self, instance)


class Handing:
    """Stands where a loop is handed callbacks: ``original(loop, [when,] callback, ...)``.

    For loops that run them where nobody sees it: before the callback, which is the argument at
    this `position`, `run` is put, and gets it as its first argument. While `on` is False all
    is only passed on.
    """

    __slots__ = ("original", "run", "position", "on", "__weakref__")

    def __init__(self, original: Callable[..., Any], run: Any, position: int) -> None:
        self.original = original
        self.run = run
        self.position = position
        self.on = True

    def __call__(self, /, *args: Any, **named: Any) -> Any:
        """Hand a callback to the loop."""
        if not self.on or len(args) <= self.position:
            return self.original(*args, **named)
        here = self.position
        return self.original(*args[:here], self.run, *args[here:], **named)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """In a class of loops it is a method."""
        return self if instance is None else MethodType(self, instance)


class Watch:
    """Hears of all switches of one thread's greenlets, as ``greenlet.settrace`` tells them.

    From switch to switch is a turn of one greenlet. ``told(greenlet, elapsed_ns)`` hears of
    turns as that of `Run` of callbacks. The hub says when it begins to wait for something to
    happen, which ends its own turn (told of as None's) and begins no other: how long it waited,
    to its next switch at the latest, ``idle(elapsed_ns)`` hears. `waited` is whether it ever
    did, `waits` whether it does. Whoever traced before hears as before of each switch
    (`previous`, or None). `calls` is how many turns and waits there were.

    Only a thread itself can begin and end to be traced. So whenever a switch or the hub's wait
    finds that `on` is no more what `armed` is, ``change(watch)`` is called, which sees to it.
    """

    __slots__ = (
        "told",
        "idle",
        "change",
        "slow_ns",
        "elapsed_ns",
        "previous",
        "every",
        "on",
        "armed",
        "calls",
        "waited",
        "waits",
        "_started",
        "__weakref__",
    )

    def __init__(
        self,
        told: Callable[[Any, int], object],
        idle: Callable[[int], object],
        change: Callable[[Watch], object],
        slow_ns: int,
        elapsed_ns: Callable[[], int],
    ) -> None:
        self.told = told
        self.idle = idle
        self.change = change
        self.slow_ns = slow_ns
        self.elapsed_ns = elapsed_ns
        self.previous: Callable[..., object] | None = None
        self.every = self.armed = self.waited = self.waits = False
        self.on = True
        self.calls = 0
        self._started = elapsed_ns()

    def __call__(self, event: str, ends: tuple[Any, Any]) -> None:
        """Hear of a switch from the first of both ends to the other."""
        previous = self.previous
        if self._is_armed():
            self._turned(ends[0])
        if previous is not None:
            previous(event, ends)

    def wait_begins(self) -> None:
        """Hear that the hub begins to wait."""
        if self._is_armed():
            self._turned(None)
            self.waited = self.waits = True

    def wait_ends(self) -> None:
        """Hear that the hub's wait is over, unless a switch has shown it already."""
        if self.waits:
            self._turned(None)

    def _is_armed(self) -> bool:
        if self.on == self.armed:
            return self.on
        self.change(self)
        self.waits = False
        self._started = self.elapsed_ns()
        return False

    def _turned(self, who: Any) -> None:
        self.calls += 1
        now = self.elapsed_ns()
        elapsed = now - self._started
        self._started = now
        if self.waits:
            self.waits = False
            self.idle(elapsed)
        elif self.every or elapsed >= self.slow_ns:
            self.told(who, elapsed)
