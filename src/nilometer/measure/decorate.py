"""What decorating does once, for both twins: which body it is, and whose name it bears.

`inspect` is not asked: it costs 10 ms of import, and the flags of the code say the same.
"""

from __future__ import annotations

import sys
from functools import WRAPPER_ASSIGNMENTS, partial
from types import MethodType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.measure.pure import Timer

GENERATOR: Final = 0x20
COROUTINE: Final = 0x80
ITERABLE_COROUTINE: Final = 0x100
ASYNC_GENERATOR: Final = 0x200
_DEPTH_MAX: Final = 100  # partials of partials; beyond, somebody made a ring


def kind_of(function: Any) -> str:
    """Return which body a call makes: function, coroutine, generator or async_generator.

    >>> async def fetch(): ...
    >>> kind_of(fetch), kind_of(partial(fetch)), kind_of(len)
    ('coroutine', 'coroutine', 'function')
    """
    flags = flags_of(function)
    if flags & COROUTINE:
        return "coroutine"
    if flags & ASYNC_GENERATOR:
        return "async_generator"
    if flags & GENERATOR and not flags & ITERABLE_COROUTINE:
        return "generator"
    return "function"


def flags_of(function: Any) -> int:
    """What is said of the body that a call makes, by its code or by a mark on the function."""
    for _ in range(_DEPTH_MAX):
        if not isinstance(function, (partial, MethodType)):
            break
        function = function.func if isinstance(function, partial) else function.__func__
    return _flags(function) | (COROUTINE if _is_marked(function) else 0)


def _flags(function: Any) -> int:
    """What its code says of it; of other objects, the code of their class's ``__call__``."""
    code = getattr(function, "__code__", None)
    if code is None:
        call = getattr(type(function), "__call__", None)  # noqa: B004 (its code is wanted)
        code = getattr(call, "__code__", None)
    flags = getattr(code, "co_flags", 0)
    return flags if isinstance(flags, int) else 0


def _is_marked(function: Any) -> bool:
    """Whether somebody marked it by `inspect.markcoroutinefunction`, who then has `inspect`."""
    inspect = sys.modules.get("inspect")
    return inspect is not None and bool(inspect.iscoroutinefunction(function))


def decorate(wrap: Callable[..., Any], timer: Timer, function: Any) -> Any:
    """Wrap a function, or what a classmethod or staticmethod wraps, under its own name."""
    if isinstance(function, (classmethod, staticmethod)):
        return type(function)(decorate(wrap, timer, function.__func__))
    if isinstance(function, type) or not callable(function):
        raise TypeError(
            f"a timer decorates functions and methods, not {_description(function)}; "
            "use `with timer.lap():` for a block"
        )
    wrapper = wrap(timer, function, kind_of(function))
    for name in WRAPPER_ASSIGNMENTS:
        try:
            setattr(wrapper, name, getattr(function, name))
        except AttributeError:
            continue  # partials and other callables have no name
    wrapper.__dict__.update(getattr(function, "__dict__", {}))
    wrapper.__wrapped__ = function
    lend_methods(wrapper, function)
    return wrapper


def lend_methods(wrapper: Any, function: Any) -> None:
    """Such as ``cache_clear`` of a cached function; the C twin asks what it wraps by itself."""
    kind = type(function)
    for name in dir(kind):
        if name.startswith("_") or not callable(getattr(kind, name, None)):
            continue
        if not hasattr(wrapper, name):
            setattr(wrapper, name, getattr(function, name))


def _description(thing: object) -> str:
    if isinstance(thing, type):
        return f"the class {thing.__name__}"
    return f"a {type(thing).__name__}"
