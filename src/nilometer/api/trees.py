"""One trace as nested JSON; nothing recurses, as a trace may be as deep as it has spans."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from nilometer.api.moments import iso_8601

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nilometer.model import AttributeValue
    from nilometer.model.tree import Node, Tree

# JSON readers stop at some depth, Python's at 1,000; a node takes two of them.
NESTED_MAX: Final = 200
"""Spans deeper than this stand beside each other under their ancestor at this depth."""


def nested(trace_id: str, tree: Tree) -> dict[str, Any]:
    """The trace as `answers.TraceTree` describes it."""
    roots: list[dict[str, Any]] = []
    homes: list[list[dict[str, Any]]] = [roots]  # where nodes of each depth are put
    for node in tree.walk():  # a parent before its children, in their order
        one = node_of(node)
        depth = min(node.depth, NESTED_MAX)
        homes[depth].append(one)
        del homes[depth + 1 :]
        homes.append(one["children"])
    return {
        "id": trace_id,
        "started_ns": tree.started_ns,
        "started": iso_8601(tree.started_ns),
        "duration_ns": tree.duration_ns,
        "spans": tree.spans,
        "errors": tree.errors,
        "duplicates": tree.duplicates,
        "more": tree.more,
        "services": sorted({node.resource.service for node in tree.walk()}),
        "roots": roots,
    }


def node_of(node: Node) -> dict[str, Any]:
    """One span, its children still to come."""
    span = node.span
    return {
        "span_id": span.span_id.hex(),
        "parent_id": span.parent_id.hex(),
        "name": span.name,
        "service": node.resource.service,
        "host": node.resource.host,
        "pid": node.resource.pid,
        "kind": span.kind.name.lower(),
        "depth": node.depth,
        "started_ns": span.started_ns,
        "duration_ns": node.duration_ns,
        "self_ns": node.self_ns,
        "status": span.status.name.lower(),
        "status_message": span.status_message,
        "attributes": plain(span.attributes),
        "events": [
            {"name": event.name, "at_ns": event.at_ns, "attributes": plain(event.attributes)}
            for event in span.events
        ],
        "orphan": node.orphan,
        "children": [],
    }


def plain(attributes: Mapping[str, AttributeValue]) -> dict[str, AttributeValue]:
    """Attributes as JSON can hold them: it has no NaN and no infinities, so these are texts."""
    return {
        key: str(value) if isinstance(value, float) and not isfinite(value) else value
        for key, value in attributes.items()
    }
