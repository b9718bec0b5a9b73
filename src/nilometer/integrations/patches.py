"""Replacing a function of a library by one that measures it, and putting it back exactly."""

from __future__ import annotations

from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_ABSENT: Final = object()


class Patches:
    """What one integration replaced.

    Where somebody else has wrapped our wrapper meanwhile, ours stays and only passes calls on:
    taking it out would take theirs with it.
    """

    __slots__ = ("_made", "active")

    def __init__(self) -> None:
        self._made: list[tuple[Any, str, Any, Any]] = []
        self.active = False

    def replace(
        self,
        owner: Any,
        name: str,
        measured: Callable[[Callable[..., Any]], Callable[..., Any]],
    ) -> None:
        """Put ``measured(original)`` in the place of a function of a class, object or module.

        AttributeError if the library has no such function: another version, not ours to guess.
        """
        original = getattr(owner, name)
        inside = measured(original)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return (inside if self.active else original)(*args, **kwargs)

        self._set(owner, name, update_wrapper(wrapper, original))

    def swap(
        self,
        owner: Any,
        name: str,
        measured: Callable[[Callable[..., Any]], Callable[..., Any]],
    ) -> None:
        """As `replace`, 60 ns a call cheaper, for places that nobody else wraps."""
        self._set(owner, name, measured(getattr(owner, name)))

    def _set(self, owner: Any, name: str, value: Any) -> None:
        self._made.append((owner, name, vars(owner).get(name, _ABSENT), value))
        setattr(owner, name, value)
        self.active = True

    def undo(self) -> None:
        """Put everything back."""
        self.active = False
        for owner, name, before, ours in reversed(self._made):
            if vars(owner).get(name) is not ours:
                continue
            if before is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, before)
        self._made.clear()
