"""The spans of a request as one tree, whatever was sent: each span is in it exactly once.

Spans come from several processes in any order, some never, some twice, and some were made up by
who knows whom. So nothing here assumes that ids are unique, that parents exist, that parents do
not go round in a circle, that clocks agree, or that the tree is shallow (nothing recurses).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nilometer.model.span import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from nilometer.model.resource import Resource
    from nilometer.model.span import SpanRecord


class Node:
    """A span in its place.

    `orphan` says that it stands at the top although it names a parent: the parent is missing,
    or the two are ancestors of each other. `self_ns` is the part of its duration in which none
    of its children ran, in nanoseconds. Children are in the order in which they started.
    """

    __slots__ = ("resource", "span", "children", "depth", "orphan", "self_ns")

    def __init__(self, resource: Resource, span: SpanRecord) -> None:
        self.resource = resource
        self.span = span
        self.children: list[Node] = []
        self.depth = 0
        self.orphan = False
        self.self_ns = self.duration_ns

    @property
    def duration_ns(self) -> int:
        """Nanoseconds; a span said to end before its start has lasted 0."""
        return max(0, self.span.ended_ns - self.span.started_ns)

    @property
    def is_error(self) -> bool:
        """Whether the span ended in an error."""
        return self.span.status == Status.ERROR

    def __repr__(self) -> str:
        return f"<Node {self.span.name!r} {self.duration_ns} ns, {len(self.children)} children>"


class Tree(NamedTuple):
    """All spans of a request. `duplicates` is how often a span came again and was left out;
    `more` that there are others, which were too many to be read."""

    roots: tuple[Node, ...]
    spans: int
    errors: int
    duplicates: int
    more: bool = False

    @property
    def started_ns(self) -> int:
        """The earliest start, wall-clock nanoseconds since 1970; 0 for an empty tree."""
        return min((root.span.started_ns for root in self.walk()), default=0)

    @property
    def duration_ns(self) -> int:
        """From the earliest start to the latest end."""
        ended_ns = max((node.span.ended_ns for node in self.walk()), default=0)
        return max(0, ended_ns - self.started_ns)

    @property
    def root(self) -> Node | None:
        """The root that stands for the request: a real one before an orphan, the earliest."""
        return min(self.roots, key=lambda node: node.orphan, default=None)

    def walk(self) -> Iterator[Node]:
        """Every node once: a parent before its children, children in their order."""
        waiting = list(reversed(self.roots))
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(node.children))


def tree_of(pairs: Iterable[tuple[Resource, SpanRecord]], *, more: bool = False) -> Tree:
    """The tree of these spans; the same for any order of the pairs that differ in their start.

    Two spans with the same trace and span id are one: the one that started first is kept.
    """
    nodes: dict[tuple[bytes, bytes], Node] = {}
    duplicates = 0
    for resource, span in sorted(pairs, key=_order):
        key = span.trace_id, span.span_id
        if key in nodes:
            duplicates += 1
        else:
            nodes[key] = Node(resource, span)
    roots = _joined(nodes)
    for root in roots:
        _measure(root)
    errors = sum(node.is_error for node in nodes.values())
    return Tree(tuple(roots), len(nodes), errors, duplicates, more)


def _order(pair: tuple[Resource, SpanRecord]) -> tuple[int, int, bytes]:
    """By start; of those that start together, what lasts longer is likely to be the parent."""
    span = pair[1]
    return span.started_ns, -span.ended_ns, span.span_id


def _joined(nodes: dict[tuple[bytes, bytes], Node]) -> list[Node]:
    """Hang every node under its parent; give back those that stand at the top, by start."""
    parents: dict[int, Node] = {}
    for node in nodes.values():
        parent = nodes.get((node.span.trace_id, node.span.parent_id))
        if parent is not None and parent is not node:
            parents[id(node)] = parent
        else:
            node.orphan = bool(node.span.parent_id)
    _break_circles(list(nodes.values()), parents)
    roots: list[Node] = []
    for node in nodes.values():  # by start, so children are too
        above = parents.get(id(node))
        (roots if above is None else above.children).append(node)
    return roots


def _break_circles(nodes: Sequence[Node], parents: dict[int, Node]) -> None:
    """Take the parent away from the earliest node of every circle."""
    rank = {id(node): place for place, node in enumerate(nodes)}
    grounded: set[int] = set()  # known to lead to the top
    for node in nodes:
        path: dict[int, Node] = {}
        at: Node | None = node
        while at is not None and id(at) not in grounded and id(at) not in path:
            path[id(at)] = at
            at = parents.get(id(at))
        if at is not None and id(at) in path:
            ring = list(path)[list(path).index(id(at)) :]
            first = min(ring, key=rank.__getitem__)
            del parents[first]
            path[first].orphan = True
        grounded.update(path)  # not |=, which would copy all of it for a dict


def _measure(root: Node) -> None:
    """Depth and self time of a root and all below it."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        node.self_ns = node.duration_ns - _covered_ns(node)
        for child in node.children:
            child.depth = node.depth + 1
        waiting.extend(node.children)


def _covered_ns(node: Node) -> int:
    """How long at least one child ran, within the node's own time."""
    covered, reached = 0, node.span.started_ns
    for child in node.children:
        begins = max(reached, child.span.started_ns)
        ends = min(child.span.ended_ns, node.span.ended_ns)
        if ends > begins:
            covered += ends - begins
            reached = ends
    return covered
