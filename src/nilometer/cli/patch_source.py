"""What a module defines, read from its source: nothing of it is imported or run."""

from __future__ import annotations

import ast
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.cli.patch_scopes import (
    Body,
    ClassScope,
    Function,
    Scope,
    definitions,
    is_bound,
    scope_of,
    type_of,
)
from nilometer.model.patch import fits, is_wild

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.machinery import ModuleSpec

    from nilometer.model.patch import Patch

_PREFIXES: Final = {"staticmethod": "static ", "classmethod": "class "}
_BY_NAME: Final = {
    "__new__": "static ",
    "__class_getitem__": "class ",
    "__init_subclass__": "class ",
}
"""What a class makes of a function by its name, without a decorator."""

UNPATCHABLE: Final = ("cached_property", "singledispatchmethod", "partialmethod")
"""Kinds that no patch takes: they write beside themselves, or are no functions."""


class Defined(NamedTuple):
    """A function of a module: where in it, what it is, and how its arguments are called.

    `parameters` is None where any name may be one. A `fault` says why it cannot be measured.
    """

    qualname: str
    kind: str
    parameters: tuple[str, ...] | None = None
    fault: str = ""

    @property
    def is_function(self) -> bool:
        """Whether a pattern takes it."""
        return not self.fault and self.kind != "property"


class Source(NamedTuple):
    """What was found of a module: its file, and its code if that is Python."""

    path: str
    tree: ast.Module | None


def source_of(module: str) -> Source | None:
    """The source of a module; None if there is none of that name where Python looks."""
    spec, _, _ = _led_to(module)
    if spec is None:
        return Source("in Python itself", None) if module in sys.builtin_module_names else None
    path = spec.origin or ""
    if not path.endswith(".py"):
        return Source(path, None)
    return Source(path, ast.parse(Path(path).read_bytes(), path))


def _led_to(module: str) -> tuple[ModuleSpec | None, int, Sequence[str] | None]:
    """Where a module lies; and how many parts of its name led somewhere, and where to."""
    places: Sequence[str] | None = None
    spec = None
    parts = module.split(".")
    for at in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: at + 1]), places)
        if spec is None:
            return None, at, places
        places = spec.submodule_search_locations or ()
    return spec, len(parts), places


def nearest_module(module: str) -> str:
    """The end of an error about a module that is not there: the one that comes nearest."""
    from difflib import get_close_matches  # only an error needs these
    from pkgutil import iter_modules

    _, at, places = _led_to(module)
    parts = module.split(".")
    if at == len(parts):
        return ""
    known = [one.name for one in iter_modules(places)]
    known += sys.builtin_module_names if at == 0 else ()
    near = get_close_matches(parts[at], known, n=1)
    if not near:
        return ""
    meant = [".".join([*parts[:at], near[0], *rest]) for rest in (parts[at + 1 :], [])]
    whole = meant[0] if _led_to(meant[0])[0] else meant[1]
    return f"; did you mean {whole!r}?"


def matches(source: Source, patch: Patch) -> list[Defined] | None:
    """The functions that it means; None where only the module itself could tell."""
    if source.tree is None:
        return None
    found = list(_matches(source.tree, source.tree, patch.parts, ()))
    if found or not _may_have_more(source.tree, patch.parts):
        return found
    return None


def names(source: Source, patch: Patch) -> tuple[str, list[str]]:
    """The part at which the path leads no further, and what is called there instead of it."""
    if source.tree is None:
        return "", []
    bodies: list[Body] = [source.tree]
    part, known = "", []
    for part in patch.parts:
        known_bodies = [one for body in bodies for one in _lineage(source.tree, body)[0]]
        inner = [one for body in known_bodies for one in definitions(body)]
        known = list(dict.fromkeys(one.name for one in inner))
        bodies = [n for n in inner if isinstance(n, ast.ClassDef) and _is_meant(part, n.name)]
        if not bodies:
            break
    return part, known


def _is_meant(part: str, name: str) -> bool:
    return fits(part, name) if is_wild(part) else part == name


def _matches(
    tree: ast.Module, body: Body, parts: tuple[str, ...], path: tuple[str, ...]
) -> Iterator[Defined]:
    part, *rest = parts
    scopes = [scope_of(body), scope_of(tree)]
    for name, bound in scopes[0].items():
        if not _is_meant(part, name):
            continue
        if rest:
            inner = next((n for n in reversed(bound) if isinstance(n, ast.ClassDef)), None)
            if inner is not None:
                yield from _matches(tree, inner, tuple(rest), (*path, name))
            continue
        found = _defined(".".join((*path, name)), bound, scopes)
        if found is not None and (not is_wild(part) or found.is_function):
            yield found


def _defined(qualname: str, bound: list[ast.AST], scopes: list[Scope]) -> Defined | None:
    """What a name stands for; None where its source does not say.

    Of several things that it may be, as under an ``if``, a function counts first.
    """
    in_class = isinstance(scopes[0], ClassScope)
    judged = [_judged(node, scopes, in_class=in_class) for node in bound]
    functions = [one for one in judged if one is not None and not one.fault]
    if functions:
        return functions[-1]._replace(qualname=qualname)
    last = judged[-1]
    return None if last is None or None in judged else last._replace(qualname=qualname)


