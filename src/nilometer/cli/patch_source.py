"""What a module defines, read from its source: nothing of it is imported or run."""

from __future__ import annotations

import ast
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.model.patch import fits, is_wild

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.machinery import ModuleSpec

    from nilometer.model.patch import Patch

Function = ast.FunctionDef | ast.AsyncFunctionDef
_PREFIXES: Final = {"staticmethod": "static ", "classmethod": "class "}
UNPATCHABLE: Final = ("cached_property", "singledispatchmethod", "partialmethod")
"""Kinds that no patch takes: they write beside themselves, or are no functions."""


class Defined(NamedTuple):
    """A function of a module: where in it, what it is, and how its arguments are called.

    `parameters` is None where any name may be one.
    """

    qualname: str
    kind: str
    parameters: tuple[str, ...] | None = None


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
    # Defined again, the last one counts: what comes before are overloads, and setters.
    found = list({one.qualname: one for one in _matches(source.tree, patch.parts, ())}.values())
    if found or not _may_have_more(source.tree, patch.parts):
        return found
    return None


def names(source: Source, patch: Patch) -> tuple[str, list[str]]:
    """The part at which the path leads no further, and what is called there instead of it."""
    if source.tree is None:
        return "", []
    bodies: list[ast.Module | ast.ClassDef] = [source.tree]
    part, known = "", []
    for part in patch.parts:
        known_bodies = [one for body in bodies for one in _lineage(source.tree, body)[0]]
        inner = [one for body in known_bodies for one in _definitions(body.body)]
        known = list(dict.fromkeys(one.name for one in inner))
        bodies = [n for n in inner if isinstance(n, ast.ClassDef) and _is_meant(part, n.name)]
        if not bodies:
            break
    return part, known


def _is_meant(part: str, name: str) -> bool:
    return fits(part, name) if is_wild(part) else part == name


def _matches(
    body: ast.Module | ast.ClassDef, parts: tuple[str, ...], path: tuple[str, ...]
) -> Iterator[Defined]:
    part, *rest = parts
    for node in _definitions(body.body):
        if not _is_meant(part, node.name):
            continue
        if isinstance(node, ast.ClassDef):
            if rest:
                yield from _matches(node, tuple(rest), (*path, node.name))
        elif not rest:
            kind = _kind(node, in_class=isinstance(body, ast.ClassDef))
            if kind not in ("property", *UNPATCHABLE) or not is_wild(part):
                yield Defined(".".join((*path, node.name)), kind, _parameters(node))


def _definitions(body: Sequence[ast.stmt]) -> Iterator[ast.ClassDef | Function]:
    """Also those under an ``if`` or a ``try``."""
    for node in body:
        if isinstance(node, ast.ClassDef | Function):
            yield node
        elif isinstance(node, ast.If | ast.Try | ast.With):
            yield from _definitions(
                [n for n in ast.iter_child_nodes(node) if isinstance(n, ast.stmt)]
            )


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
    return "method" if word == "function" and in_class and not prefix else prefix + word


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """What is in a function, but not in those inside it."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, Function | ast.Lambda | ast.ClassDef):
            yield from _own(child)


def _parameters(node: Function) -> tuple[str, ...] | None:
    given = node.args
    decorators = {ast.unparse(one) for one in node.decorator_list}
    if given.kwarg is not None or decorators - _PREFIXES.keys():
        return None
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    stars = [given.vararg] if given.vararg is not None else []
    return tuple(one.arg for one in [*named, *stars])


def _may_have_more(tree: ast.Module, parts: tuple[str, ...]) -> bool:
    """Whether the name may be inherited, imported or assigned: the source only hints at it."""
    body: ast.Module | ast.ClassDef = tree
    for part in parts:
        if is_wild(part):
            return False
        classes = [n for n in _definitions(body.body) if isinstance(n, ast.ClassDef)]
        inner = next((one for one in classes if one.name == part), None)
        if inner is None:
            return _is_bound(body, part) or _may_inherit(tree, body, part)
        body = inner
    return False


def _may_inherit(tree: ast.Module, body: ast.Module | ast.ClassDef, name: str) -> bool:
    """Whether a base has it; of those that the module defines, their source says so."""
    lineage, foreign = _lineage(tree, body)
    return foreign or any(
        _is_bound(one, name) or any(inner.name == name for inner in _definitions(one.body))
        for one in lineage[1:]
    )


def _lineage(
    tree: ast.Module, body: ast.Module | ast.ClassDef
) -> tuple[list[ast.Module | ast.ClassDef], bool]:
    """It, and the bases that the module defines; and whether it has others."""
    classes = {n.name: n for n in _definitions(tree.body) if isinstance(n, ast.ClassDef)}
    found, foreign = [body], False
    for one in found:  # which grows meanwhile
        for base in map(ast.unparse, one.bases if isinstance(one, ast.ClassDef) else ()):
            if base not in classes:
                foreign |= base != "object"
            elif classes[base] not in found:
                found.append(classes[base])
    return found, foreign


def _is_bound(body: ast.Module | ast.ClassDef, name: str) -> bool:
    for node in ast.walk(body):
        if isinstance(node, ast.ImportFrom | ast.Import):
            if any(name == (a.asname or a.name).partition(".")[0] for a in node.names):
                return True
            if any(a.name == "*" for a in node.names):
                return True
        elif isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store):
            return True
    return False
