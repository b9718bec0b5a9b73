"""Traces as the report of OSProfiler's ``trace show --json``, which its own tools read.

Ids are UUIDs: a trace's is its 128 bits (or the base id that the trigger carried), a span's
the first half of its trace's with the span's own 64 bits, as in the headers we send. Times are
whole milliseconds from the earliest start, because readers expect them; siblings keep their
true order, and `stats` counts the time of a name once where it stands within itself.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from nilometer.model import Status
from nilometer.wire.attributes import json_value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nilometer.model import Resource, SpanRecord
    from nilometer.model.tree import Node, Tree

NS_PER_MS: Final = 1_000_000
DEPTH_MAX: Final = 200  # as deep as the native answer nests

RESULT: Final = "osprofiler.result"
ARGUMENTS: Final = {"args": "osprofiler.args", "kwargs": "osprofiler.kwargs"}
PARAMS: Final = "osprofiler.params"
"""Attributes that hold values of the application, where the operator wants them recorded."""

BASE_ID: Final = "osprofiler.base_id"
"""The attribute that keeps a base id which is no UUID."""

POINT_ID: Final = "osprofiler.trace_id"
PARENT_ID: Final = "osprofiler.parent_id"
START_INFO: Final = "osprofiler.start.info"
STOP_INFO: Final = "osprofiler.stop.info"
"""Attributes of a span that was two points: their ids as they were spelled, their `info`."""

LACKING: Final = "osprofiler.lacking"
"""Which of its two points such a span lacks: ``start`` or ``stop``."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
TIME_NS_MAX: Final = 2**63 - 1  # the year 2262


def encode(tree: Tree) -> str:
    """The report, a line per span: a trace may be deeper than JSON writers can recurse."""
    spans = [node.span for node in tree.walk()]
    starts = [span.started_ns for span in spans if span.attributes.get(LACKING) != "start"]
    info = {
        "name": "total",
        "started": 0,
        "finished": _ms(tree.duration_ns) if spans else None,
        "last_trace_started": _ms(max(starts) - tree.started_ns) if starts else None,
    }
    head = f'{{"info": {json.dumps(info)}, "children": ['
    tail = f'], "stats": {json.dumps(_stats(tree))}}}\n'
    return head + "".join(_nodes(tree)) + tail


def _nodes(tree: Tree) -> Iterator[str]:
    """The texts of all nodes, each within its parent's."""
    origin_ns = tree.started_ns
    waiting: list[Node | str] = _separated(tree.roots)
    while waiting:
        at = waiting.pop()
        if isinstance(at, str):
            yield at
            continue
        yield f'\n{json.dumps(_node(at, origin_ns))[:-1]}, "children": ['
        waiting.append("]}")
        waiting.extend(_separated(_below(at)))


def _below(node: Node) -> list[Node]:
    """What the report shows within a node: at the greatest depth all that is below it.

    Readers recurse, Python's own at most some 500 spans deep. `parent_id` tells the truth.
    """
    if node.depth < DEPTH_MAX:
        return node.children
    found: list[Node] = []
    waiting = list(reversed(node.children)) if node.depth == DEPTH_MAX else []
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting.extend(reversed(one.children))
    return found


def _separated(nodes: Any) -> list[Node | str]:
    """Last first, with commas between."""
    parts: list[Node | str] = []
    for node in reversed(nodes):
        parts += [node, ","]
    return parts[:-1]


def _node(node: Node, origin_ns: int) -> dict[str, Any]:
    span, resource = node.span, node.resource
    started_ns = span.started_ns - origin_ns
    start, stop = payloads(span, resource, node.duration_ns)
    info = {
        "name": span.name,
        "project": start["project"],
        "service": resource.service,
        "host": resource.host,
        "started": _ms(started_ns),
        "finished": _ms(started_ns + node.duration_ns),
    }
    lacking = span.attributes.get(LACKING)
    if lacking != "start":
        info[f"meta.raw_payload.{span.name}-start"] = start
    if lacking != "stop":
        info["exception"] = stop["info"].get("etype", "None")
        info[f"meta.raw_payload.{span.name}-stop"] = stop
    return {"info": info, "trace_id": start["trace_id"], "parent_id": start["parent_id"]}


