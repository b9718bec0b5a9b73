"""Traces as Chrome's trace events, for chrome://tracing and Perfetto.

Each process of the trace is a process there, each lane a thread (threads of the real process
are not known to a span). Times are microseconds from the trace's start, with fractions.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nilometer.wire.attributes import json_value
from nilometer.wire.lanes import lanes_of

if TYPE_CHECKING:
    from nilometer.model import Event, Resource
    from nilometer.model.tree import Node, Tree

NS_PER_US = 1000


def encode(tree: Tree) -> str:
    """A JSON object with all spans as complete events, span events as instants."""
    processes: dict[Resource, int] = {}
    events: list[dict[str, Any]] = []
    origin_ns = tree.started_ns
    for lane in lanes_of(tree):
        if lane.resource not in processes:
            processes[lane.resource] = len(processes) + 1
            events.append(_process_name(lane.resource, processes[lane.resource]))
        where = {"pid": processes[lane.resource], "tid": lane.number}
        for step in lane.steps:
            if step.opens:
                events.append(_complete(step.node, step.at_ns) | where)
                events += [
                    _instant(event, origin_ns) | where for event in step.node.span.events
                ]
    lines = ",\n".join(json.dumps(event, separators=(",", ":")) for event in events)
    return f'{{"displayTimeUnit":"ns","traceEvents":[\n{lines}\n]}}\n'


def _process_name(resource: Resource, number: int) -> dict[str, Any]:
    name = " ".join(filter(None, [resource.service, resource.host, str(resource.pid or "")]))
    return {"ph": "M", "name": "process_name", "pid": number, "tid": 0, "args": {"name": name}}


def _complete(node: Node, at_ns: int) -> dict[str, Any]:
    span = node.span
    args: dict[str, Any] = {
        str(key): json_value(value) for key, value in span.attributes.items()
    }
    args |= {"span_id": span.span_id.hex(), "self_ms": node.self_ns / 1e6}
    if node.is_error:
        args["error"] = span.status_message or True
    if node.orphan:
        args["parent_missing"] = span.parent_id.hex()
    return {
        "ph": "X",
        "name": span.name,
        "cat": span.kind.name.lower(),
        "ts": at_ns / NS_PER_US,
        "dur": node.duration_ns / NS_PER_US,
        "args": args,
    }


def _instant(event: Event, origin_ns: int) -> dict[str, Any]:
    return {
        "ph": "i",
        "s": "t",
        "name": event.name,
        "ts": (event.at_ns - origin_ns) / NS_PER_US,
        "args": {str(key): json_value(value) for key, value in event.attributes.items()},
    }
