"""Spans of one process laid side by side so that in each lane they nest and never overlap.

Flame graphs take time on one axis and nesting on the other. Children of a span that ran at the
same time, or longer than it, do not nest; they get lanes of their own. What stands within
another span in a lane is always its child, never one that merely ran meanwhile.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from nilometer.model import Resource
    from nilometer.model.tree import Node, Tree


class Step(NamedTuple):
    """A span opens or closes, `at_ns` after the trace's start."""

    opens: bool
    node: Node
    at_ns: int


class Lane(NamedTuple):
    """One row of spans of one process. Lanes of a process count from 1."""

    resource: Resource
    number: int
    steps: list[Step]


class _Lane:
    """A lane while it is filled: its steps, and the spans open in it now."""

    __slots__ = ("number", "open", "steps")

    def __init__(self, number: int) -> None:
        self.number = number
        self.steps: list[Step] = []
        self.open: list[tuple[Node, int]] = []  # and when each ends

    def close_until(self, now_ns: int, parent: Node | None) -> None:
        """Close what has ended, but not a parent that ends just now."""
        while self.open and self.open[-1][1] <= now_ns and self.open[-1][0] is not parent:
            node, ended_ns = self.open.pop()
            self.steps.append(Step(False, node, ended_ns))

    def close_all(self) -> None:
        while self.open:
            node, ended_ns = self.open.pop()
            self.steps.append(Step(False, node, ended_ns))


def lanes_of(tree: Tree) -> list[Lane]:
    """All lanes: processes in the order of their first span, each one's lanes by number."""
    origin_ns = tree.started_ns
    processes: dict[Resource, list[Node]] = {}
    parents: dict[int, Node] = {}
    for node in tree.walk():
        processes.setdefault(node.resource, []).append(node)
        for child in node.children:
            parents[id(child)] = node
    return [
        Lane(resource, lane.number, lane.steps)
        for resource, nodes in processes.items()
        for lane in _laid(nodes, parents, origin_ns)
    ]


def _laid(nodes: list[Node], parents: dict[int, Node], origin_ns: int) -> list[_Lane]:
    lanes: list[_Lane] = []
    homes: dict[int, _Lane] = {}  # by the node that stands in it
    free: list[tuple[int, int]] = []  # when a lane's outermost span ends, and its place
    for node in sorted(nodes, key=lambda node: (node.span.started_ns, node.depth)):
        started_ns = node.span.started_ns - origin_ns
        ended_ns = started_ns + node.duration_ns
        parent = parents.get(id(node))
        lane = homes.get(id(parent))
        if lane is not None and not _fits(lane, parent, started_ns, ended_ns):
            lane = None
        if lane is None:
            if free and free[0][0] <= started_ns:
                lane = lanes[heappop(free)[1]]
            else:
                lane = _Lane(len(lanes) + 1)
                lanes.append(lane)
            lane.close_all()
            heappush(free, (ended_ns, lane.number - 1))
        homes[id(node)] = lane
        lane.open.append((node, ended_ns))
        lane.steps.append(Step(True, node, started_ns))
    for lane in lanes:
        lane.close_all()
    return lanes


def _fits(lane: _Lane, parent: Node | None, started_ns: int, ended_ns: int) -> bool:
    """Whether a child can stand in its parent's lane."""
    if not any(node is parent for node, _ in lane.open[-1:]):
        lane.close_until(started_ns, parent)
    return bool(lane.open) and lane.open[-1][0] is parent and ended_ns <= lane.open[-1][1]
