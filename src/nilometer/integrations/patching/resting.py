"""Wrappers that measure nothing any more, where somebody else's wrapper holds them in place.

A wrapper is made to rest as a whole, so that none that measures asks for a switch.
"""

from __future__ import annotations

from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any, Final

from nilometer.measure.decorate import kind_of

_FUNCTIONS: Final = ("function", "_function")
"""What our wrappers in Python call the function that they are around."""

_PASSES_ON: Final = {
    "coroutine": ("async def", "await {}(*args, **kwargs)"),
    "generator": ("def", "(yield from {}(*args, **kwargs))"),
}
_PASSES_ALL_ON: Final = ("def", "{}(*args, **kwargs)")


def rest(wrapper: Any) -> None:
    """From now on and for good, this wrapper of ours only passes calls on."""
    rests = getattr(type(wrapper), "__nilometer_rest__", None)
    if rests is not None:
        rests(wrapper)
    elif isinstance(wrapper, FunctionType):
        passing = _passing(kind_of(wrapper), wrapper.__code__.co_freevars)
        if passing is not None:
            wrapper.__code__ = passing


@lru_cache(maxsize=64)  # as many as there are ways to wrap, and more
def _passing(kind: str, held: tuple[str, ...]) -> CodeType | None:
    """Code of that kind that passes on, and holds all that the measuring code holds."""
    function = next((name for name in _FUNCTIONS if name in held), None)
    if function is None:
        return None
    define, pass_on = _PASSES_ON.get(kind, _PASSES_ALL_ON)
    names = ", ".join(held)
    source = (
        f"def made({names}):\n"
        f" {define} passing(*args, **kwargs):\n"
        f"  {names}\n"
        f"  return {pass_on.format(function)}\n"
        " return passing"
    )
    scope: dict[str, Any] = {}
    exec(compile(source, "<nilometer at rest>", "exec"), scope)  # noqa: S102 (names of our own)
    code: CodeType = scope["made"](*held).__code__
    return code
