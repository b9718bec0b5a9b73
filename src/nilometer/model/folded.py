"""Spans of a trace that do the same, taken together.

The same is: of one service, of one name and kind, and, if they tell a statement, with one that
differs in values only. Siblings that do the same are a *fold*; where each of a list is asked
for by a statement of its own (an N+1), all these statements are one fold with their count.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from nilometer.model.span import SpanKind
    from nilometer.model.tree import Node, Tree

FOLD_MIN: Final = 3  # two of a kind are as soon read as their sum
STATEMENT: Final = "db.query.text"
_OLDER: Final = "db.statement"
STATEMENT_CHARACTERS_MAX: Final = 10_000  # of a statement so much tells it from others

# Texts, numbers and marks of parameters; a number that is part of a name stays.
_VALUE: Final = re.compile(
    r"'(?:[^'\\]|''|\\.)*'?"
    r"|%\([^()]*\)s|%s|(?<![:\w]):[A-Za-z_]\w*|\$\d+"
    r"|(?<![\w.$])[-+]?(?:0[xX][0-9a-fA-F]+|\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)(?![\w$])"
)
_LIST: Final = re.compile(r"\?(?:\s*,\s*\?)+")
_ROWS: Final = re.compile(r"(\(\s*\?\s*\))(?:\s*,\s*\(\s*\?\s*\))+")


class Operation(NamedTuple):
    """What a span does, its values left out."""

    service: str
    name: str
    kind: SpanKind
    statement: str


class Group(NamedTuple):
    """All spans of one operation: how often, and how long; nanoseconds.

    `self_ns` counts no time twice; `total_ns` does, where such spans lie within each other.
    `waited_ns` is how long the request waited for them themselves.
    """

    operation: Operation
    spans: int
    errors: int
    total_ns: int
    self_ns: int
    waited_ns: int
    minimum_ns: int
    maximum_ns: int

    @property
    def average_ns(self) -> float:
        """Total by spans."""
        return self.total_ns / self.spans


class Fold(NamedTuple):
    """Siblings that do the same, in the order of their start; `parent` is None at the top.

    `statements` is how many statements of databases are among them and below.
    """

    parent: Node | None
    group: Group
    nodes: tuple[Node, ...]
    statements: int


def operation_of(node: Node) -> Operation:
    """What the node does."""
    span = node.span
    return Operation(node.resource.service, span.name, span.kind, shape_of(statement_of(node)))


def statement_of(node: Node) -> str:
    """The statement that the span tells, empty if none."""
    attributes = node.span.attributes
    return str(attributes.get(STATEMENT) or attributes.get(_OLDER) or "")


@lru_cache(maxsize=1024)  # a trace says the same few statements over and over
def shape_of(statement: str) -> str:
    """The statement with its values and the lengths of its lists left out.

    >>> shape_of("SELECT a1 FROM t WHERE b = 'it''s' AND c IN (1, 2.5, %s)")
    'SELECT a1 FROM t WHERE b = ? AND c IN (?)'
    >>> shape_of("INSERT INTO t VALUES (?, ?), (?, ?)")
    'INSERT INTO t VALUES (?)'
    """
    plain = _VALUE.sub("?", " ".join(statement[:STATEMENT_CHARACTERS_MAX].split()))
    return _ROWS.sub(r"\1", _LIST.sub("?", plain))


def groups_of(
    nodes: Iterable[Node],
    waited: Mapping[int, int],
    by: Callable[[Node], Operation] = operation_of,
) -> list[Group]:
    """The nodes by operation, or by another `by`; what took most time of its own first.

    `waited` is by the node's `id`, as `critical.waited_ns` has it.
    """
    found: dict[Operation, list[Node]] = {}
    for node in nodes:
        found.setdefault(by(node), []).append(node)
    groups = [_group(operation, each, waited) for operation, each in found.items()]
    return sorted(groups, key=lambda one: (-one.self_ns, -one.total_ns, one.operation))


def name_of(node: Node) -> Operation:
    """What the node does, whatever its statement is."""
    return Operation(node.resource.service, node.span.name, node.span.kind, "")


def folds_of(tree: Tree, waited: Mapping[int, int]) -> list[Fold]:
    """All folds of a tree, what took most time first."""
    statements = _statements_below(tree)
    found = [
        fold
        for parent, children in _families(tree)
        for fold in _folds(parent, children, waited, statements)
    ]
    return sorted(found, key=lambda one: (-one.group.total_ns, -one.group.spans))


def _families(tree: Tree) -> Iterable[tuple[Node | None, Sequence[Node]]]:
    yield None, tree.roots
    for node in tree.walk():
        yield node, node.children


def _folds(
    parent: Node | None,
    siblings: Sequence[Node],
    waited: Mapping[int, int],
    statements: Mapping[int, int],
) -> Iterable[Fold]:
    if len(siblings) < FOLD_MIN:
        return
    alike: dict[Operation, list[Node]] = {}
    for node in siblings:
        alike.setdefault(operation_of(node), []).append(node)
    for operation, nodes in alike.items():
        if len(nodes) >= FOLD_MIN:
            said = sum(statements[id(node)] for node in nodes)
            yield Fold(parent, _group(operation, nodes, waited), tuple(nodes), said)


def _statements_below(tree: Tree) -> dict[int, int]:
    """How many statements each node and those below it tell, by the node's `id`."""
    nodes = list(tree.walk())
    told = {id(node): int(bool(statement_of(node))) for node in nodes}
    for node in reversed(nodes):  # children before their parents
        told[id(node)] += sum(told[id(child)] for child in node.children)
    return told


def _group(operation: Operation, nodes: Sequence[Node], waited: Mapping[int, int]) -> Group:
    durations = [node.duration_ns for node in nodes]
    return Group(
        operation,
        len(nodes),
        sum(node.is_error for node in nodes),
        sum(durations),
        sum(node.self_ns for node in nodes),
        sum(waited.get(id(node), 0) for node in nodes),
        min(durations),
        max(durations),
    )
