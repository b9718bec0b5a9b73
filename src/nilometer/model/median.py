"""The median of several trees of the same operation: a tree of what most of them did.

A span is in it if at least half of the trees have it at the same place, and lasts as long as
the median of those: of an even number the lower of the two in the middle, so that every time
is one that was measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.model.folded import STATEMENT, operation_of, statement_of
from nilometer.model.span import SpanRecord
from nilometer.model.tree import Node, Tree, tree_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nilometer.model.folded import Operation
    from nilometer.model.resource import Resource

_TRACE: Final = bytes(16)  # a trace that nobody sent has an id that no trace may have


class Median(NamedTuple):
    """A tree that stands for `trees` of them; `seen` tells by span id how many have a span."""

    tree: Tree
    trees: int
    seen: dict[bytes, int]


class _Place:
    """The same span in several trees: where it stands, and how it went each time."""

    def __init__(self, number: int) -> None:
        self.span_id = number.to_bytes(8, "big")
        self.nodes: list[Node] = []
        self.offsets_ns: list[int] = []  # of its start from its parent's
        self.below: dict[tuple[Operation, int], _Place] = {}


def median_of(trees: Sequence[Tree]) -> Median:
    """The median tree; empty if there are no trees."""
    places: list[_Place] = []
    tops: dict[tuple[Operation, int], _Place] = {}
    for tree in trees:
        if tree.root is not None:
            _add(tree, tree.root, tops, places)
    kept = {each.span_id: each for each in places if 2 * len(each.nodes) >= len(trees)}
    tree = tree_of(_records(tops.values(), kept))
    for node in tree.walk():  # medians of parts do not add up: own times are medians, too
        node.self_ns = _middle([each.self_ns for each in kept[node.span.span_id].nodes])
    return Median(tree, len(trees), {key: len(each.nodes) for key, each in kept.items()})


def _add(
    tree: Tree,
    root: Node,
    tops: dict[tuple[Operation, int], _Place],
    places: list[_Place],
) -> None:
    """Put every span of a tree to its place."""
    lost = [other for other in tree.roots if other is not root]
    waiting = [([root, *lost], tops, root.span.started_ns)]
    while waiting:
        siblings, below, began_ns = waiting.pop()
        met: dict[Operation, int] = {}
        for node in siblings:
            operation = operation_of(node)
            met[operation] = met.get(operation, 0) + 1
            place = below.get((operation, met[operation]))
            if place is None:
                place = below[operation, met[operation]] = _Place(len(places) + 1)
                places.append(place)
            place.nodes.append(node)
            place.offsets_ns.append(node.span.started_ns - began_ns)
            waiting.append((node.children, place.below, node.span.started_ns))


def _records(
    tops: Iterable[_Place], kept: dict[bytes, _Place]
) -> Iterable[tuple[Resource, SpanRecord]]:
    """The places that are kept as spans; children of one that is not are not either."""
    waiting = [(place, b"", 0) for place in tops]
    while waiting:
        place, parent_id, began_ns = waiting.pop()
        if place.span_id not in kept:
            continue
        started_ns = began_ns + _middle(place.offsets_ns)
        first = place.nodes[0]
        statement = statement_of(first)
        yield (
            first.resource,
            SpanRecord(
                _TRACE,
                place.span_id,
                parent_id,
                first.span.name,
                first.span.kind,
                started_ns,
                started_ns + _middle([node.duration_ns for node in place.nodes]),
                {STATEMENT: statement} if statement else {},
            ),
        )
        waiting += [(each, place.span_id, started_ns) for each in place.below.values()]


def _middle(values: Sequence[int]) -> int:
    return sorted(values)[(len(values) - 1) // 2]
