"""A trace as rows for the waterfall: compact, as there may be ten thousand of them.

Texts that come again stand once in a list, and rows hold their place in it. Times are whole
nanoseconds after the trace's start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.model.folded import statement_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nilometer.model.folded import Fold
    from nilometer.model.tree import Node
    from nilometer.web.trees import Whole

TELLING: Final = (
    "http.route",
    "url.path",
    "http.response.status_code",
    "server.address",
    "error.type",
)
"""What says most about a span, in the order people look for it; before it its statement."""

NAME_CHARACTERS_MAX: Final = 300
NOTE_CHARACTERS_MAX: Final = 160  # more than any row has room for
FOLD_OF_MANY: Final = 10  # of spans with children that are folded; leaves are from three on
COLUMNS: Final = (
    *("depth", "name", "service", "note", "started_ns", "duration_ns", "self_ns", "waited_ns"),
    *("flags", "span_id"),
)
FAILED: Final = 1
ORPHAN: Final = 2


class _Texts:
    """Texts, each once."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}

    def place(self, text: str) -> int:
        return self.places.setdefault(text, len(self.places))


def rows_of(whole: Whole) -> dict[str, Any]:
    """All of the trace; `path` are row, start and duration of what was waited for, `folds` the
    rows that stand for several: how many, and which."""
    began_ns = whole.started_ns
    names, services, notes = _Texts(), _Texts(), _Texts()
    at = {id(node): place for place, node in enumerate(whole.nodes)}
    rows = [
        [
            node.depth,
            names.place(node.span.name[:NAME_CHARACTERS_MAX]),
            services.place(node.resource.service),
            notes.place(note_of(node)),
            node.span.started_ns - began_ns,
            node.duration_ns,
            node.self_ns,
            whole.waited.get(id(node), 0),
            FAILED * node.is_error | ORPHAN * node.orphan,
            node.span.span_id.hex(),
        ]
        for node in whole.nodes
    ]
    return {
        "id": whole.id,
        "started_ns": began_ns,
        "duration_ns": whole.duration_ns,
        "columns": COLUMNS,
        "names": list(names.places),
        "services": list(services.places),
        "notes": list(notes.places),
        "rows": rows,
        "path": [
            [at[id(each.node)], each.began_ns - began_ns, each.duration_ns]
            for each in whole.path
            if each.node is not None
        ],
        "folds": [[at[id(node)] for node in fold.nodes] for fold in shown_folds(whole.folds)],
    }


def shown_folds(folds: Sequence[Fold]) -> Iterator[Fold]:
    """The folds that are one row until one opens it: what has children is seldom folded, as
    one wants to see them."""
    for fold in folds:
        if len(fold.nodes) >= FOLD_OF_MANY or not any(node.children for node in fold.nodes):
            yield fold


def note_of(node: Node) -> str:
    """What tells most of a span, on one line: what failed, its statement, where it went."""
    attributes = node.span.attributes
    told = [node.span.status_message] if node.span.status_message else []
    if statement := statement_of(node):
        told.append(statement)
    told += [str(attributes[key]) for key in TELLING if key in attributes]
    name = node.span.name
    line = " ".join(" ".join(text for text in told if text not in name).split())
    return line if len(line) <= NOTE_CHARACTERS_MAX else line[:NOTE_CHARACTERS_MAX] + "…"
