"""OSProfiler's points as spans: what a service tells at the start of something and at its stop.

A point is a JSON object, one for each start and one for each stop; `osprofiler` makes them of
spans. Two of the same trace and id are one span. What they say beyond our own words stays with
the span as they said it, so that OSProfiler's readers see it again.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.errors import WireError
from nilometer.model import Event, Resource, SpanKind, SpanRecord, Status
from nilometer.model.identity import id_bytes, uuid_bytes
from nilometer.wire.notifications import time_ns
from nilometer.wire.osprofiler import (
    BASE_ID,
    LACKING,
    PARAMS,
    PARENT_ID,
    POINT_ID,
    START_INFO,
    STOP_INFO,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nilometer.model import AttributeValue

SCOPE: Final = "osprofiler"
STARTED: Final = "osprofiler.start"
STOPPED: Final = "osprofiler.stop"
"""Names of the events that points are until they have found each other."""

ID_CHARS_MAX: Final = 255  # what OSProfiler's own store takes
NAME_CHARS_MAX: Final = 255
DEPTH_MAX: Final = 100
"""As deep as OTLP's; readers of JSON recurse, and what can be read a writer may not manage."""
TEXT_CHARS_MAX: Final = 10_000  # of one attribute; a statement of SQL may be long

_KINDS: Final = {
    "wsgi": SpanKind.SERVER,
    "http": SpanKind.CLIENT,
    "https": SpanKind.CLIENT,
    "db": SpanKind.CLIENT,
}
_ATTRIBUTES: Final = (
    ("request", "method", "http.request.method"),
    ("request", "path", "url.path"),
    ("request", "query", "url.query"),
    ("request", "scheme", "url.scheme"),
    ("requests", "method", "http.request.method"),
    ("requests", "path", "url.path"),
    ("requests", "query", "url.query"),
    ("requests", "scheme", "url.scheme"),
    ("requests", "hostname", "server.address"),
    ("requests", "port", "server.port"),
    ("requests", "status_code", "http.response.status_code"),
    ("db", "statement", "db.query.text"),
    ("db", "params", PARAMS),
    ("function", "name", "code.function.name"),
)


class Point(NamedTuple):
    """One start or stop; `told` is the payload it came as."""

    trace_id: bytes
    span_id: bytes
    stops: bool
    at_ns: int
    told: dict[str, Any]

    @property
    def key(self) -> tuple[bytes, bytes]:
        """What start and stop have in common, and no others."""
        return self.trace_id, self.span_id

    @property
    def resource(self) -> Resource:
        """Who told it."""
        project = _text(self.told.get("project"))
        return Resource(
            _text(self.told.get("service")) or "unknown_service",
            _text(self.told["info"].get("host")),
            attributes=(("service.namespace", project),) if project else (),
        )

    @property
    def event(self) -> Event:
        """The point alone, which waits for the other."""
        return Event(
            STOPPED if self.stops else STARTED,
            self.at_ns,
            {},
            self.trace_id,
            self.span_id,
            body=_compact(self.told),
            scope=SCOPE,
        )


def point_of(told: object, *, at_ns: int | None = None) -> Point:
    """The point in a payload; WireError ``point`` if it is none, or ``too-deep``.

    `at_ns` is when it was sent: OSProfiler of 2015 tells no time of its own.
    """
    if not isinstance(told, dict):
        raise WireError(f"{type(told).__name__} where a point is due", reason="point")
    name = told.get("name")
    if not isinstance(name, str) or not name.endswith(("-start", "-stop")):
        raise WireError(f"the name {str(name)[:40]!r}", reason="point")
    if len(name) > NAME_CHARS_MAX:
        raise WireError(f"a name of {len(name)} characters", reason="point")
    base_id, own_id = (_id(told, key) for key in ("base_id", "trace_id"))
    _id(told, "parent_id")
    if not isinstance(told.get("info", {}), dict):
        raise WireError("info is no object", reason="point")
    told.setdefault("info", {})
    if _is_deep(told):
        raise WireError(f"nested deeper than {DEPTH_MAX}", reason="too-deep")
    if at_ns is None or "timestamp" in told:
        at_ns = time_ns(told.get("timestamp"))
    return Point(
        id_bytes(base_id, 16), id_bytes(own_id, 8), name.endswith("-stop"), at_ns, told
    )


