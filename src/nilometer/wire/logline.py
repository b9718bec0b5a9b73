"""One readable line per reading, span and event, and back, exactly; what ``log://`` writes.

    <kind> <name> <fields> | <dimensions or attributes> | <resource>

Everything after the name is ``key=value``. A value of printable ASCII without blank, quote,
``=``, ``|`` or backslash stands as it is, any other as a JSON string, so a line never breaks.
Of attributes an unquoted number, ``true`` or ``false`` is one; all else is text. Fields that
are derived (``avg``, ``p50``, ``duration_ms`` ...) are for people and passed over in reading.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from nilometer.errors import WireError, said_by
from nilometer.model import (
    Batch,
    Distribution,
    Event,
    Kind,
    Reading,
    Resource,
    SpanKind,
    SpanRecord,
    Status,
)
from nilometer.wire import jsonlines
from nilometer.wire.attributes import text_of_any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

LINE_CHARS_MAX: Final = 16 * 2**20  # a span of 1,000 events of 16 kB

_BARE: Final = re.compile(r"[!#-<>-\[\]-{}~]+")
_NUMBER: Final = re.compile(
    r"[+-]?(?:0x[0-9a-f]+|[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?|inf)|nan|true|false"
)
_TOKEN: Final = re.compile(r'("(?:[^"\\]|\\.)*"|[!#-<>-\[\]-{}~]+)')

_RESOURCE_TEXTS: Final = ("service", "host", "region", "zone", "version")


def encode(batch: Batch) -> list[str]:
    """The lines, without line ends: readings, then spans, then events."""
    who = " | " + " ".join(_resource(batch.resource))
    lines = [_reading(row) + who for row in batch.readings]
    lines += [_span(row) + who for row in batch.spans]
    lines += [_event(row) + who for row in batch.events]
    return lines


def decode(line: str) -> Batch:
    """A batch of the one row that the line tells; WireError ``log-line`` if it is none."""
    if len(line) > LINE_CHARS_MAX:
        raise WireError(f"a line of {len(line)} characters", reason="too-large")
    try:
        kind, name, sections = _parsed(line.rstrip("\r\n"))
        fields, pairs, who = sections
        resource = _read_resource(who)
        told = {key: value for key, (value, _) in fields.items()}
        if kind == "span":
            return Batch(resource, spans=(_read_span(name, told, _typed(pairs)),))
        if kind == "event":
            return Batch(resource, events=(_read_event(name, told, _typed(pairs)),))
        return Batch(resource, readings=(_read_reading(kind, name, told, pairs),))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        if isinstance(error, WireError):
            raise
        said = said_by(error) if type(error) is ValueError else repr(error)
        raise WireError(f"not a metric line: {said}", reason="log-line") from None


# Out.


def _text(text: str) -> str:
    if _BARE.fullmatch(text):
        return text
    # What some reader takes for a line end, or no terminal shows, is escaped; é stays é.
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _value(value: Any) -> str:
    """A value with its type."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return hex(value) if abs(value) >= 2**63 else str(int(value))
    if isinstance(value, float):
        return repr(float(value))
    text = value if isinstance(value, str) else text_of_any(value)
    return json.dumps(text) if _NUMBER.fullmatch(text) else _text(text)


def _pairs(pairs: Iterable[tuple[Any, Any]]) -> str:
    return " ".join(f"{_text(str(key))}={_value(value)}" for key, value in pairs)


def _line(kind: str, name: str, fields: Iterable[tuple[str, str]], pairs: str) -> str:
    told = "".join(f" {key}={value}" for key, value in fields if value)
    return f"{kind} {_text(name)}{told} | {pairs}".rstrip()


def _optional(**texts: str) -> list[tuple[str, str]]:
    return [(key, _text(text)) for key, text in texts.items() if text]


def _resource(resource: Resource) -> list[str]:
    told = [f"service={_text(resource.service)}"]
    told += [f"{key}={_text(getattr(resource, key))}" for key in _RESOURCE_TEXTS[1:]
             if getattr(resource, key)]  # fmt: skip
    if resource.pid:
        told.append(f"pid={resource.pid}")
    # A dot in front tells an attribute from a field of the same name.
    return told + [f"{_text('.' + key)}={_value(value)}" for key, value in resource.attributes]


def _reading(row: Reading) -> str:
    value = row.value
    fields = (
        _distribution(value) if isinstance(value, Distribution) else [("value", _value(value))]
    )
    fields += _optional(unit=row.unit)
    fields += [("started_ns", str(row.started_ns)), ("ended_ns", str(row.ended_ns))]
    fields += _optional(scope=row.scope, description=row.description)
    if row.cumulative:
        fields.append(("cumulative", "true"))
    pairs = " ".join(f"{_text(key)}={_text(text)}" for key, text in row.dimensions)
    return _line(row.kind.value, row.name, fields, pairs)


def _distribution(value: Distribution) -> list[tuple[str, str]]:
    told: list[tuple[str, Any]] = [
        ("samples", value.samples),
        ("sum", value.total),
        ("min", value.minimum),
        ("max", value.maximum),
    ]
    if value.zeros:
        told.append(("zeros", value.zeros))
    fields = [(key, _value(one)) for key, one in told if one is not None]
    fields += _derived(value)
    fields.append(("scale", str(value.scale)))
    for key, buckets in (("buckets", value.buckets), ("negatives", value.negatives)):
        fields.append((key, ",".join(f"{i}:{n}" for i, n in buckets.items())))
    fields.append(("bounds", ",".join(map(repr, value.bounds))))
    return fields


