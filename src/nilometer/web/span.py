"""All that one span of a trace tells of itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.api.trees import node_of, plain
from nilometer.model.folded import STATEMENT, statement_of
from nilometer.model.gaps import gaps_of
from nilometer.model.units import duration
from nilometer.web.remarks import place_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nilometer.model.tree import Node
    from nilometer.web.trees import Whole

FILE: Final = ("code.file.path", "code.filepath")
LINE: Final = ("code.line.number", "code.lineno")
FUNCTION: Final = ("code.function.name", "code.function")
REQUEST: Final = "request_id"
GAPS_SHOWN: Final = 5
SHOWN_APART: Final = {*FILE, *LINE, *FUNCTION, STATEMENT, "db.statement"}
"""Attributes that stand by themselves, not in the list."""


class Span(NamedTuple):
    """A span with what is told of it: where in the code it was made, what it asked, its times
    in the trace."""

    node: Node
    span_id: str
    parent: Node | None
    caller: str
    statement: str
    request_id: str
    offset_ns: int
    waited_ns: int
    attributes: list[tuple[str, Any]]
    gaps: list[tuple[str, int]]


def span_of(whole: Whole, span_id: str) -> Span | None:
    """The span of that id; None if the trace has none."""
    node = whole.node(span_id)
    if node is None:
        return None
    above = whole.parents[whole.places[span_id.lower()]]
    attributes = plain(node.span.attributes)
    longest = sorted(gaps_of(node), key=lambda gap: -gap.duration_ns)[:GAPS_SHOWN]
    return Span(
        node,
        node.span.span_id.hex(),
        None if above is None else whole.nodes[above],
        caller_of(attributes),
        statement_of(node),
        str(attributes.get(REQUEST, "")),
        node.span.started_ns - whole.started_ns,
        whole.waited.get(id(node), 0),
        sorted((key, value) for key, value in attributes.items() if key not in SHOWN_APART),
        [(place_of(gap).rstrip(","), gap.duration_ns) for gap in longest],
    )


def caller_of(attributes: dict[str, Any]) -> str:
    """Where in the code the span was made: `shop/orders.py:17 in price`; empty if not told.

    >>> caller_of({"code.file.path": "a.py", "code.line.number": 3})
    'a.py:3'
    """
    file, line, function = (
        next((str(attributes[key]) for key in keys if key in attributes), "")
        for keys in (FILE, LINE, FUNCTION)
    )
    place = f"{file}:{line}" if file and line else file
    return f"{place} in {function}" if place and function else place or function


def told(span: Span) -> dict[str, Any]:
    """The span as JSON."""
    found = node_of(span.node)
    del found["children"]
    return {
        **found,
        "caller": span.caller,
        "statement": span.statement,
        "offset_ns": span.offset_ns,
        "waited_ns": span.waited_ns,
        "gaps": [{"where": where, "duration_ns": took_ns} for where, took_ns in span.gaps],
    }


def rows_of(told: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The same as rows: what, and its value; lists as JSON, and of what is nested its path.

    >>> rows_of({"name": "GET", "attributes": {"http.route": "/a"}, "events": [{"name": "x"}]})
    [('name', 'GET'), ('attributes.http.route', '/a'), ('events', '[{"name": "x"}]')]
    """
    found: list[tuple[str, Any]] = []
    for what, value in told.items():
        if isinstance(value, dict):
            found += [(f"{what}.{inner}", one) for inner, one in rows_of(value)]
        else:
            found.append((what, json.dumps(value) if isinstance(value, list) else value))
    return found


def happened(span: Span) -> list[tuple[str, str, list[tuple[str, Any]]]]:
    """What happened in it: how long after its start, what, and its attributes."""
    return [
        (
            duration(event.at_ns - span.node.span.started_ns),
            event.name,
            sorted(plain(event.attributes).items()),
        )
        for event in span.node.span.events
    ]
