"""Functions with a span around each run of their body: the specification of C's ``Traced``.

A wrapper takes any arguments and passes them on untouched. Whether a call is traced is decided
when it is made; outside a traced request the wrapped function's own result comes back.
"""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any

from nilometer.trace.current import CURRENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.model.span import SpanKind


def function_wrapper(
    span: Callable[..., Any],
    recorded: type,
    function: Callable[..., Any],
    name: str,
    attributes: dict[str, Any],
    kind: SpanKind,
) -> Callable[..., Any]:
    """For a plain function: the span lasts as long as the call."""

    get = CURRENT.get

    def traced(*args: Any, **kwargs: Any) -> Any:
        if get().__class__ is not recorded:
            return function(*args, **kwargs)
        made = span(name, **attributes)
        if made.recording:
            made.kind = kind
        with made:
            return function(*args, **kwargs)

    return traced


class _Nothing:
    """What no span is: who asks for it makes none."""


class StepsWrapper:
    """For what runs in steps: the driver runs what the function returns inside the span.

    ``inspect`` takes it for what it wraps, since it shows the same ``__code__``.
    """

    def __init__(
        self,
        span: Callable[..., Any],
        recorded: type,
        function: Callable[..., Any],
        name: str,
        attributes: dict[str, Any],
        kind: SpanKind,
        driver: Callable[..., Any],
    ) -> None:
        self._span = span
        self._recorded = recorded
        self._function = function
        self._name = name
        self._attributes = attributes
        self._kind = kind
        self._driver = driver

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        made = self._function(*args, **kwargs)
        current = CURRENT.get()
        if current is None or current.over or current.__class__ is not self._recorded:
            return made
        its_span = self._span(self._name, **self._attributes)
        if its_span.recording:
            its_span.kind = self._kind
        return self._driver(made, its_span)

    def __nilometer_rest__(self) -> None:
        """From now on, only pass calls on."""
        self._recorded = _Nothing

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __getattr__(self, name: str) -> Any:
        if name == "_function":  # not yet set, when a copy is being made
            raise AttributeError(name)
        return getattr(self._function, name)

    def __repr__(self) -> str:
        return f"<traced {self._function!r}>"

    def __reduce__(self) -> str:
        return str(self.__qualname__)
