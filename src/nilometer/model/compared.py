"""Two trees of the same operation, matched span by span.

Spans match if their parents do and they do the same (`folded.operation_of`): the first such
child here is the first there, and so on. What has no match is only here or only there.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from nilometer.model.folded import operation_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nilometer.model.folded import Operation
    from nilometer.model.tree import Node, Tree


class Pair(NamedTuple):
    """A span here and the one that matches it there; one of them may be missing."""

    here: Node | None
    there: Node | None
    depth: int

    @property
    def either(self) -> Node:
        """The one here, or else the one there."""
        found = self.here or self.there
        assert found is not None
        return found

    @property
    def longer_ns(self) -> int:
        """How much longer it took here, in nanoseconds; what is missing took 0."""
        return _duration_ns(self.here) - _duration_ns(self.there)

    @property
    def self_longer_ns(self) -> int:
        """The same of its own time: these add up, while a parent's time has its children's."""
        return _self_ns(self.here) - _self_ns(self.there)


class Change(NamedTuple):
    """How one operation differs: how often, and how long in all of its own time."""

    operation: Operation
    count_here: int
    count_there: int
    self_here_ns: int
    self_there_ns: int

    @property
    def longer_ns(self) -> int:
        """How much more time of its own it took here, nanoseconds."""
        return self.self_here_ns - self.self_there_ns


def pairs_of(here: Tree, there: Tree) -> list[Pair]:
    """Every span of both trees once, parents before children; what is only there stands after
    the last of its siblings that is here."""
    found: list[Pair] = []
    waiting = _tops(here, there)[::-1]
    while waiting:
        pair = waiting.pop()
        found.append(pair)
        below = _matched(_children(pair.here), _children(pair.there), pair.depth + 1)
        waiting += below[::-1]
    return found


def changes_of(pairs: Sequence[Pair]) -> list[Change]:
    """The operations of both trees, those whose own time differs most first."""
    counts: dict[Operation, list[int]] = {}
    for pair in pairs:
        for side, node in enumerate((pair.here, pair.there)):
            if node is not None:
                told = counts.setdefault(operation_of(node), [0, 0, 0, 0])
                told[side] += 1
                told[side + 2] += node.self_ns
    changes = [Change(operation, *told) for operation, told in counts.items()]
    return sorted(changes, key=lambda one: (-abs(one.longer_ns), one.operation))


def _tops(here: Tree, there: Tree) -> list[Pair]:
    """The pairs at the top: requests are compared even if they are not called the same."""
    pairs = _matched(here.roots, there.roots, 0)
    first, second = here.root, there.root
    if first is None or second is None or any(p.here and p.there for p in pairs):
        return pairs
    rest = [p for p in pairs if p.either is not first and p.either is not second]
    return [Pair(first, second, 0), *rest]


def _matched(here: Sequence[Node], there: Sequence[Node], depth: int) -> list[Pair]:
    alike: dict[Operation, deque[Node]] = {}
    for node in there:
        alike.setdefault(operation_of(node), deque()).append(node)
    pairs = []
    for node in here:
        others = alike.get(operation_of(node))
        pairs.append(Pair(node, others.popleft() if others else None, depth))
    left = {id(node) for others in alike.values() for node in others}
    return pairs + [Pair(None, node, depth) for node in there if id(node) in left]


def _children(node: Node | None) -> Sequence[Node]:
    return () if node is None else node.children


def _duration_ns(node: Node | None) -> int:
    return 0 if node is None else node.duration_ns


def _self_ns(node: Node | None) -> int:
    return 0 if node is None else node.self_ns


def only_here(pairs: Sequence[Pair]) -> Iterator[Node]:
    """The spans that match none there."""
    return (pair.here for pair in pairs if pair.here is not None and pair.there is None)


def only_there(pairs: Sequence[Pair]) -> Iterator[Node]:
    """The spans that match none here."""
    return (pair.there for pair in pairs if pair.there is not None and pair.here is None)
