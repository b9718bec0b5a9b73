"""What stands where functions of clients stood: the specification of ``asked.h``."""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any

from nilometer.clock import elapsed_ns as standard_ns

if TYPE_CHECKING:
    from collections.abc import Callable


class Asked:
    """Stands where a pool is asked for a connection, or a connection whether it lives.

    What is raised goes to ``failed(error)`` and passes unchanged; False, with which a ping says
    that there was no answer, is told by ``failed(None)``. Who lets wait is `pending` meanwhile,
    to which 1 and -1 are added, and ``record(ns)`` has the duration. While `on` is False it
    only passes on.
    """

    __slots__ = ("__wrapped__", "failed", "pending", "record", "elapsed_ns", "on")

    def __init__(
        self,
        original: Callable[..., Any],
        failed: Callable[[BaseException | None], None],
        pending: Callable[[int], None] | None = None,
        record: Callable[[int], None] | None = None,
        elapsed_ns: Callable[[], int] = standard_ns,
    ) -> None:
        self.__wrapped__ = original
        self.failed = failed
        self.pending = pending
        self.record = record
        self.elapsed_ns = elapsed_ns
        self.on = True

    def __call__(self, /, *args: Any, **named: Any) -> Any:
        """Ask."""
        if not self.on:
            return self.__wrapped__(*args, **named)
        started = self._begin()
        try:
            result = self.__wrapped__(*args, **named)
        except BaseException as error:
            self._end(started)
            self.failed(error)
            raise
        self._end(started)
        if result is False:
            self.failed(None)
        return result

    def _begin(self) -> int:
        if self.pending is None:
            return 0
        self.pending(1)
        return self.elapsed_ns()

    def _end(self, started: int) -> None:
        if self.pending is not None and self.record is not None:
            self.record(self.elapsed_ns() - started)
            self.pending(-1)

    def __getattr__(self, name: str) -> Any:
        if name == "__wrapped__":  # not yet set
            raise AttributeError(name)
        return getattr(self.__wrapped__, name)


class Standing:
    """What stands for a function: it is a method in a class, and of its own has little."""

    __slots__ = ("__wrapped__", "on")

    def __init__(self, original: Callable[..., Any]) -> None:
        self.__wrapped__ = original
        self.on = True

    def __call__(self, /, *args: Any, **named: Any) -> Any:
        return self.__wrapped__(*args, **named)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __getattr__(self, name: str) -> Any:
        if name == "__wrapped__":  # not yet set
            raise AttributeError(name)
        return getattr(self.__wrapped__, name)


class Connecting(Standing):
    """Stands where a client connects that asks for it before each command.

    Of most the attribute `connected` says that there is nothing to do, and the original does
    that; the others are for ``connect``, which measures. While `on` is False it only passes on.
    """

    __slots__ = ("_connect", "_connected")

    def __init__(
        self, original: Callable[..., Any], connect: Callable[..., Any], connected: str
    ) -> None:
        super().__init__(original)
        self._connect = connect
        self._connected = connected

    def __call__(self, /, *args: Any, **named: Any) -> Any:
        """Connect, unless that was done."""
        if self.on and args and not getattr(args[0], self._connected, True):
            return self._connect(*args, **named)
        return self.__wrapped__(*args, **named)


class Switch(Standing):
    """Stands for a function: while `on` is True calls are for what measures it, else for it.

    Then the arguments go on as they came, where a function would pack and unpack them.
    """

    __slots__ = ("_measured",)

    def __init__(self, original: Callable[..., Any], measured: Callable[..., Any]) -> None:
        super().__init__(original)
        self._measured = measured

    def __call__(self, /, *args: Any, **named: Any) -> Any:
        """Call the one or the other."""
        return (self._measured if self.on else self.__wrapped__)(*args, **named)


class Choice(Standing):
    """Stands for a function that is measured in many ways: ``choose`` is given the arguments of
    each call while `on` is True, and gives what is called with them.
    """

    __slots__ = ("_choose",)

    def __init__(self, original: Callable[..., Any], choose: Callable[..., Any]) -> None:
        super().__init__(original)
        self._choose = choose

    def __call__(self, /, *args: Any, **named: Any) -> Any:
        """Call what is chosen, or the original."""
        run = self._choose(*args, **named) if self.on else self.__wrapped__
        return run(*args, **named)
