"""Batches as JSON, one line each, and back, exactly; what ``file://`` writes.

Ids are hex. What JSON cannot say is said by an object of one pair, which no value of ours is:
``{"float": "nan"}`` (or ``inf``, ``-inf``), ``{"int": "0x..."}`` for whole numbers beyond 64
bits, which other readers would round. Fields that have their default value are left out.
"""

from __future__ import annotations

import json
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from nilometer.errors import WireError, said_by
from nilometer.model import (
    Batch,
    Distribution,
    Event,
    Kind,
    Link,
    Reading,
    Resource,
    SpanKind,
    SpanRecord,
    Status,
)
from nilometer.wire.attributes import text_of_any

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION: Final = 1

LINE_BYTES_MAX: Final = 256 * 2**20
"""A batch holds a process's ring of spans and its series: 50,000 rows of 5 kB at most."""

_INT_MAX: Final = 2**63


def encode(batch: Batch) -> bytes:
    """One line, newline included, ASCII only."""
    document: dict[str, Any] = {"nilometer": VERSION, "resource": _resource(batch.resource)}
    if batch.readings:
        document["readings"] = [_reading(row) for row in batch.readings]
    if batch.spans:
        document["spans"] = [_span(row) for row in batch.spans]
    if batch.events:
        document["events"] = [event_document(row) for row in batch.events]
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def decode(line: bytes) -> Batch:
    """The batch that was encoded; else a WireError, ``too-large``, ``json`` or ``field``."""
    if len(line) > LINE_BYTES_MAX:
        raise WireError(f"a line of {len(line)} bytes", reason="too-large")
    try:
        document = json.loads(line, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise WireError(f"not a line of JSON: {said_by(error)}", reason="json") from None
    try:
        return _batch(document)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise WireError(f"not a batch: {error!r}", reason="field") from None


def _refused(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


# Out.


def _number(value: Any) -> Any:
    """What JSON can say of a value, with the type it has."""
    if isinstance(value, float):
        return value if isfinite(value) else {"float": str(value)}
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= _INT_MAX:
        return {"int": hex(value)}
    return value if isinstance(value, str | int) else text_of_any(value)


def _pairs(pairs: Any) -> dict[str, Any]:
    return {str(key): _number(value) for key, value in pairs}


def _filled(row: Any, told: dict[str, Any]) -> dict[str, Any]:
    """Without the fields that have their default."""
    defaults = row._field_defaults
    return {
        key: value
        for key, value in told.items()
        if key not in defaults or getattr(row, key) != defaults[key]
    }


def _resource(row: Resource) -> dict[str, Any]:
    return _filled(
        row, {**row._asdict(), "attributes": [[k, _number(v)] for k, v in row.attributes]}
    )


def _reading(row: Reading) -> dict[str, Any]:
    told = row._asdict()
    told["kind"] = row.kind.value
    told["dimensions"] = [list(pair) for pair in row.dimensions]
    value = row.value
    told["value"] = _distribution(value) if isinstance(value, Distribution) else _number(value)
    return _filled(row, told)


def _distribution(row: Distribution) -> dict[str, Any]:
    told = row._asdict()
    for name in ("total", "minimum", "maximum"):
        told[name] = None if told[name] is None else _number(told[name])
    told["buckets"] = [[i, _number(n)] for i, n in row.buckets.items()]
    told["negatives"] = [[i, _number(n)] for i, n in row.negatives.items()]
    told["bounds"] = [_number(bound) for bound in row.bounds]
    return _filled(row, told)


def event_document(row: Event) -> dict[str, Any]:
    """An event as an object of JSON."""
    told = row._asdict()
    told["attributes"] = _pairs(row.attributes.items())
    told["trace_id"], told["span_id"] = row.trace_id.hex(), row.span_id.hex()
    return _filled(row, told)


def _span(row: SpanRecord) -> dict[str, Any]:
    told = row._asdict()
    for name in ("trace_id", "span_id", "parent_id"):
        told[name] = told[name].hex()
    told["kind"], told["status"] = int(row.kind), int(row.status)
    told["attributes"] = _pairs(row.attributes.items())
    told["events"] = [event_document(event) for event in row.events]
    told["links"] = [link_document(link) for link in row.links]
    return _filled(row, told)


def link_document(row: Link) -> dict[str, Any]:
    """A link as an object of JSON."""
    return {
        "trace_id": row.trace_id.hex(),
        "span_id": row.span_id.hex(),
        "attributes": _pairs(row.attributes.items()),
    }


# In. Whatever is wrong ends as one of the exceptions that `decode` turns into a WireError.


def _batch(document: Any) -> Batch:
    if document["nilometer"] != VERSION:
        raise ValueError(f"version {document['nilometer']!r}, not {VERSION}")
    return Batch(
        _read_resource(document["resource"]),
        tuple([_read_reading(row) for row in _list(document.get("readings", []))]),
        tuple([_read_span(row) for row in _list(document.get("spans", []))]),
        tuple([read_event(row) for row in _list(document.get("events", []))]),
    )


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{type(value).__name__}, not a list")
    return value


def _typed(kind: type, row: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Those of the fields that are there; each must be of this very type."""
    found = {}
    for name in names:
        if name in row:
            if type(row[name]) is not kind:
                raise TypeError(f"{name} is {row[name]!r}")
            found[name] = row[name]
    return found


def _read_value(value: Any) -> Any:
    if isinstance(value, dict):
        [(kind, text)] = value.items()
        if kind == "float" and text in {"nan", "inf", "-inf"}:
            return float(text)
        if kind == "int":
            return int(text, 16)
        raise ValueError(f"a value of kind {kind!r}")
    if isinstance(value, str | int | float):
        return value
    raise TypeError(f"{value!r} is no value")


def _read_number(value: Any) -> Any:
    number = _read_value(value)
    if isinstance(number, str | bool):
        raise TypeError(f"{number!r} is no number")
    return number


def _read_count(value: Any) -> int:
    number = _read_number(value)
    if not isinstance(number, int):
        raise TypeError(f"{number!r} is no count")
    return number


def _read_attributes(row: Any) -> Mapping[str, Any]:
    return {key: _read_value(value) for key, value in row["attributes"].items()}


def _read_resource(row: Any) -> Resource:
    pairs = [(k, _read_value(v)) for k, v in _list(row.get("attributes", []))]
    if not all(isinstance(key, str) for key, _ in pairs):
        raise TypeError("a key is text")
    texts = _typed(str, row, ("service", "host", "region", "zone", "version"))
    return Resource(**texts, **_typed(int, row, ("pid",)), attributes=tuple(pairs))


def _read_reading(row: Any) -> Reading:
    value = row["value"]
    dimensions = tuple([(k, v) for k, v in _list(row["dimensions"])])
    if not all(isinstance(part, str) for pair in dimensions for part in pair):
        raise TypeError("dimensions are text")
    return Reading(
        **_typed(str, row, ("name", "unit", "description", "scope")),
        kind=Kind(row["kind"]),
        dimensions=dimensions,
        value=_read_distribution(value)
        if isinstance(value, dict) and "samples" in value
        else _read_number(value),
        started_ns=_read_count(row["started_ns"]),
        ended_ns=_read_count(row["ended_ns"]),
        **_typed(bool, row, ("cumulative",)),
    )


def _read_distribution(row: Any) -> Distribution:
    def extreme(name: str) -> Any:
        return None if row[name] is None else _read_number(row[name])

    def buckets(name: str) -> dict[int, int]:
        return {_read_count(i): _read_count(n) for i, n in _list(row.get(name, []))}

    return Distribution(
        _read_count(row["samples"]),
        _read_number(row["total"]),
        extreme("minimum"),
        extreme("maximum"),
        buckets("buckets"),
        _read_count(row.get("zeros", 0)),
        buckets("negatives"),
        bounds=tuple([_read_number(bound) for bound in _list(row.get("bounds", []))]),
        **_typed(int, row, ("scale",)),
    )


def read_event(row: Any) -> Event:
    """The inverse of `event_document`; any of several exceptions if it is none."""
    return Event(
        **_typed(str, row, ("name", "body", "scope")),
        at_ns=_read_count(row["at_ns"]),
        attributes=_read_attributes(row),
        trace_id=bytes.fromhex(row.get("trace_id", "")),
        span_id=bytes.fromhex(row.get("span_id", "")),
        **_typed(int, row, ("severity",)),
    )


def _read_span(row: Any) -> SpanRecord:
    return SpanRecord(
        trace_id=bytes.fromhex(row["trace_id"]),
        span_id=bytes.fromhex(row["span_id"]),
        parent_id=bytes.fromhex(row["parent_id"]),
        **_typed(str, row, ("name", "status_message", "scope")),
        kind=SpanKind(row["kind"]),
        started_ns=_read_count(row["started_ns"]),
        ended_ns=_read_count(row["ended_ns"]),
        attributes=_read_attributes(row),
        status=Status(row.get("status", 0)),
        events=tuple([read_event(event) for event in _list(row.get("events", []))]),
        links=tuple([read_link(link) for link in _list(row.get("links", []))]),
    )


def read_link(row: Any) -> Link:
    """The inverse of `link_document`; any of several exceptions if it is none."""
    return Link(
        bytes.fromhex(row["trace_id"]), bytes.fromhex(row["span_id"]), _read_attributes(row)
    )