def _ms(duration_ns: int) -> int:
    return duration_ns // NS_PER_MS


def payloads(
    span: SpanRecord, resource: Resource, duration_ns: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What OSProfiler sends where a span starts, and where it stops; its drivers take these."""
    told = span.attributes
    base_id = str(told.get(BASE_ID, "")) or _uuid(span.trace_id, span.trace_id[8:])
    parent_id = _uuid(span.trace_id, span.parent_id) if span.parent_id else base_id
    common = {
        "base_id": base_id,
        "trace_id": str(told.get(POINT_ID, "")) or _uuid(span.trace_id, span.span_id),
        "parent_id": str(told.get(PARENT_ID, "")) or parent_id,
        "project": str(dict(resource.attributes).get("service.namespace", "")),
        "service": resource.service,
    }
    ended: dict[str, Any] = {"host": resource.host}
    if span.status is Status.ERROR:
        ended["etype"] = str(span.attributes.get("error.type", "Error"))
        ended["message"] = span.status_message
    if RESULT in span.attributes:
        group = "db" if "db.query.text" in span.attributes else "function"
        ended[group] = {"result": str(span.attributes[RESULT])}
    return (
        {
            "name": f"{span.name}-start",
            **common,
            "timestamp": timestamp(span.started_ns),
            "info": _said(span, START_INFO) or _start_info(span, resource),
        },
        {
            "name": f"{span.name}-stop",
            **common,
            "timestamp": timestamp(span.started_ns + duration_ns),
            "info": _said(span, STOP_INFO) or ended,
        },
    )


def _said(span: SpanRecord, attribute: str) -> dict[str, Any]:
    """What a point said in its own words; nothing of a span that was none."""
    try:
        found = json.loads(str(span.attributes.get(attribute, "")))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _start_info(span: SpanRecord, resource: Resource) -> dict[str, Any]:
    """The attributes; those that OSProfiler's own tools look for also where they look."""
    told = {str(key): json_value(value) for key, value in span.attributes.items()}
    info: dict[str, Any] = {**told, "host": resource.host}
    method = told.get("http.request.method")
    if method is not None or span.name == "wsgi":
        info["request"] = {
            "method": str(method or ""),
            "path": str(told.get("url.path", told.get("http.route", ""))),
            "query": str(told.get("url.query", "")),
            "scheme": str(told.get("url.scheme", "")),
        }
    if "db.query.text" in told:
        info["db"] = {"statement": told["db.query.text"], "params": told.get(PARAMS)}
    if "code.function.name" in told or span.name in ("rpc", "driver"):
        called = {key: told[name] for key, name in ARGUMENTS.items() if name in told}
        info["function"] = {"name": str(told.get("code.function.name", span.name)), **called}
    return info


def _uuid(trace_id: bytes, span_id: bytes) -> str:
    return str(UUID(bytes=(trace_id[:8] + span_id).ljust(16, b"\0")[:16]))


def timestamp(at_ns: int) -> str:
    """A moment as OSProfiler writes it: UTC, with six digits after the point."""
    at = _EPOCH + timedelta(microseconds=min(at_ns, TIME_NS_MAX) // 1000)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f")


def _stats(tree: Tree) -> dict[str, dict[str, int]]:
    """How often each name came, and the milliseconds during which it was under way."""
    counts: Counter[str] = Counter()
    spent_ns: Counter[str] = Counter()
    above: list[str] = []  # the names of the node's ancestors,
    within: Counter[str] = Counter()  # and how often each is among them
    for node in tree.walk():
        while len(above) > node.depth:
            within[above.pop()] -= 1
        name = node.span.name
        counts[name] += 1
        if not within[name]:
            spent_ns[name] += node.duration_ns
        above.append(name)
        within[name] += 1
    return {
        name: {"count": count, "duration": _ms(spent_ns[name])}
        for name, count in counts.items()
    }