def _judged(node: ast.AST, scopes: list[Scope], *, in_class: bool) -> Defined | None:
    """What a definition or a value is, still without a name."""
    if isinstance(node, Function):
        kind = _kind(node, in_class=in_class)
        fault = f"a {kind}, which is no function" if kind in UNPATCHABLE else ""
        return Defined("", kind, _parameters(node), fault)
    if isinstance(node, ast.ClassDef):
        return Defined("", "class", fault="a class; name its methods, such as __init__")
    if isinstance(node, ast.Lambda):
        return Defined("", "method" if in_class else "function", _arguments(node.args))
    if isinstance(node, ast.Name):
        return _of_name(node.id, scopes, in_class=in_class)
    if isinstance(node, ast.Call):
        return _made(node, scopes)
    word = type_of(node)
    return Defined("", word, fault=f"a {word}, which is no function") if word else None


def _of_name(name: str, scopes: list[Scope], *, in_class: bool) -> Defined | None:
    """Another name of something that the class or the module defines."""
    bound = next((scope[name] for scope in scopes if name in scope), [])
    if len(bound) != 1 or not isinstance(bound[0], Function | ast.ClassDef | ast.Lambda):
        return None
    return _judged(bound[0], scopes, in_class=in_class)


def _made(call: ast.Call, scopes: list[Scope]) -> Defined | None:
    """What comes of a call, if that is one that makes something of a function."""
    maker = ast.unparse(call.func).rpartition(".")[2]
    if maker in UNPATCHABLE:
        return Defined("", maker, fault=f"a {maker}, which is no function")
    if maker not in (*_PREFIXES, "property") or len(call.args) != 1:
        return None
    inner = _judged(call.args[0], scopes, in_class=False)
    if inner is None or not inner.is_function:
        return None
    return inner._replace(kind=_PREFIXES[maker] + inner.kind if maker in _PREFIXES else maker)


def _kind(node: Function, *, in_class: bool) -> str:
    decorators = [ast.unparse(one) for one in node.decorator_list]
    last = [one.partition("(")[0].rpartition(".")[2] for one in decorators]
    for kind in UNPATCHABLE:
        if kind in last:
            return kind
    if "property" in decorators or any(d.endswith(".setter") for d in decorators):
        return "property"
    yields = any(isinstance(one, ast.Yield | ast.YieldFrom) for one in _own(node))
    if isinstance(node, ast.AsyncFunctionDef):
        word = "async generator function" if yields else "coroutine function"
    else:
        word = "generator function" if yields else "function"
    prefix = next((_PREFIXES[d] for d in decorators if d in _PREFIXES), "")
    if in_class and not prefix:
        prefix = _BY_NAME.get(node.name, "")
    return "method" if word == "function" and in_class and not prefix else prefix + word


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """What is in a function, but not in those inside it."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, Function | ast.Lambda | ast.ClassDef):
            yield from _own(child)


def _parameters(node: Function) -> tuple[str, ...] | None:
    decorators = {ast.unparse(one) for one in node.decorator_list}
    return None if decorators - _PREFIXES.keys() else _arguments(node.args)


def _arguments(given: ast.arguments) -> tuple[str, ...] | None:
    if given.kwarg is not None:
        return None
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    stars = [given.vararg] if given.vararg is not None else []
    return tuple(one.arg for one in [*named, *stars])


def _may_have_more(tree: ast.Module, parts: tuple[str, ...]) -> bool:
    """Whether the name may be inherited, imported or assigned: the source only hints at it."""
    if any(map(is_wild, parts)):
        return False
    body: Body = tree
    for part in parts[:-1]:
        bound = scope_of(body).get(part, [])
        inner = next((one for one in bound if isinstance(one, ast.ClassDef)), None)
        if inner is None:
            is_function = bool(bound) and all(isinstance(one, Function) for one in bound)
            return not is_function and (is_bound(body, part) or _may_inherit(tree, body, part))
        body = inner
    return is_bound(body, parts[-1]) or _may_inherit(tree, body, parts[-1])


def _may_inherit(tree: ast.Module, body: Body, name: str) -> bool:
    """Whether a base has it; of those that the module defines, their source says so."""
    lineage, foreign = _lineage(tree, body)
    return foreign or any(is_bound(one, name) for one in lineage[1:])


def _lineage(tree: ast.Module, body: Body) -> tuple[list[Body], bool]:
    """It, and the bases that the module defines; and whether it has others."""
    classes = {one.name: one for one in definitions(tree) if isinstance(one, ast.ClassDef)}
    found, foreign = [body], False
    for one in found:  # which grows meanwhile
        for base in map(ast.unparse, one.bases if isinstance(one, ast.ClassDef) else ()):
            if base not in classes:
                foreign |= base != "object"
            elif classes[base] not in found:
                found.append(classes[base])
    return found, foreign