def points_of(events: Iterable[Event]) -> list[Point]:
    """The points that these events are.

    Anyone may send an event by their name: one that is no point is left out.
    """
    points = []
    for event in events:
        with suppress(ValueError, RecursionError):  # WireError is the first
            points.append(point_of(json.loads(event.body), at_ns=event.at_ns))
    return points


def span_of(start: Point | None, stop: Point | None) -> SpanRecord:
    """The span of two points, or of one: it then takes no time, and says what it lacks."""
    first = start or stop
    if first is None:
        raise ValueError("a span has a point at least")
    told, info = first.told, start.told["info"] if start else {}
    ended = stop.told["info"] if stop else {}
    attributes: dict[str, AttributeValue] = {}
    for there in (info, ended):
        _put(attributes, there)
    base_id, parent_id = told["base_id"], told["parent_id"]
    if uuid_bytes(base_id) != first.trace_id:
        attributes[BASE_ID] = base_id
    attributes[POINT_ID] = told["trace_id"]
    attributes[PARENT_ID] = parent_id
    if info:
        attributes[START_INFO] = _compact(info)
    if ended:
        attributes[STOP_INFO] = _compact(ended)
    if not (start and stop):
        attributes[LACKING] = "stop" if start else "start"
    status, message = Status.UNSET, ""
    if "etype" in ended:
        status, message = Status.ERROR, _text(ended.get("message"))[:TEXT_CHARS_MAX]
        attributes["error.type"] = _text(ended["etype"])[:TEXT_CHARS_MAX]
    name = told["name"].removesuffix("-stop" if first.stops else "-start")
    parent = b"" if parent_id == base_id else id_bytes(parent_id, 8)
    return SpanRecord(
        first.trace_id,
        first.span_id,
        parent,
        name,
        _KINDS.get(name, SpanKind.INTERNAL),
        first.at_ns,
        max(first.at_ns, stop.at_ns if stop else first.at_ns),
        attributes,
        status,
        message,
        scope=SCOPE,
    )


def spans_of_points(points: Iterable[Point]) -> list[tuple[Resource, SpanRecord]]:
    """The spans of whatever points there are; of pairs, and of those that are alone."""
    starts: dict[tuple[bytes, bytes], Point] = {}
    stops: dict[tuple[bytes, bytes], Point] = {}
    for point in points:
        (stops if point.stops else starts).setdefault(point.key, point)
    return [
        ((starts.get(key) or stops[key]).resource, span_of(starts.get(key), stops.get(key)))
        for key in dict.fromkeys((*starts, *stops))
    ]


def _put(attributes: dict[str, AttributeValue], info: Mapping[str, Any]) -> None:
    """Put in what we have words for."""
    for group, key, name in _ATTRIBUTES:
        there = info.get(group)
        found = there.get(key) if isinstance(there, dict) else info.get(f"{group}.{key}")
        if found is None or found == "":
            continue
        if not isinstance(found, str | int | float):
            found = _compact(found)
        attributes[name] = found[:TEXT_CHARS_MAX] if isinstance(found, str) else found


def _id(told: dict[str, Any], key: str) -> str:
    """An id, which may be any text or number; as text it stays in the payload."""
    found = told.get(key)
    if isinstance(found, int) and not isinstance(found, bool):
        found = told[key] = str(found)
    if not isinstance(found, str) or not 0 < len(found) <= ID_CHARS_MAX:
        raise WireError(f"no {key}" if found is None else f"{key} is no id", reason="point")
    return found


def _is_deep(told: dict[str, Any]) -> bool:
    level: list[Any] = [told]
    for _ in range(DEPTH_MAX):
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _text(found: Any) -> str:
    return found if isinstance(found, str) else "" if found is None else _compact(found)


def _compact(found: Any) -> str:
    return json.dumps(found, separators=(",", ":"), ensure_ascii=False)
