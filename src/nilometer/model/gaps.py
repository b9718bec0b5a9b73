"""Gaps: where in a span that has children none of them ran."""

from __future__ import annotations

from heapq import nlargest
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nilometer.model.tree import Node, Tree


class Gap(NamedTuple):
    """A time in which `node` ran alone: from the end of the child `after` to the start of
    `before`, wall-clock nanoseconds; None is its own start or end."""

    node: Node
    began_ns: int
    ended_ns: int
    after: Node | None
    before: Node | None

    @property
    def duration_ns(self) -> int:
        """How long it is."""
        return self.ended_ns - self.began_ns


def gaps_of(node: Node) -> Iterator[Gap]:
    """The gaps of one span, in order; together they are its self time. A span without
    children has none: all of it is its own."""
    reached, after = node.span.started_ns, None
    for child in node.children:
        begins = min(child.span.started_ns, node.span.ended_ns)
        if begins > reached:
            yield Gap(node, reached, begins, after, child)
        ends = max(begins, min(child.span.ended_ns, node.span.ended_ns))
        if ends >= reached:
            reached, after = ends, child
    if node.children and node.span.ended_ns > reached:
        yield Gap(node, reached, node.span.ended_ns, after, None)


def longest_gaps(tree: Tree, limit: int) -> list[Gap]:
    """The longest gaps of all spans, the longest first."""
    every = (gap for node in tree.walk() for gap in gaps_of(node))
    return nlargest(limit, every, key=lambda gap: gap.duration_ns)
