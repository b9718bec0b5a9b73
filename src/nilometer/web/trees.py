"""The traces that people look at now: each read once for the page, its rows and its spans.

A trace grows while services report their spans, so what was read counts for some seconds only.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.api.problems import missing
from nilometer.api.traces import spans_of_trace
from nilometer.model.critical import critical_path, waited_ns
from nilometer.model.folded import folds_of, groups_of, name_of
from nilometer.model.gaps import longest_gaps
from nilometer.model.tree import tree_of

if TYPE_CHECKING:
    from nilometer.api.problems import Refusal
    from nilometer.clock import Clock
    from nilometer.model.critical import Stretch
    from nilometer.model.folded import Fold, Group
    from nilometer.model.gaps import Gap
    from nilometer.model.tree import Node, Tree
    from nilometer.store.query import Reader

KEPT_NS: Final = 10 * 10**9  # services report every ten seconds
GAPS_MAX: Final = 10
SPANS_KEPT: Final = 40_000
"""Of all traces together: four large ones, some 60 MB."""


class Whole(NamedTuple):
    """A trace with what is reckoned of it. `nodes` are parents before their children; `places`
    has where a span stands among them, by its id in hex, `parents` where its parent does.
    `operations` are by name, `gaps` the longest."""

    id: str
    tree: Tree
    started_ns: int
    duration_ns: int
    nodes: list[Node]
    places: dict[str, int]
    parents: list[int | None]
    path: list[Stretch]
    waited: dict[int, int]
    folds: list[Fold]
    operations: list[Group]
    gaps: list[Gap]

    @property
    def request_ns(self) -> int:
        """How long the request took: what outlives it does not count."""
        return sum(each.duration_ns for each in self.path)

    def node(self, span_id: str) -> Node | None:
        """The span of that id."""
        place = self.places.get(span_id.lower())
        return None if place is None else self.nodes[place]


def whole_of(trace_id: str, tree: Tree) -> Whole:
    """All that is reckoned of a tree."""
    nodes = list(tree.walk())
    path = critical_path(tree)
    waited = waited_ns(path)
    at = {id(node): place for place, node in enumerate(nodes)}
    parents: list[int | None] = [None] * len(nodes)
    for place, node in enumerate(nodes):
        for child in node.children:
            parents[at[id(child)]] = place
    places = {node.span.span_id.hex(): place for place, node in enumerate(nodes)}
    return Whole(
        trace_id,
        tree,
        tree.started_ns,
        tree.duration_ns,
        nodes,
        places,
        parents,
        path,
        waited,
        folds_of(tree, waited),
        groups_of(nodes, waited, name_of),
        longest_gaps(tree, GAPS_MAX),
    )


class Trees:
    """Reads traces, and keeps those that were read last. Any thread may ask."""

    def __init__(self, reader: Reader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock
        self._lock = Lock()
        self._kept: OrderedDict[str, tuple[int, Whole]] = OrderedDict()

    def of(self, trace_id: str) -> Whole:
        """The trace; Refusal 404 if there is none. Takes a thread's time."""
        now_ns = self._clock.elapsed_ns()
        with self._lock:
            read_ns, kept = self._kept.get(trace_id, (0, None))
        if kept is not None and now_ns - read_ns < KEPT_NS:
            return kept
        pairs, more = spans_of_trace(self._reader, trace_id)
        if not pairs:
            raise unknown(trace_id)
        whole = whole_of(trace_id, tree_of(pairs, more=more))
        self._keep(trace_id, now_ns, whole)
        return whole

    def _keep(self, trace_id: str, now_ns: int, whole: Whole) -> None:
        with self._lock:
            self._kept.pop(trace_id, None)
            self._kept[trace_id] = now_ns, whole
            for key, (read_ns, _) in list(self._kept.items()):
                spans = sum(len(each.nodes) for _, each in self._kept.values())
                if spans > SPANS_KEPT or now_ns - read_ns >= KEPT_NS:
                    del self._kept[key]


def unknown(trace_id: str) -> Refusal:
    """There is no such trace, or not yet."""
    return missing(
        f"no trace {trace_id}; spans are here some seconds after they ended: look again, or "
        "search for it in Traces"
    )
