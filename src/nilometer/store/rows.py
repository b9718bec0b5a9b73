"""Rows of the tables back into the values they were made of."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, cast

from nilometer.model import (
    Distribution,
    Event,
    Kind,
    Link,
    Reading,
    Rejected,
    Resource,
    SpanKind,
    SpanRecord,
    Status,
)
from nilometer.store.jsontext import decode, decode_attributes, decode_pairs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nilometer.model import AttributeValue
    from nilometer.model.dimensions import Dimensions

_KINDS: Final = {kind.name.lower(): kind for kind in SpanKind}
_STATUSES: Final = {status.name.lower(): status for status in Status}


def spans_of(rows: Iterable[Mapping[str, Any]]) -> list[tuple[Resource, SpanRecord]]:
    """The spans in these rows, each with who measured it."""
    return [(_resource_of(row), _span_of(row)) for row in rows]


def readings_of(rows: Iterable[Mapping[str, Any]]) -> list[tuple[Resource, Reading]]:
    """The readings in these rows, each with who measured it."""
    return [(_resource_of(row), _reading_of(row)) for row in rows]


def events_of(rows: Iterable[Mapping[str, Any]]) -> list[tuple[Resource, Event]]:
    """The events in these rows, each with who measured it."""
    return [(_resource_of(row), _event_of(row)) for row in rows]


def rejected_of(rows: Iterable[Mapping[str, Any]]) -> list[tuple[Resource, Rejected]]:
    """What was rejected in these rows, each with who took it."""
    return [(_resource_of(row), Rejected(*(row[n] for n in Rejected._fields))) for row in rows]


def _resource_of(row: Mapping[str, Any]) -> Resource:
    return _resource(
        row["service"],
        row["host"],
        row["pid"],
        row["region"],
        row["zone"],
        row["version"],
        row["resource"],
    )


@lru_cache(maxsize=4096)  # one object per process that measured, not one per row
def _resource(
    service: str, host: str, pid: int, region: str, zone: str, version: str, further: str
) -> Resource:
    return Resource(service, host, pid, region, zone, version, decode_pairs(further))


def _span_of(row: Mapping[str, Any]) -> SpanRecord:
    return SpanRecord(
        bytes.fromhex(row["trace_id"]),
        bytes.fromhex(row["span_id"]),
        bytes.fromhex(row["parent_id"]),
        row["name"],
        _KINDS[row["kind"]],
        row["started_ns"],
        row["ended_ns"],
        decode_attributes(row["attributes"]),
        _STATUSES[row["status"]],
        row["status_message"],
        tuple(_inner_event(each) for each in decode(row["events"])) if row["events"] else (),
        tuple(_link_of(each) for each in decode(row["links"])) if row["links"] else (),
        row["scope"],
    )


def _inner_event(told: dict[str, Any]) -> Event:
    told["attributes"] = _attributes(told["attributes"])
    told["trace_id"] = bytes.fromhex(told["trace_id"])
    told["span_id"] = bytes.fromhex(told["span_id"])
    return Event(**told)


def _link_of(told: dict[str, Any]) -> Link:
    return Link(
        bytes.fromhex(told["trace_id"]),
        bytes.fromhex(told["span_id"]),
        _attributes(told["attributes"]),
    )


def _attributes(found: object) -> Mapping[str, AttributeValue]:
    """Attributes inside a list; a lone attribute `float` saying "nan" reads as a number."""
    return found if isinstance(found, dict) else {"float": str(found)}


def _reading_of(row: Mapping[str, Any]) -> Reading:
    return Reading(
        row["name"],
        Kind(row["kind"]),
        cast("Dimensions", decode_pairs(row["dimensions"])),
        number_of(row, "value") if row["samples"] is None else distribution_of(row),
        row["started_ns"],
        row["ended_ns"],
        row["unit"],
        row["description"],
        row["scope"],
        row["cumulative"],
    )


def number_of(row: Mapping[str, Any], name: str) -> Any:
    """The number in the two columns of that name, or None."""
    whole = row[f"{name}_int"]
    return row[f"{name}_float"] if whole is None else whole


def distribution_of(row: Mapping[str, Any]) -> Distribution:
    """The distribution in a row of readings."""
    return Distribution(
        row["samples"],
        number_of(row, "value"),
        number_of(row, "minimum"),
        number_of(row, "maximum"),
        dict(zip(row["bucket_indexes"], row["bucket_counts"], strict=True)),
        row["zeros"],
        dict(zip(row["negative_indexes"], row["negative_counts"], strict=True)),
        row["scale"],
        tuple(row["bounds"]),
    )


def _event_of(row: Mapping[str, Any]) -> Event:
    return Event(
        row["name"],
        row["at_ns"],
        decode_attributes(row["attributes"]),
        bytes.fromhex(row["trace_id"]),
        bytes.fromhex(row["span_id"]),
        row["severity"],
        row["body"],
        row["scope"],
    )