def _derived(value: Distribution) -> Iterator[tuple[str, str]]:
    """What people ask for, to four digits: buckets are not finer."""
    try:
        yield "avg", f"{value.average:.4g}"
        if value.buckets or value.negatives:
            yield "p50", f"{value.quantile(0.5):.4g}"
            yield "p99", f"{value.quantile(0.99):.4g}"
    except (TypeError, OverflowError):  # no samples; or sums beyond all floats
        return


def _span(row: SpanRecord) -> str:
    fields = [
        ("trace", row.trace_id.hex()),
        ("span", row.span_id.hex()),
        ("parent", row.parent_id.hex()),
        ("kind", row.kind.name.lower()),
        ("duration_ms", f"{(row.ended_ns - row.started_ns) / 1e6:.4g}"),
        ("status", row.status.name.lower()),
        *_optional(message=row.status_message, scope=row.scope),
        ("started_ns", str(row.started_ns)),
        ("ended_ns", str(row.ended_ns)),
    ]
    for key, rows in (
        ("events", [jsonlines.event_document(event) for event in row.events]),
        ("links", [jsonlines.link_document(link) for link in row.links]),
    ):
        if rows:
            fields.append((key, json.dumps(json.dumps(rows, separators=(",", ":")))))
    return _line("span", row.name, fields, _pairs(row.attributes.items()))


def _event(row: Event) -> str:
    fields = [
        ("at_ns", str(row.at_ns)),
        ("severity", str(row.severity)),
        *_optional(body=row.body, scope=row.scope),
        ("trace", row.trace_id.hex()),
        ("span", row.span_id.hex()),
    ]
    return _line("event", row.name, fields, _pairs(row.attributes.items()))


# In.

_Section = dict[str, tuple[str, bool]]  # key -> text and whether it stood in quotes


def _parsed(line: str) -> tuple[str, str, list[_Section]]:
    kind, blank, rest = line.partition(" ")
    name, _, position = _token(rest, 0)
    sections: list[_Section] = [{}]
    while position < len(rest):
        if rest[position] == " ":
            position += 1
        elif rest[position] == "|":
            sections.append({})
            position += 1
        else:
            key, _, position = _token(rest, position)
            if not rest.startswith("=", position):
                raise ValueError(f"no = after {key!r}")
            text, quoted, position = _token(rest, position + 1)
            sections[-1][key] = text, quoted
    if not blank or len(sections) != 3:
        raise ValueError(f"{len(sections)} sections, not 3")
    return kind, name, sections


def _token(text: str, position: int) -> tuple[str, bool, int]:
    found = _TOKEN.match(text, position)
    if found is None:
        raise ValueError(f"no word at {position}")
    token = found[0]
    if token[0] != '"':
        return token, False, found.end()
    return json.loads(token, strict=False), True, found.end()


def _scalar(text: str) -> Any:
    if not _NUMBER.fullmatch(text):
        return text
    if text in ("true", "false"):
        return text == "true"
    if "0x" in text:
        return int(text, 16)
    return int(text) if text.lstrip("+-").isdigit() else float(text)


def _number(text: str) -> Any:
    number = _scalar(text)
    if isinstance(number, bool | str):
        raise TypeError(f"{text!r} is no number")
    return number


def _typed(section: _Section) -> Mapping[str, Any]:
    return {key: text if quoted else _scalar(text) for key, (text, quoted) in section.items()}


def _read_resource(section: _Section) -> Resource:
    told = {key: section[key][0] for key in _RESOURCE_TEXTS if key in section}
    others = [
        (key[1:], text if quoted else _scalar(text))
        for key, (text, quoted) in section.items()
        if key.startswith(".")
    ]
    pid = int(section["pid"][0]) if "pid" in section else 0
    return Resource(**told, pid=pid, attributes=tuple(others))


def _read_reading(kind: str, name: str, told: dict[str, str], pairs: _Section) -> Reading:
    return Reading(
        name,
        Kind(kind),
        tuple((key, text) for key, (text, _) in pairs.items()),
        _read_distribution(told) if kind == "distribution" else _number(told["value"]),
        int(told["started_ns"]),
        int(told["ended_ns"]),
        told.get("unit", ""),
        told.get("description", ""),
        told.get("scope", ""),
        told.get("cumulative") == "true",
    )


def _read_distribution(told: dict[str, str]) -> Distribution:
    def buckets(key: str) -> dict[int, int]:
        parts = [pair.split(":") for pair in told.get(key, "").split(",") if pair]
        return {int(index): int(count) for index, count in parts}

    return Distribution(
        int(told["samples"]),
        _number(told["sum"]),
        _number(told["min"]) if "min" in told else None,
        _number(told["max"]) if "max" in told else None,
        buckets("buckets"),
        int(told.get("zeros", "0")),
        buckets("negatives"),
        int(told["scale"]),
        tuple(float(bound) for bound in told.get("bounds", "").split(",") if bound),
    )


def _read_span(name: str, told: dict[str, str], attributes: Mapping[str, Any]) -> SpanRecord:
    return SpanRecord(
        bytes.fromhex(told["trace"]),
        bytes.fromhex(told["span"]),
        bytes.fromhex(told.get("parent", "")),
        name,
        SpanKind[told["kind"].upper()],
        int(told["started_ns"]),
        int(told["ended_ns"]),
        attributes,
        Status[told["status"].upper()],
        told.get("message", ""),
        tuple(jsonlines.read_event(row) for row in json.loads(told.get("events", "[]"))),
        tuple(jsonlines.read_link(row) for row in json.loads(told.get("links", "[]"))),
        told.get("scope", ""),
    )


def _read_event(name: str, told: dict[str, str], attributes: Mapping[str, Any]) -> Event:
    return Event(
        name,
        int(told["at_ns"]),
        attributes,
        bytes.fromhex(told.get("trace", "")),
        bytes.fromhex(told.get("span", "")),
        int(told["severity"]),
        told.get("body", ""),
        told.get("scope", ""),
    )
