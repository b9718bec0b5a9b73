"""DogStatsD's events ``_e{..}:`` and service checks ``_sc|``."""

from __future__ import annotations

import re
from typing import Final

from nilometer.model import Event
from nilometer.wire.statsd_dims import Pairs, Refusal, ns_of_seconds, pairs_of_tags, series
from nilometer.wire.statsd_sample import Sample, SampleType

_EVENT: Final = re.compile(r"_e\{([0-9]{1,5}),([0-9]{1,5})\}:")  # a datagram has 65,507 bytes

_EVENT_FIELDS: Final = {
    "h": "host",
    "k": "aggregation_key",
    "p": "priority",
    "s": "source_type_name",
    "t": "alert_type",
}

_SEVERITY: Final = {"error": 17, "warning": 13}  # OpenTelemetry's numbers; all else is INFO, 9


def event(line: str) -> Sample:
    """Title and text, whose lengths stand in front, then fields in any order."""
    found = _EVENT.match(line)
    if found is None:
        raise Refusal("event")
    title_length, text_length = int(found[1]), int(found[2])
    rest = line[found.end() :]
    # The lengths count bytes; some clients count characters, so that is tried next.
    parts = _cut(rest, title_length, text_length)
    if parts is None:
        raise Refusal("event")
    title, text, fields = parts
    at_ns, pairs = _fields(fields, _EVENT_FIELDS, "event")
    body = text.replace("\\n", "\n")
    return Sample(title, SampleType.EVENT, 1, 1.0, series(pairs), at_ns, text=body)


def _cut(rest: str, title_length: int, text_length: int) -> tuple[str, str, list[str]] | None:
    raw = rest.encode()
    end = title_length + 1 + text_length
    if raw[title_length : title_length + 1] == b"|" and raw[end : end + 1] in {b"", b"|"}:
        try:
            title, text = raw[:title_length].decode(), raw[title_length + 1 : end].decode()
        except UnicodeDecodeError:  # a length that ends within a character
            return None
        if len(raw) >= end and title:
            return title, text, raw[end + 1 :].decode().split("|")
    if rest[title_length : title_length + 1] == "|" and rest[end : end + 1] in {"", "|"}:
        title, text = rest[:title_length], rest[title_length + 1 : end]
        if len(rest) >= end and title:
            return title, text, rest[end + 1 :].split("|")
    return None


def service_check(line: str) -> Sample:
    """``_sc|name|status|fields``; the message, if any, is the last field and may hold bars."""
    body, marked, message = line.partition("|m:")
    _, name, status, *fields = [*body.split("|"), "", ""]
    if not name or status not in {"0", "1", "2", "3"}:
        raise Refusal("service-check")
    at_ns, pairs = _fields(fields, {"h": "host"}, "service-check")
    text = message.replace("\\n", "\n").replace("m\\:", "m:") if marked else ""
    kind = SampleType.SERVICE_CHECK
    return Sample(name, kind, int(status), 1.0, series(pairs), at_ns, text=text)


def _fields(fields: list[str], names: dict[str, str], reason: str) -> tuple[int | None, Pairs]:
    """When it was and what else is said; fields of later versions are passed over."""
    at_ns = None
    pairs: Pairs = []
    for field in fields:
        if field.startswith("#"):
            pairs += pairs_of_tags(field[1:])
            continue
        key, _, value = field.partition(":")
        if key == "d":
            at_ns = ns_of_seconds(value, reason)
        elif key in names and value:
            pairs.append((names[key], value))
    return at_ns, pairs


def event_of(sample: Sample, *, now_ns: int) -> Event:
    """The event that an EVENT or SERVICE_CHECK sample tells; `now_ns` if it names no time."""
    attributes: dict[str, str | int | float | bool] = dict(sample.dimensions)
    severity = _SEVERITY.get(str(attributes.get("alert_type")), 9)
    if sample.type is SampleType.SERVICE_CHECK:
        attributes["status"] = sample.value
        severity = 17 if sample.value == 2 else 13 if sample.value == 1 else 9
    at_ns = now_ns if sample.at_ns is None else sample.at_ns
    return Event(sample.name, at_ns, attributes, severity=severity, body=sample.text)
