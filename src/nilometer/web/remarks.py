"""What stands out in a trace, each in a sentence: why it failed, and where its time went.

Only what is worth a look is told: repeated statements, what took much of the waiting, long
times in which nothing is known to have run, spans that are missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.model.folded import name_of
from nilometer.model.units import counted, duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nilometer.model.gaps import Gap
    from nilometer.model.tree import Node
    from nilometer.web.trees import Whole

REPEATS_MIN: Final = 5  # statements that one asked for in a loop; fewer may well be different
REPEATS_SHOWN: Final = 3
SHARE_MIN: Final = 0.1  # of the request: less is not why it was slow
ERRORS_SHOWN: Final = 3
NAME_CHARACTERS_MAX: Final = 120


class Remark(NamedTuple):
    """One thing that stands out: how much of the request it took (0 if that is not the point),
    and the span to look at."""

    kind: str
    words: str
    share: float
    span_id: str


def remarks_of(whole: Whole) -> list[Remark]:
    """What stands out: what failed first, then what took most."""
    slow = [*_repeats(whole), *_waits(whole), *_gaps(whole)]
    slow.sort(key=lambda one: -one.share)
    return [*_errors(whole), *slow, *_missing(whole)]


def share_text(share: float) -> str:
    """
    >>> share_text(0.256), share_text(0.004)
    ('26 %', 'under 1 %')
    """
    return f"{share:.0%}".replace("%", " %") if share >= 0.005 else "under 1 %"


def _errors(whole: Whole) -> Iterator[Remark]:
    """The innermost failures: those above them failed because of them."""
    failed_below: dict[int, bool] = {}
    for node in reversed(whole.nodes):  # children before their parents
        failed_below[id(node)] = any(
            child.is_error or failed_below[id(child)] for child in node.children
        )
    inner = [node for node in whole.nodes if node.is_error and not failed_below[id(node)]]
    for node in inner[:ERRORS_SHOWN]:
        said = node.span.status_message or str(node.span.attributes.get("error.type", ""))
        words = f"{_called(node)} failed" + (f": {said}" if said else "")
        yield Remark("error", words, 0.0, node.span.span_id.hex())
    if len(inner) > ERRORS_SHOWN:
        words = f"{counted(len(inner) - ERRORS_SHOWN, 'more span')} failed"
        yield Remark("error", words, 0.0, inner[ERRORS_SHOWN].span.span_id.hex())


def _repeats(whole: Whole) -> Iterator[Remark]:
    whole_ns = max(whole.request_ns, 1)
    below = _waited_below(whole)
    many = [fold for fold in whole.folds if fold.statements >= fold.group.spans >= REPEATS_MIN]
    folded = {id(node) for fold in many for node in fold.nodes}
    outer = [fold for fold in many if id(fold.parent) not in folded]
    for fold in outer[:REPEATS_SHOWN]:
        group = fold.group
        what = group.operation.statement or group.operation.name
        where = f" under {_called(fold.parent)}" if fold.parent else ""
        statements = (
            f", {fold.statements:,} statements in all" if fold.statements != group.spans else ""
        )
        words = (
            f"{group.spans:,} times the same{where}: {what}{statements}; "
            f"{duration(group.total_ns)} together, {duration(group.average_ns)} each"
        )
        share = sum(below[id(node)] for node in fold.nodes) / whole_ns
        yield Remark("repeat", words, share, fold.nodes[0].span.span_id.hex())


def _waited_below(whole: Whole) -> dict[int, int]:
    """How long the request waited for each node and those below it, by the node's `id`."""
    total = {id(node): whole.waited.get(id(node), 0) for node in whole.nodes}
    for node in reversed(whole.nodes):  # children before their parents
        total[id(node)] += sum(total[id(child)] for child in node.children)
    return total


def _waits(whole: Whole) -> Iterator[Remark]:
    whole_ns = max(whole.request_ns, 1)
    groups = sorted(whole.operations, key=lambda one: -one.waited_ns)
    for group in groups[:2]:
        share = group.waited_ns / whole_ns
        if share < SHARE_MIN or len(whole.nodes) == 1:
            continue
        longest = max(
            (node for node in whole.nodes if name_of(node) == group.operation),
            key=lambda node: whole.waited.get(id(node), 0),
        )
        times = f" ({counted(group.spans, 'span')})" if group.spans > 1 else ""
        words = (
            f"the request waited {duration(group.waited_ns)} for {group.operation.name} "
            f"of {group.operation.service} itself{times}"
        )
        yield Remark("wait", words, share, longest.span.span_id.hex())


def _gaps(whole: Whole) -> Iterator[Remark]:
    whole_ns = max(whole.request_ns, 1)
    for gap in whole.gaps[:1]:
        share = gap.duration_ns / whole_ns
        if share >= SHARE_MIN and whole.waited.get(id(gap.node), 0) >= gap.duration_ns:
            words = f"{duration(gap.duration_ns)} {place_of(gap)} in which no span of it ran"
            yield Remark("gap", words, share, gap.node.span.span_id.hex())


def _missing(whole: Whole) -> Iterator[Remark]:
    orphans = [root for root in whole.tree.roots if root.orphan]
    if orphans and len(whole.tree.roots) > 1:
        words = (
            f"the parent of {counted(len(orphans), 'span')} is not here: it may still be on "
            "its way, was not measured, or was lost (Doctor tells)"
        )
        yield Remark("missing", words, 0.0, orphans[-1].span.span_id.hex())


def place_of(gap: Gap) -> str:
    """Where in its span a gap is."""
    inside = _called(gap.node)
    if gap.after is None and gap.before is not None:
        return f"at the start of {inside}, before {_called(gap.before)},"
    if gap.before is None and gap.after is not None:
        return f"at the end of {inside}, after {_called(gap.after)},"
    if gap.after is None or gap.before is None:
        return f"in {inside}"
    return f"in {inside}, between {_called(gap.after)} and {_called(gap.before)},"


def _called(node: Node) -> str:
    name = node.span.name
    return (
        f"{name[:NAME_CHARACTERS_MAX]}…"
        if len(name) > NAME_CHARACTERS_MAX
        else name or "(no name)"
    )
