"""A trace as a flame graph: spans of the same place in the tree that do the same are one frame.

A frame is as wide as its time. By `waited` that is what the request waited for, so that all
frames of a depth together are never wider than the request; by `total` it is the sum of the
spans' durations, where what ran at the same time counts each time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nilometer.model.folded import name_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nilometer.model.folded import Operation
    from nilometer.model.tree import Node, Tree


class Frame:
    """Spans that do the same at the same place; times in nanoseconds.

    `width_ns` is its own time (by the mode that was chosen) with that of all frames on it.
    """

    __slots__ = ("operation", "children", "count", "errors", "self_ns", "width_ns", "total_ns")

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.children: dict[Operation, Frame] = {}
        self.count = 0
        self.errors = 0
        self.self_ns = 0
        self.width_ns = 0
        self.total_ns = 0


class Laid:
    """A frame where it stands: `left` and `width` are parts of the whole, from 0 to 1; `path`
    are the places of its ancestors and itself among their siblings."""

    __slots__ = ("frame", "depth", "left", "width", "path")

    def __init__(
        self, frame: Frame, depth: int, left: float, width: float, path: tuple[int, ...]
    ) -> None:
        self.frame = frame
        self.depth = depth
        self.left = left
        self.width = width
        self.path = path


def flame_of(tree: Tree, waited: Mapping[int, int] | None = None) -> list[Frame]:
    """The frames at the bottom, widest first; by what was waited for, or without that by the
    time of spans themselves."""
    roots: dict[Operation, Frame] = {}
    order: list[Frame] = []
    waiting: list[tuple[Node, dict[Operation, Frame]]] = [(root, roots) for root in tree.roots]
    while waiting:
        node, siblings = waiting.pop()
        operation = name_of(node)
        frame = siblings.get(operation)
        if frame is None:
            frame = siblings[operation] = Frame(operation)
            order.append(frame)
        own_ns = node.self_ns if waited is None else waited.get(id(node), 0)
        frame.count += 1
        frame.errors += node.is_error
        frame.self_ns += own_ns
        frame.total_ns += node.duration_ns
        waiting += [(child, frame.children) for child in node.children]
    for frame in reversed(order):  # a frame is made before those on it
        frame.width_ns = frame.self_ns + sum(one.width_ns for one in frame.children.values())
    return _widest(roots)


def laid_out(
    frames: Sequence[Frame], *, least: float, below: Sequence[int] = ()
) -> Iterator[Laid]:
    """The frames with their places, those left out that are narrower than `least` of the
    whole; of the frame at the path `below` only what is on it, with it as the whole.

    An unknown path ends where it leaves the tree.
    """
    bottom, path = list(frames), ()  # type: list[Frame], tuple[int, ...]
    for place in below:
        on_it = _widest(bottom[0].children) if path else bottom
        if not 0 <= place < len(on_it):
            break
        bottom, path = [on_it[place]], (*path, place)
    whole_ns = sum(frame.width_ns for frame in bottom) or 1
    first = len(path) - 1 if path else 0
    waiting = [(bottom, 0, 0.0, path[:-1], path[-1] if path else 0)]
    while waiting:
        siblings, depth, left, above, start = waiting.pop()
        for place, frame in enumerate(siblings, start):
            width = frame.width_ns / whole_ns
            here = (*above, place)
            if width >= least:
                yield Laid(frame, depth + first, left, width, here)
                waiting.append((_widest(frame.children), depth + 1, left, here, 0))
            left += width


def _widest(frames: Mapping[Operation, Frame]) -> list[Frame]:
    return sorted(frames.values(), key=lambda one: (-one.width_ns, one.operation))
