"""OSProfiler's decorators on our wrappers: 20 ns where nothing is traced.

Nothing of a call is formatted unless it is traced and the operator wants values recorded.
"""

from __future__ import annotations

from functools import update_wrapper, wraps
from inspect import getmembers
from typing import TYPE_CHECKING, Any

from nilometer.integrations.osprofiler.points import class_of
from nilometer.integrations.osprofiler.told import attributes_of
from nilometer.measure.decorate import lend_methods
from nilometer.trace import CURRENT
from nilometer.trace.decorate import driver_of
from nilometer.trace.twin import wrapped

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.osprofiler.points import Points


class Decorators:
    """What takes the place of the decorators of ``osprofiler.profiler``, which is `module`."""

    def __init__(self, module: Any, points: Points) -> None:
        self._module = module
        self._points = points

    def trace(
        self,
        name: str,
        info: dict[str, Any] | None = None,
        hide_args: bool = False,
        hide_result: bool = True,
        allow_multiple_trace: bool = True,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """A decorator: a span of that name around each run of a function's body."""
        shown = dict(info or {})

        def decorator(function: Callable[..., Any]) -> Callable[..., Any]:
            times = int(getattr(function, "__traced__", False))
            if times and not allow_multiple_trace:
                raise ValueError(f"{function!r} has been traced {times} times already")
            _mark(function, times + 1)
            if self._points.off(name):
                return function
            driver = driver_of(function)
            if self._points.values and driver is None:
                return self._showing(name, shown, function, hide_args, hide_result)
            attributes = {
                "code.function.name": _title(function),
                **attributes_of(shown),
            }
            wrapper = wrapped(function, name, attributes, driver)
            update_wrapper(wrapper, function)
            lend_methods(wrapper, function)
            return wrapper

        return decorator

    def _showing(
        self,
        name: str,
        info: dict[str, Any],
        function: Callable[..., Any],
        hide_args: bool,
        hide_result: bool,
    ) -> Callable[..., Any]:
        """With arguments and results; whoever replaced the module's `start` is called, too."""
        module = self._module
        start, stop = self._points.start, self._points.stop
        title = _title(function)

        @wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if not _is_traced() and (module.start, module.stop) == (start, stop):
                return function(*args, **kwargs)
            called: dict[str, Any] = {"name": title}
            if not hide_args:
                called |= {"args": _text(args, str), "kwargs": _text(kwargs, str)}
            ended: dict[str, Any] | None = None
            module.start(name, info={**info, "function": called})
            try:
                result = function(*args, **kwargs)
                if not hide_result:
                    ended = {"function": {"result": _text(result, repr)}}
                return result
            except BaseException as error:
                ended = {"etype": class_of(error), "message": _text(error, str)}
                raise
            finally:
                module.stop(info=ended)

        return wrapper

    def trace_cls(self, original: Callable[..., Any]) -> Callable[..., Callable[[Any], Any]]:
        """OSProfiler's own, which finds what to trace; ours are no functions to it."""

        @wraps(original)
        def trace_cls(name: str, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
            decorate = original(name, *args, **kwargs)

            def decorator(owner: Any) -> Any:
                if not kwargs.get("allow_multiple_trace", True):
                    for key, value in getmembers(owner):
                        if callable(value) and getattr(value, "__traced__", False):
                            raise ValueError(f"{key!r} of {owner!r} has been traced already")
                return decorate(owner)

            return decorator

        return trace_cls


def _is_traced() -> bool:
    current = CURRENT.get()
    return current is not None and current.recording and not current.over


def _mark(function: Any, times: int) -> None:
    for target in (function, getattr(function, "__func__", function)):
        try:
            target.__traced__ = times
        except AttributeError:
            continue  # a method that is bound; then what it is bound of
        return


def _title(function: Any) -> str:
    """A function's full name, as OSProfiler tells it."""
    from oslo_utils import reflection  # it is there where OSProfiler is

    try:
        return str(reflection.get_callable_name(function))
    except (AttributeError, TypeError):
        return type(function).__qualname__


def _text(value: Any, as_text: Callable[[Any], str]) -> str:
    try:
        return as_text(value)
    except Exception as error:  # noqa: BLE001  somebody's __repr__
        return f"<{type(value).__name__}: {type(error).__name__}>"
