"""What a patch's target matches in a module that has been imported.

A pattern takes what a module or class defines itself, and what can be measured. A name that is
written out takes whatever lies there, also what is inherited or imported, and says why it
cannot be measured.
"""

from __future__ import annotations

from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.errors import ConfigError
from nilometer.integrations.patching.places import ABSENT, inherited, kind, unfit
from nilometer.model.patch import fits, is_wild

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nilometer.model.patch import Patch

_IMMUTABLE: Final = 1 << 8  # Py_TPFLAGS_IMMUTABLETYPE
NAMES_SHOWN_MAX: Final = 12  # in an error; a module may have hundreds


class Match(NamedTuple):
    """One function that a patch means."""

    owner: Any
    name: str
    qualname: str
    thing: Any

    @property
    def in_class(self) -> bool:
        """Whether a class has it, or a module."""
        return isinstance(self.owner, type)

    @property
    def kind(self) -> str:
        """What it is, for people."""
        return kind(self.thing, in_class=self.in_class)


def matches(module: Any, patch: Patch) -> list[Match]:
    """All that it means in this module; a ConfigError says why that is nothing."""
    found = list(_matches(module, module, patch, patch.parts, ()))
    if not found:
        raise ConfigError(
            f"{patch.origin}: {patch} matches nothing{nearest_in(module, patch)}",
            slug="patch-matches-nothing",
        )
    return list({(id(one.owner), one.name): one for one in found}.values())


def _matches(
    module: Any, owner: Any, patch: Patch, parts: tuple[str, ...], path: tuple[str, ...]
) -> Iterator[Match]:
    part, *rest = parts
    if not rest:
        yield from _functions(module, owner, patch, part, path)
        return
    for name, thing in _named(owner, part):
        is_meant = _is_class_of(module, thing) if is_wild(part) else _holds_names(thing)
        if is_meant:
            yield from _matches(module, thing, patch, tuple(rest), (*path, name))


def _functions(
    module: Any, owner: Any, patch: Patch, part: str, path: tuple[str, ...]
) -> Iterator[Match]:
    in_class = isinstance(owner, type)
    for name, thing in _named(owner, part, also_inherited=not any(map(is_wild, patch.parts))):
        qualname = ".".join((*path, name))
        if is_wild(part):
            if _is_function_of(module, thing, in_class):
                yield Match(owner, name, qualname, thing)
            continue
        because = unfit(thing, in_class=in_class)
        if in_class and owner.__flags__ & _IMMUTABLE:
            because = "of a class written in C, whose attributes cannot be replaced"
        if because:
            raise ConfigError(
                f"{patch.origin}: {patch.module}:{qualname} is {because}", slug="patch-refused"
            )
        yield Match(owner, name, qualname, thing)


def _named(owner: Any, part: str, *, also_inherited: bool = False) -> Iterable[tuple[str, Any]]:
    if is_wild(part):
        return [(name, thing) for name, thing in list(vars(owner).items()) if fits(part, name)]
    thing = vars(owner).get(part, ABSENT)
    if thing is ABSENT and also_inherited and not hasattr(object, part):
        thing = inherited(owner, part)
    return [] if thing is ABSENT else [(part, thing)]


def _holds_names(thing: Any) -> bool:
    return issubclass(type(thing), type | ModuleType)


def _is_class_of(module: Any, thing: Any) -> bool:
    return issubclass(type(thing), type) and thing.__module__ == module.__name__


def _is_function_of(module: Any, thing: Any, in_class: bool) -> bool:
    """A function that was defined there.

    Of what else lies there only the class is asked: it may be a proxy that raises at any word.
    """
    kinds = (
        FunctionType,
        BuiltinFunctionType,
        *((staticmethod, classmethod) if in_class else ()),
    )
    if not issubclass(type(thing), kinds) and not _is_wrapper(thing):
        return False
    is_here = in_class or getattr(thing, "__module__", None) == module.__name__
    return is_here and not unfit(thing, in_class=in_class)


def _is_wrapper(thing: Any) -> bool:
    try:
        return callable(thing) and "__wrapped__" in vars(thing)
    except Exception:  # noqa: BLE001 - what has no attributes, or will not have them looked at
        return False


def nearest_in(module: Any, patch: Patch) -> str:
    """The end of an error: the name that comes nearest, where the path still led somewhere."""
    owner: Any = module
    for part in patch.parts:
        known = [name for name in dir(owner) if not name.startswith("__")]
        thing = getattr(owner, part, None) if part in known else None
        if not isinstance(thing, type | ModuleType):
            return nearest_of(part, known)
        owner = thing
    return ""


def nearest_of(part: str, known: list[str]) -> str:
    """As `errors.nearest`, of names that may be hundreds."""
    from difflib import get_close_matches  # 5 ms of import that only an error needs

    near = get_close_matches(part.strip("*?"), known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    shown = f" ({', '.join(known)})" if len(known) <= NAMES_SHOWN_MAX and known else ""
    return hint + shown
