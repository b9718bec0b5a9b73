"""`traced`: which wrapper a function, a coroutine, a generator or a class gets."""

from __future__ import annotations

from functools import partial, update_wrapper
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from nilometer.measure.decorate import (
    ASYNC_GENERATOR,
    COROUTINE,
    GENERATOR,
    ITERABLE_COROUTINE,
    flags_of,
    lend_methods,
)
from nilometer.trace.steps import async_steps, awaited, steps

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F")

MARK: Final = "__nilometer_span__"
"""What a traced function carries: its span's name. Such a function is not wrapped again."""


def driver_of(function: Any) -> Callable[..., Any] | None:
    """What runs the steps of that function's results; None if it just returns.

    >>> async def fetch(): ...
    >>> driver_of(fetch) is awaited, driver_of(partial(fetch)) is awaited, driver_of(print)
    (True, True, None)
    """
    flags = flags_of(function)
    if flags & (COROUTINE | ITERABLE_COROUTINE):
        return awaited
    if flags & GENERATOR:
        return steps
    return async_steps if flags & ASYNC_GENERATOR else None


class Decorator:
    """`traced`, for one of the twins; `wrapped` is the twin's."""

    __slots__ = ("_wrapped",)

    def __init__(self, wrapped: Callable[..., Any]) -> None:
        self._wrapped = wrapped

    @overload
    def __call__(
        self, target: str, /, *, name: None = None, **attributes: object
    ) -> Callable[[F], F]: ...
    @overload
    def __call__(self, target: F, /, *, name: str | None = None, **attributes: object) -> F: ...
    @overload
    def __call__(
        self, /, *, name: str | None = None, **attributes: object
    ) -> Callable[[F], F]: ...
    def __call__(
        self, target: Any = None, /, *, name: str | None = None, **attributes: object
    ) -> Any:
        """A span around every run of a function's body, named after it or as given.

        ``@traced``, ``@traced("name")`` and ``@traced(name="name", kind="io")`` take functions,
        methods, coroutines, generators, asynchronous generators, and classes: then each public
        method that the class itself defines is traced as ``Class.method``. Properties and
        inherited methods are left alone; what is traced already is not traced again.
        Arguments are passed on and never looked at.
        """
        if isinstance(target, str):
            if name is not None:
                raise TypeError("traced() got two names")
            return partial(self._decorate, name=target, attributes=attributes)
        if target is None:
            return partial(self._decorate, name=name, attributes=attributes)
        return self._decorate(target, name=name, attributes=attributes)

    def _decorate(self, target: Any, *, name: str | None, attributes: dict[str, Any]) -> Any:
        if isinstance(target, type):
            return self._class(target, name or target.__qualname__, attributes)
        if isinstance(target, staticmethod | classmethod):
            inner = self._decorate(target.__func__, name=name, attributes=attributes)
            return type(target)(inner)
        if not callable(target):
            raise TypeError(
                f"traced() takes functions and classes, not {type(target).__name__}"
            )
        if hasattr(target, MARK):
            return target
        title = name or getattr(target, "__qualname__", None) or type(target).__qualname__
        wrapper = self._wrapped(target, title, dict(attributes), driver_of(target))
        update_wrapper(wrapper, target)
        setattr(wrapper, MARK, title)
        lend_methods(wrapper, target)
        return wrapper

    def _class(self, owner: type, title: str, attributes: dict[str, Any]) -> type:
        for key, value in list(vars(owner).items()):
            if not key.startswith("_") and _is_method(value):
                traced = self._decorate(value, name=f"{title}.{key}", attributes=attributes)
                setattr(owner, key, traced)
        return owner


def _is_method(value: object) -> bool:
    if isinstance(value, FunctionType | staticmethod | classmethod):
        return True
    # A function that another decorator has wrapped, in C perhaps: our timers are such.
    return callable(value) and hasattr(value, "__wrapped__") and not isinstance(value, type)
