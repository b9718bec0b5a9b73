"""What the names of a module or a class stand for, as far as their source says."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

Function = ast.FunctionDef | ast.AsyncFunctionDef
Body = ast.Module | ast.ClassDef

EVERYTHING: Final = "*"
"""Under this name a scope has that something else is imported into it whole."""

_LITERALS: Final = {
    ast.List: "list",
    ast.ListComp: "list",
    ast.Tuple: "tuple",
    ast.Dict: "dict",
    ast.DictComp: "dict",
    ast.Set: "set",
    ast.SetComp: "set",
    ast.JoinedStr: "str",
    ast.GeneratorExp: "generator",
}


class Scope(dict[str, list[ast.AST]]):
    """The nodes that a name may stand for at the end: definitions, values, or a statement.

    What stands under an ``if`` or the like may be, or what was before; the rest is.
    """


class ClassScope(Scope):
    """That of a class."""


def scope_of(body: Body) -> Scope:
    """All names that are bound there."""
    found = ClassScope() if isinstance(body, ast.ClassDef) else Scope()
    for node, is_certain in _statements(body):
        for name, bound in _bindings(node):
            if is_certain and isinstance(node, ast.Delete):
                found.pop(name, None)
            else:
                found[name] = [bound] if is_certain else [*found.get(name, ()), bound]
    for inner in ast.walk(body) if isinstance(body, ast.Module) else ():
        if isinstance(inner, ast.Global):  # a function may put anything there
            for name in inner.names:
                found.setdefault(name, []).append(inner)
    return found


def definitions(body: Body) -> list[ast.ClassDef | Function]:
    """Functions and classes, also those under an ``if`` or a ``try``."""
    return [n for n, _ in _statements(body) if isinstance(n, ast.ClassDef | Function)]


def is_bound(body: Body, name: str) -> bool:
    """Whether it has such a name, or may have it by importing all of another module."""
    scope = scope_of(body)
    return name in scope or EVERYTHING in scope


def type_of(node: ast.AST) -> str:
    """The type of what is written out; empty where only running it tells.

    >>> type_of(ast.parse("3").body[0].value), type_of(ast.parse("f()").body[0].value)
    ('int', '')
    """
    if isinstance(node, ast.Constant):
        return type(node.value).__name__
    return _LITERALS.get(type(node), "")


def _statements(body: ast.AST, *, certain: bool = True) -> Iterator[tuple[ast.stmt, bool]]:
    """Those of one scope in their order, and whether each is run in any case."""
    for node in ast.iter_child_nodes(body):
        if isinstance(node, ast.stmt):
            yield node, certain
        if not isinstance(node, ast.ClassDef | Function | ast.expr):
            yield from _statements(node, certain=False)


def _bindings(node: ast.stmt) -> Iterator[tuple[str, ast.AST]]:
    """The names that a statement binds by itself, and to what; else to the statement."""
    if isinstance(node, ast.ClassDef | Function):
        yield node.name, node
    elif isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            yield (alias.asname or alias.name).partition(".")[0], node
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        if node.value is None:  # it is annotated, and no more
            return
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            is_whole = isinstance(target, ast.Name)
            yield from ((name, node.value if is_whole else node) for name in _stored(target))
    else:
        yield from ((name, node) for target in _targets(node) for name in _stored(target))


def _targets(node: ast.stmt) -> list[ast.expr]:
    """What a statement that defines and assigns nothing puts or deletes things in."""
    if isinstance(node, ast.For | ast.AsyncFor | ast.AugAssign):
        return [node.target]
    if isinstance(node, ast.With | ast.AsyncWith):
        return [one.optional_vars for one in node.items if one.optional_vars is not None]
    return node.targets if isinstance(node, ast.Delete) else []


def _stored(target: ast.expr) -> Iterator[str]:
    """The names that get or lose what they stand for."""
    for one in ast.walk(target):
        if isinstance(one, ast.Name) and not isinstance(one.ctx, ast.Load):
            yield one.id
