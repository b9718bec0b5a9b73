"""The critical path: what a request waited for, from its first nanosecond to its last.

Read backwards from the end: a span waited for the child that ended last, until then for the one
that had ended last before that child began, and so on; in between it was busy itself. Of
children that ran at the same time only one was waited for. What outlives its parent, as work
left to the background does, was not waited for, but for the server's side of a call: its client
had its answer. Where a server's clock is off, its span is thought of in the middle of the call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.model.span import SpanKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from nilometer.model.tree import Node, Tree

SLACK_NS_MAX: Final = 1_000_000
SLACK_PART: Final = 50
"""A child that began so shortly before another ended began after it: the start of a span is
read from the wall clock, its end reckoned from the monotonic one, and the two drift. A 50th of
the one that ended, and no more than SLACK_NS_MAX."""


class Stretch(NamedTuple):
    """A time in which the request waited for one span itself, wall-clock nanoseconds.

    `node` is None where spans of no common parent leave a time in which none of them ran.
    """

    node: Node | None
    began_ns: int
    ended_ns: int

    @property
    def duration_ns(self) -> int:
        """How long it is."""
        return self.ended_ns - self.began_ns


class _Wait(NamedTuple):
    """A span that was waited for from `low_ns` to `high_ns`; `ahead_ns` is taken off the times
    of its own clock to get these."""

    node: Node | None
    children: Sequence[Node]
    low_ns: int
    high_ns: int
    end_ns: int
    ahead_ns: int


class _Child(NamedTuple):
    """A child as its parent's clock has it; `ended_ns` is no later than the wait's."""

    node: Node
    ended_ns: int
    whole_ns: int
    began_ns: int
    ahead_ns: int


def critical_path(tree: Tree) -> list[Stretch]:
    """The stretches of the request's time, in order, each by what it was waited for.

    Together they last as long as the root, or, where several spans stand at the top, as all of
    the trace. Spans whose parent is missing count as children of the only root that is real.
    """
    found: list[tuple[int, Stretch]] = []
    waiting = [_whole(tree)] if tree.roots else []
    while waiting:
        waiting += _followed(waiting.pop(), found)
    found.sort(key=lambda one: one[0])
    return [stretch for _, stretch in found]


def waited_ns(path: Iterable[Stretch]) -> dict[int, int]:
    """How long the request waited for each node itself, by the node's `id`."""
    total: dict[int, int] = {}
    for each in path:
        if each.node is not None:
            total[id(each.node)] = total.get(id(each.node), 0) + each.duration_ns
    return total


def _whole(tree: Tree) -> _Wait:
    """The wait of whoever asked, and what stands directly below."""
    real = [root for root in tree.roots if not root.orphan]
    root = real[0] if len(real) == 1 else tree.roots[0] if len(tree.roots) == 1 else None
    if root is None:
        ended_ns = tree.started_ns + tree.duration_ns
        return _Wait(None, tree.roots, tree.started_ns, ended_ns, ended_ns, 0)
    lost = [other for other in tree.roots if other is not root]
    began_ns = root.span.started_ns
    ended_ns = began_ns + root.duration_ns
    return _Wait(root, [*root.children, *lost], began_ns, ended_ns, ended_ns, 0)


def _followed(wait: _Wait, found: list[tuple[int, Stretch]]) -> list[_Wait]:
    """Note when this span was busy itself; give back the children that it waited for."""
    below: list[_Wait] = []
    at_ns = wait.high_ns
    for child in sorted(_children(wait), key=lambda one: one[1:3], reverse=True):
        began_ns, ended_ns = max(child.began_ns, wait.low_ns), min(child.ended_ns, at_ns)
        if child.ended_ns - at_ns > _slack_ns(child.whole_ns) or began_ns >= ended_ns:
            continue
        node, ahead_ns = child.node, child.ahead_ns
        if ended_ns < at_ns:
            found.append(_busy(wait.node, ended_ns, at_ns, wait.ahead_ns))
        if node.children:
            end_ns = child.began_ns + child.whole_ns
            below.append(_Wait(node, node.children, began_ns, ended_ns, end_ns, ahead_ns))
        else:  # as most are
            found.append(_busy(node, began_ns, ended_ns, ahead_ns))
        at_ns = began_ns
    if wait.low_ns < at_ns:
        found.append(_busy(wait.node, wait.low_ns, at_ns, wait.ahead_ns))
    return below


def _busy(
    node: Node | None, began_ns: int, ended_ns: int, ahead_ns: int
) -> tuple[int, Stretch]:
    """A stretch by the clock of its span, and its start by the request's."""
    return began_ns, Stretch(node, began_ns + ahead_ns, ended_ns + ahead_ns)


def _children(wait: _Wait) -> Iterator[_Child]:
    """The children that may have been waited for."""
    is_call = wait.node is not None and wait.node.span.kind is SpanKind.CLIENT
    for node in wait.children:
        is_answer = is_call and node.span.kind is SpanKind.SERVER
        ahead_ns = wait.ahead_ns + (_skew_ns(wait.node, node) if is_answer else 0)
        began_ns, whole_ns = node.span.started_ns - ahead_ns, node.duration_ns
        ended_ns = began_ns + whole_ns
        if is_answer or ended_ns - wait.end_ns <= _slack_ns(whole_ns):
            yield _Child(node, min(ended_ns, wait.high_ns), whole_ns, began_ns, ahead_ns)


def _slack_ns(whole_ns: int) -> int:
    return min(whole_ns // SLACK_PART, SLACK_NS_MAX)


def _skew_ns(parent: Node | None, child: Node) -> int:
    """How far a server's clock is ahead of its client's: nothing, if its span lies within the
    call or is on the same host."""
    if parent is None:
        return 0
    spare_ns = parent.duration_ns - child.duration_ns
    offset_ns = child.span.started_ns - parent.span.started_ns
    if 0 <= offset_ns <= spare_ns or spare_ns < 0:
        return 0
    if parent.resource.host == child.resource.host != "":
        return 0
    return offset_ns - spare_ns // 2
