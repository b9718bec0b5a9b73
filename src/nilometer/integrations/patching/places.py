"""The places where patches lie: an attribute of a class or module, and what is around it.

A place is made again from what was there before whenever one of its layers comes, goes, or is
switched: with none left the very object that was there lies there again.
"""

from __future__ import annotations

import sys
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    MethodDescriptorType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.integrations.patching.resting import rest
from nilometer.measure.decorate import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable

ABSENT: Final = object()
"""What a class has under a name that it only inherits."""

_IN_C: Final = (
    *(BuiltinFunctionType, ClassMethodDescriptorType),
    *(MethodDescriptorType, WrapperDescriptorType),
)
_BINDS_AS_FUNCTIONS: Final = 1 << 17  # Py_TPFLAGS_METHOD_DESCRIPTOR, which says just that
_ASKS_INSIDE: Final = sys.version_info < (3, 13)
"""Until then a classmethod lets bind what is in it, if that can."""
_WORDS: Final = {
    "function": "function",
    "coroutine": "coroutine function",
    "generator": "generator function",
    "async_generator": "async generator function",
}


class Layer(NamedTuple):
    """One patch around one place. Two of the same `key` would count a call twice."""

    key: tuple[str, str]
    around: Callable[[Any], Any]
    on: Callable[[], bool]


class Place:
    """One attribute of a class or module and the layers around it, the first one innermost."""

    __slots__ = ("owner", "name", "layers", "_before", "_put", "_made_of", "_around")

    def __init__(self, owner: Any, name: str) -> None:
        self.owner = owner
        self.name = name
        self.layers: dict[int, Layer] = {}
        self._before = vars(owner).get(name, ABSENT)
        self._put: Any = self._before
        self._made_of: tuple[Any, ...] = ()
        self._around: list[Any] = []  # the wrappers of those layers

    @property
    def is_ours(self) -> bool:
        """Whether there lies still what we left there."""
        return vars(self.owner).get(self.name, ABSENT) is self._put

    @property
    def is_inherited(self) -> bool:
        """Whether the class itself had nothing there."""
        return self._before is ABSENT

    @property
    def depth(self) -> int:
        """Classes after those from which they inherit."""
        return len(self.owner.__mro__) if isinstance(self.owner, type) else 0

    def active(self) -> list[Layer]:
        """The layers whose level is on."""
        return [layer for _, layer in sorted(self.layers.items()) if layer.on()]

    def refresh(self, taken: set[tuple[str, str]]) -> None:
        """Let there lie what the levels ask for, each key once; some are `taken` further down.

        What somebody else has put there meanwhile stays: under it, ours does, until `end`.
        """
        inner = self._before if self._before is not ABSENT else inherited(self.owner, self.name)
        layers = list({one.key: one for one in self.active() if one.key not in taken}.values())
        made_of = (inner, *layers) if layers else ()
        if not self.is_ours or _same(made_of, self._made_of):
            return
        made: list[Any] = []
        if layers:
            self._lay(wrapped(inner, layers, in_class=isinstance(self.owner, type), made=made))
        elif self._before is ABSENT:
            delattr(self.owner, self.name)
            self._put = ABSENT
        else:
            self._lay(self._before)
        self._made_of, self._around = made_of, made

    def end(self) -> None:
        """Let no layer be, nor measure any more what must stay beneath somebody else's."""
        self.layers.clear()
        if not self.is_ours:
            for wrapper in self._around:
                rest(wrapper)

    def _lay(self, thing: Any) -> None:
        setattr(self.owner, self.name, thing)
        self._put = vars(self.owner).get(self.name, ABSENT)


def _same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))


def inherited(owner: Any, name: str) -> Any:
    """What a class gets under a name from those before it; ABSENT if nothing."""
    for base in owner.__mro__[1:] if isinstance(owner, type) else ():
        if name in vars(base):
            return vars(base)[name]
    return ABSENT


def wrapped(thing: Any, layers: list[Layer], *, in_class: bool, made: list[Any]) -> Any:
    """The same kind of thing, with the layers around the function in it; they are `made`."""

    def inside(function: Any) -> Any:
        for layer in layers:
            function = layer.around(function)
            made.append(function)
        return function

    if isinstance(thing, staticmethod | classmethod):
        return type(thing)(inside(thing.__func__))
    if isinstance(thing, property):
        return thing.getter(inside(thing.fget))
    if isinstance(thing, ClassMethodDescriptorType):
        return classmethod(inside(thing))
    whole = inside(thing)
    return whole if binds(thing) or not in_class else staticmethod(whole)


def binds(thing: Any) -> bool:
    """Whether a class gives it out bound to its instance."""
    return hasattr(type(thing), "__get__") and not isinstance(thing, BuiltinFunctionType)


def kind(thing: Any, *, in_class: bool) -> str:
    """What it is, for people.

    >>> kind(staticmethod(len), in_class=True), kind(Place.refresh, in_class=True)
    ('static function in C', 'method')
    """
    if isinstance(thing, property):
        return "property"
    prefix = {staticmethod: "static ", classmethod: "class "}.get(type(thing), "")
    function = getattr(thing, "__func__", thing) if prefix else thing
    word = _WORDS[kind_of(function)]
    if word == "function" and in_class and not prefix and binds(thing):
        word = "method"
    return prefix + word + (" in C" if isinstance(function, _IN_C) else "")


def unfit(thing: Any, *, in_class: bool) -> str:
    """Why it cannot be measured; empty if it can."""
    if isinstance(thing, property | staticmethod | classmethod):
        return _unfit_inside(thing)
    if isinstance(thing, ClassMethodDescriptorType):
        return ""
    if isinstance(thing, type):
        return "a class; name its methods, such as __init__"
    if isinstance(thing, ModuleType):
        return "a module; name what is in it"
    if not callable(thing):
        return f"a {type(thing).__name__}, which is no function"
    if in_class and binds(thing) and not _binds_as_functions_do(thing):
        return f"a {type(thing).__name__}, which binds in a way of its own"
    return ""


def _unfit_inside(thing: Any) -> str:
    """The same of what holds a function: it is made again, around the function's wrapper."""
    word = type(thing).__name__
    if isinstance(thing, property):
        if type(thing).__init__ is not property.__init__:
            return f"a {word}, which is made in a way of its own"
        function = thing.fget
        if function is None:
            return "a property that cannot be read"
    else:
        function = thing.__func__
    if isinstance(function, type):
        return f"a {word} of a class; name its methods, such as __init__"
    if not callable(function):
        return f"a {word} of a {type(function).__name__}, which is no function"
    asks_inside = isinstance(thing, classmethod) and (
        isinstance(function, staticmethod | classmethod)  # one way on every Python
        or (_ASKS_INSIDE and binds(function))
    )
    if asks_inside and not _binds_as_functions_do(function):
        return f"a {word} of a {type(function).__name__}, which binds in a way of its own"
    return ""


def _binds_as_functions_do(thing: Any) -> bool:
    kind_of_it = type(thing)
    is_ours = kind_of_it.__module__.startswith("nilometer.")
    return is_ours or bool(kind_of_it.__flags__ & _BINDS_AS_FUNCTIONS)
