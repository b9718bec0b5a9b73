"""Dimensions out of a call: found by path, made text only where asked for; never raises.

What a path does not reach, or where there is None, is left out of that call's dimensions.
"""

from __future__ import annotations

from contextvars import ContextVar
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from nilometer.model.dimensions import text_of
from nilometer.model.patch import RETURNED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nilometer.integrations.patching.hooks import Hook, Pairs
    from nilometer.model.patch import ArgumentPath, Patch, Step

    Read = Callable[[tuple[Any, ...], dict[str, Any]], Any]
    Described = Callable[
        [tuple[Any, ...], dict[str, Any]], tuple[tuple[Any, ...], dict[str, Any], Pairs]
    ]
    Answered = Callable[[Any, tuple[Any, ...], dict[str, Any]], tuple[Any, Pairs]]

Found = TypeVar("Found")


class How(NamedTuple):
    """What must be known of a function, beyond what the patch says, to tell its dimensions."""

    skipped: int = 0  # first arguments, which a helper of Tach's never saw
    is_asked_by_paths: bool = False  # a property, or what Python itself calls: `__getattr__`


class Parameters:
    """How a function's arguments are called; `inspect` knows, and costs 10 ms once."""

    def __init__(self, function: Callable[..., Any]) -> None:
        from inspect import Parameter, signature

        try:
            parameters: Mapping[str, Any] = signature(function).parameters
        except (TypeError, ValueError):  # of C, without a word about its arguments
            parameters = {}
        positional = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
        self.positional = [n for n, p in parameters.items() if p.kind in positional]
        self.defaults = {
            n: p.default for n, p in parameters.items() if p.default is not Parameter.empty
        }
        self.keywords = [n for n, p in parameters.items() if p.kind is Parameter.KEYWORD_ONLY]
        kinds = {p.kind: n for n, p in parameters.items()}
        self.rest = kinds.get(Parameter.VAR_POSITIONAL)
        self.others = kinds.get(Parameter.VAR_KEYWORD)

    @property
    def names(self) -> list[str]:
        """All that a path may start with."""
        stars = [name for name in (self.rest, self.others) if name]
        return [*self.positional, *self.keywords, *stars]

    def lack(self, path: ArgumentPath) -> bool:
        """Whether no call of the function can have what this path starts with."""
        if path.start == RETURNED or path.start.isdigit() or self.others or not self.names:
            return False
        return path.start not in self.names

    def read(self, path: ArgumentPath) -> Read:
        """What finds the value, or None; it never raises."""
        find = self._find(path.start)
        if not path.steps:
            return find
        reach = reaching(path.steps)
        return lambda args, kwargs: reach(find(args, kwargs))

    def _find(self, start: str) -> Read:
        if start.isdigit() and int(start) < len(self.positional):
            start = self.positional[int(start)]  # which a caller may pass by its name
        if start == self.rest:
            taken = len(self.positional)
            return lambda args, _: args[taken:]
        if start == self.others:
            return lambda _, kwargs: kwargs
        default = self.defaults.get(start)
        if start in self.positional or start.isdigit():
            at = int(start) if start.isdigit() else self.positional.index(start)
            return lambda args, kw: args[at] if at < len(args) else kw.get(start, default)
        return lambda _, kwargs: kwargs.get(start, default)


def reaching(steps: Sequence[Step]) -> Callable[[Any], Any]:
    """What goes along a path; None where an attribute or a key of it is not there."""
    getters: list[Callable[[Any], Any]] = []
    for is_key, group in groupby(steps, key=lambda step: step.is_key):
        if is_key:
            getters += [_key(step.name) for step in group]
        else:  # attributes of attributes at once, in C
            getters.append(attrgetter(".".join(step.name for step in group)))

    def reach(value: Any) -> Any:
        try:
            for get in getters:
                value = get(value)
        except Exception:  # noqa: BLE001 - somebody else's object may raise anything
            return None
        return value

    return reach


def _key(name: str) -> Callable[[Any], Any]:
    if not name.lstrip("-").isdigit():
        return itemgetter(name)
    number = int(name)  # of a list; a mapping may have it as text
    return lambda held: held[name if hasattr(held, "keys") else number]


def describing(
    patch: Patch, hook: Hook | None, function: Callable[..., Any], how: How
) -> Described | None:
    """What tells the dimensions of a call from its arguments; None if none are asked for."""
    asked = [(name, path) for name, path in patch.dimensions if path.start != RETURNED]
    parameters = Parameters(function) if asked else None
    readers = [(name, parameters.read(path)) for name, path in asked if parameters]
    if not readers and hook is None:
        return None

    def described(
        args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any], Pairs]:
        found = []
        for name, read in readers:
            value = read(args, kwargs)
            if value is not None:
                found.append((name, value if type(value) is str else text_of(value)))
        return args, kwargs, tuple(found)

    if hook is None:
        return alone(described, _untold) if how.is_asked_by_paths else described
    if patch.tach:
        skipped = how.skipped
        return alone(lambda args, kw: hook.moved(args, kw, skipped=skipped), _untold)
    return alone(
        lambda args, kw: (args, kw, described(args, kw)[2] + hook.told(*args, **kw)), _untold
    )


def answering(patch: Patch, hook: Hook | None, how: How) -> Answered | None:
    """The same from a result; None if nothing is asked of it."""
    paths = [
        (name, reaching(path.steps))
        for name, path in patch.dimensions
        if path.start == RETURNED
    ]
    if not paths and hook is None:
        return None
    if hook is not None and patch.tach:
        skipped = how.skipped
        return alone(
            lambda result, args, kw: hook.answered(result, args[skipped:], kw), _unanswered
        )

    def answered(
        result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Pairs]:
        found = []
        for name, reach in paths:
            value = reach(result)
            if value is not None:
                found.append((name, text_of(value)))
        more = hook.told(result, *args, **kwargs) if hook is not None else ()
        return result, (*found, *more)

    is_guarded = hook is not None or how.is_asked_by_paths
    return alone(answered, _unanswered) if is_guarded else answered


_describing: Final[ContextVar[bool]] = ContextVar("nilometer.describing", default=False)
"""Whether dimensions are being found: in this thread, task or greenlet."""


def alone(find: Callable[..., Found], otherwise: Callable[..., Found]) -> Callable[..., Found]:
    """What finds dimensions by running others' code, or what there is while it does already.

    Such code may call what is patched itself, and that would ask it again, without end.
    """

    def found(*given: Any) -> Found:
        if _describing.get():
            return otherwise(*given)
        token = _describing.set(True)
        try:
            return find(*given)
        finally:
            _describing.reset(token)

    return found


def _untold(args: Any, kwargs: Any) -> tuple[Any, Any, Pairs]:
    return args, kwargs, ()


def _unanswered(result: Any, *_: Any) -> tuple[Any, Pairs]:
    return result, ()
