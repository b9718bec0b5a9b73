"""Batches as OTLP protobuf; the specification of the C twin `_otlp.c`, byte for byte.

No message objects: keys are prepared bytes, lengths are prefixed to what was joined. Fields
stand in ascending order and defaults are left out, except times and values, which are always
told. Nothing here raises on what a batch may hold (docs/wire.md): text that is not Unicode gets
question marks, whole numbers beyond 64 bits go as text in attributes and as floats in readings.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from nilometer.model import Distribution, Kind
from nilometer.wire.otlp_bytes import (
    FIXED64,
    INT64_MAX,
    INT64_MIN,
    SMALL,
    UINT64_MAX,
    attribute_fields,
    bytes_field,
    double,
    field,
    string_value,
    text_field,
    unsigned,
    varint,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nilometer.model import Batch, Event, Link, Reading, Resource, SpanRecord

DENSE_MAX: Final = 2 * 1075 * 32
"""Buckets from the least to the greatest double, of both signs of exponent, at our scale 5."""

_SFIXED64: Final = Struct("<q").pack
_TWO_FIXED64: Final = Struct("<QcQ").pack


def encode_traces(batch: Batch) -> bytes:
    """The spans as an ExportTraceServiceRequest; empty if there are none."""
    if not batch.spans:
        return b""
    scopes: dict[str, list[bytes]] = {}
    for span in batch.spans:
        encoded = _span(span)
        record = b"\x12" + varint(len(encoded)) + encoded
        scopes.setdefault(span.scope, []).append(record)
    return _request(batch.resource, scopes)


def encode_metrics(batch: Batch) -> bytes:
    """The readings as an ExportMetricsServiceRequest; empty if there are none."""
    if not batch.readings:
        return b""
    series: dict[tuple[Any, ...], list[Reading]] = {}
    for reading in batch.readings:
        series.setdefault(_metric_key(reading), []).append(reading)
    scopes: dict[str, list[bytes]] = {}
    for readings in series.values():
        scopes.setdefault(readings[0].scope, []).append(field(b"\x12", _metric(readings)))
    return _request(batch.resource, scopes)


def encode_logs(batch: Batch) -> bytes:
    """The events as an ExportLogsServiceRequest; empty if there are none."""
    if not batch.events:
        return b""
    scopes: dict[str, list[bytes]] = {}
    for event in batch.events:
        scopes.setdefault(event.scope, []).append(field(b"\x12", _log_record(event)))
    return _request(batch.resource, scopes)


# What all three have in common.


def _request(resource: Resource, scopes: Mapping[str, list[bytes]]) -> bytes:
    """Resource and scopes have the same field numbers for all three kinds."""
    parts = [field(b"\x0a", resource_attributes(resource))]
    for scope, records in scopes.items():
        head = field(b"\x0a", text_field(b"\x0a", scope)) if scope else b""
        parts.append(field(b"\x12", head + b"".join(records)))
    return field(b"\x0a", b"".join(parts))


def resource_attributes(resource: Resource) -> bytes:
    """By OpenTelemetry's names; an attribute of a field's name yields to the field."""
    known: dict[str, Any] = {"service.name": resource.service}
    if resource.version:
        known["service.version"] = resource.version
    if resource.host:
        known["host.name"] = resource.host
    if resource.pid:
        known["process.pid"] = resource.pid
    if resource.region:
        known["cloud.region"] = resource.region
    if resource.zone:
        known["cloud.availability_zone"] = resource.zone
    others = [(key, value) for key, value in resource.attributes if key not in known]
    return attribute_fields(b"\x0a", [*known.items(), *others])


# Spans.


def _span(span: SpanRecord) -> bytes:
    trace_id, span_id, parent_id, name, kind, started, ended, attributes, status = span[:9]
    if len(trace_id) == 16 and len(span_id) == len(parent_id) == 8:
        out = b"\x0a\x10%b\x12\x08%b\x22\x08%b" % (trace_id, span_id, parent_id)
    else:
        out = (
            bytes_field(b"\x0a", trace_id)
            + bytes_field(b"\x12", span_id)
            + bytes_field(b"\x22", parent_id)
        )
    out += text_field(b"\x2a", name)
    if kind:
        out += b"\x30" + varint(unsigned(kind))
    if not (0 <= started <= UINT64_MAX and 0 <= ended <= UINT64_MAX):
        started, ended = unsigned(started), unsigned(ended)
    out += b"\x39" + _TWO_FIXED64(started, b"\x41", ended)
    if attributes:
        out += attribute_fields(b"\x4a", attributes.items())
    for event in span.events:
        out += field(b"\x5a", _span_event(event))
    for link in span.links:
        out += field(b"\x6a", _link(link))
    if status or span.status_message:
        told = text_field(b"\x12", span.status_message)
        if status:
            told += b"\x18" + varint(unsigned(status))
        out += field(b"\x7a", told)
    return out


def _span_event(event: Event) -> bytes:
    return (
        b"\x09"
        + FIXED64(unsigned(event.at_ns))
        + text_field(b"\x12", event.name)
        + attribute_fields(b"\x1a", event.attributes.items())
    )


def _link(link: Link) -> bytes:
    return (
        bytes_field(b"\x0a", link.trace_id)
        + bytes_field(b"\x12", link.span_id)
        + attribute_fields(b"\x22", link.attributes.items())
    )


# Events.


def _log_record(event: Event) -> bytes:
    at = FIXED64(unsigned(event.at_ns))
    parts = [b"\x09", at]
    if event.severity:
        parts.append(b"\x10" + varint(unsigned(event.severity)))
    if event.body:
        parts.append(field(b"\x2a", string_value(event.body)))
    parts.append(attribute_fields(b"\x32", event.attributes.items()))
    parts.append(bytes_field(b"\x4a", event.trace_id))
    parts.append(bytes_field(b"\x52", event.span_id))
    parts += [b"\x59", at, text_field(b"\x62", event.name)]
    return b"".join(parts)


# Readings.


def _metric_key(reading: Reading) -> tuple[Any, ...]:
    """Readings with the same key are data points of one metric."""
    value = reading.value
    explicit = isinstance(value, Distribution) and bool(value.bounds)
    return (
        reading.scope,
        reading.name,
        reading.kind is Kind.COUNTER,
        reading.unit,
        reading.description,
        bool(reading.cumulative),
        isinstance(value, Distribution),
        explicit,
    )


def _metric(readings: list[Reading]) -> bytes:
    first = readings[0]
    head = (
        text_field(b"\x0a", first.name)
        + text_field(b"\x12", first.description)
        + text_field(b"\x1a", first.unit)
    )
    temporality = b"\x10\x02" if first.cumulative else b"\x10\x01"
    if isinstance(first.value, Distribution):
        if first.value.bounds:
            points = [field(b"\x0a", _histogram_point(r)) for r in readings]
            return head + field(b"\x4a", b"".join(points) + temporality)
        points = [field(b"\x0a", _exponential_point(r)) for r in readings]
        return head + field(b"\x52", b"".join(points) + temporality)
    content = b"".join([field(b"\x0a", _number_point(r)) for r in readings])
    if first.kind is Kind.COUNTER:
        # A counter of another system may move down; one that counts from a start is a sum
        # that only grows, or it would have come as a gauge.
        if first.cumulative or not any(_negative(r.value) for r in readings):
            temporality += b"\x18\x01"
        return head + field(b"\x3a", content + temporality)
    return head + field(b"\x2a", content)


def _negative(value: Any) -> bool:
    return bool(value < 0)


def _times(reading: Reading) -> bytes:
    started, ended = unsigned(reading.started_ns), unsigned(reading.ended_ns)
    if started:
        return b"\x11" + _TWO_FIXED64(started, b"\x19", ended)
    return b"\x19" + FIXED64(ended)


def _number_point(reading: Reading) -> bytes:
    value: Any = reading.value
    if isinstance(value, int) and INT64_MIN <= value <= INT64_MAX:
        number = b"\x31" + _SFIXED64(value)
    else:
        number = b"\x21" + double(value)
    return _times(reading) + number + attribute_fields(b"\x3a", reading.dimensions)


def _histogram_point(reading: Reading) -> bytes:
    value: Any = reading.value
    bounds = value.bounds
    counts = b"".join(
        [FIXED64(unsigned(value.buckets.get(i, 0))) for i in range(len(bounds) + 1)]
    )
    edges = b"".join([double(bound) for bound in bounds])
    return b"".join(
        [
            _times(reading),
            b"\x21" + FIXED64(unsigned(value.samples)),
            b"\x29" + double(value.total),
            field(b"\x32", counts),
            field(b"\x3a", edges),
            attribute_fields(b"\x4a", reading.dimensions),
            _extreme(b"\x59", value.minimum),
            _extreme(b"\x61", value.maximum),
        ]
    )


def _exponential_point(reading: Reading) -> bytes:
    value = dense_enough(reading.value)
    parts = [
        attribute_fields(b"\x0a", reading.dimensions),
        _times(reading),
        b"\x21" + FIXED64(unsigned(value.samples)),
        b"\x29" + double(value.total),
    ]
    if value.scale:
        parts.append(b"\x30" + varint(_zigzag(value.scale)))
    if value.zeros:
        parts.append(b"\x39" + FIXED64(unsigned(value.zeros)))
    if value.buckets:
        parts.append(field(b"\x42", _buckets(value.buckets)))
    if value.negatives:
        parts.append(field(b"\x4a", _buckets(value.negatives)))
    parts += [_extreme(b"\x61", value.minimum), _extreme(b"\x69", value.maximum)]
    return b"".join(parts)


def _extreme(key: bytes, value: float | None) -> bytes:
    return b"" if value is None else key + double(value)


def _zigzag(n: int) -> int:
    return (n << 1 ^ n >> 31) & 0xFFFFFFFF


def _buckets(sparse: Mapping[int, int]) -> bytes:
    low, high = min(sparse), max(sparse)
    counts = [SMALL[0]] * (high - low + 1)
    for index, count in sparse.items():
        counts[index - low] = varint(unsigned(count))
    offset = b"\x08" + varint(_zigzag(low)) if low else b""
    return offset + field(b"\x12", b"".join(counts))


def dense_enough(value: Any) -> Distribution:
    """The same values in buckets few enough to be written one beside the other."""
    distribution: Distribution = value
    while not (_fits(distribution.buckets) and _fits(distribution.negatives)):
        distribution = distribution.at_scale(distribution.scale - 1)
    return distribution


def _fits(sparse: Mapping[int, int]) -> bool:
    if not sparse:
        return True
    low, high = min(sparse), max(sparse)
    return high - low < DENSE_MAX and low >= -(2**31) and high < 2**31
