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
from nilometer.wire.attributes import text_of_any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from nilometer.model import Batch, Event, Link, Reading, Resource, SpanRecord

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
UINT64_MAX: Final = 2**64 - 1

DENSE_MAX: Final = 2 * 1075 * 32
"""Buckets from the least to the greatest double, of both signs of exponent, at our scale 5."""

_FIXED64: Final = Struct("<Q").pack
_SFIXED64: Final = Struct("<q").pack
_DOUBLE: Final = Struct("<d").pack
_TWO_FIXED64: Final = Struct("<QcQ").pack

_SMALL: Final = [bytes([n]) for n in range(128)]


def encode_traces(batch: Batch) -> bytes:
    """The spans as an ExportTraceServiceRequest; empty if there are none."""
    if not batch.spans:
        return b""
    scopes: dict[str, list[bytes]] = {}
    for span in batch.spans:
        encoded = _span(span)
        record = b"\x12" + _varint(len(encoded)) + encoded
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
        scopes.setdefault(readings[0].scope, []).append(_field(b"\x12", _metric(readings)))
    return _request(batch.resource, scopes)


def encode_logs(batch: Batch) -> bytes:
    """The events as an ExportLogsServiceRequest; empty if there are none."""
    if not batch.events:
        return b""
    scopes: dict[str, list[bytes]] = {}
    for event in batch.events:
        scopes.setdefault(event.scope, []).append(_field(b"\x12", _log_record(event)))
    return _request(batch.resource, scopes)


# What all three have in common.


def _request(resource: Resource, scopes: Mapping[str, list[bytes]]) -> bytes:
    """Resource and scopes have the same field numbers for all three kinds."""
    parts = [_field(b"\x0a", resource_attributes(resource))]
    for scope, records in scopes.items():
        head = _field(b"\x0a", _text(b"\x0a", scope)) if scope else b""
        parts.append(_field(b"\x12", head + b"".join(records)))
    return _field(b"\x0a", b"".join(parts))


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
    return _attributes(b"\x0a", [*known.items(), *others])


def _varint(n: int) -> bytes:
    if n < 128:
        return _SMALL[n]
    out = bytearray()
    while n >= 128:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def _field(key: bytes, content: bytes) -> bytes:
    return key + _varint(len(content)) + content


def _utf8(text: object) -> bytes:
    if not isinstance(text, str):
        text = text_of_any(text)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def _text(key: bytes, text: str) -> bytes:
    """A string field; nothing if empty."""
    if not text:
        return b""
    encoded = _utf8(text)
    return key + _varint(len(encoded)) + encoded


def _unsigned(n: int) -> int:
    """What no unsigned field can hold becomes the nearest that it can."""
    return 0 if n < 0 else n if n <= UINT64_MAX else UINT64_MAX


def _double(value: float) -> bytes:
    try:
        return _DOUBLE(float(value))
    except OverflowError:  # a whole number beyond all floats
        return _DOUBLE(float("inf") if value > 0 else float("-inf"))


def _attributes(key: bytes, pairs: Iterable[tuple[str, Any]]) -> bytes:
    out = []
    for name, value in pairs:
        encode = _VALUES.get(type(value), _other_value)
        any_value = encode(value)
        label = _utf8(name)
        pair = (
            b"\x0a"
            + _varint(len(label))
            + label
            + b"\x12"
            + _varint(len(any_value))
            + any_value
        )
        out.append(key + _varint(len(pair)) + pair)
    return b"".join(out)


def _string_value(value: str) -> bytes:
    encoded = _utf8(value)
    return b"\x0a" + _varint(len(encoded)) + encoded


def _bool_value(value: bool) -> bytes:
    return b"\x10\x01" if value else b"\x10\x00"


def _int_value(value: int) -> bytes:
    if INT64_MIN <= value <= INT64_MAX:
        return b"\x18" + _varint(value & UINT64_MAX)
    return _string_value(text_of_any(value))


def _double_value(value: float) -> bytes:
    return b"\x21" + _DOUBLE(value)


def _other_value(value: Any) -> bytes:
    if isinstance(value, str):
        return _string_value(value)
    if isinstance(value, int):
        return _int_value(value)
    if isinstance(value, float):
        return _double_value(value)
    return _string_value(text_of_any(value))


_VALUES: Final[dict[type, Callable[[Any], bytes]]] = {
    str: _string_value,
    int: _int_value,
    bool: _bool_value,
    float: _double_value,
}


# Spans.


def _span(span: SpanRecord) -> bytes:
    parts = [_bytes(b"\x0a", span.trace_id), _bytes(b"\x12", span.span_id)]
    if span.parent_id:
        parts.append(_bytes(b"\x22", span.parent_id))
    parts.append(_text(b"\x2a", span.name))
    if span.kind:
        parts.append(b"\x30" + _varint(_unsigned(span.kind)))
    started, ended = _unsigned(span.started_ns), _unsigned(span.ended_ns)
    parts.append(b"\x39" + _TWO_FIXED64(started, b"\x41", ended))
    if span.attributes:
        parts.append(_attributes(b"\x4a", span.attributes.items()))
    parts += [_field(b"\x5a", _span_event(event)) for event in span.events]
    parts += [_field(b"\x6a", _link(link)) for link in span.links]
    if span.status or span.status_message:
        status = _text(b"\x12", span.status_message)
        if span.status:
            status += b"\x18" + _varint(_unsigned(span.status))
        parts.append(_field(b"\x7a", status))
    return b"".join(parts)


def _bytes(key: bytes, content: bytes) -> bytes:
    return key + _varint(len(content)) + content if content else b""


def _span_event(event: Event) -> bytes:
    return (
        b"\x09"
        + _FIXED64(_unsigned(event.at_ns))
        + _text(b"\x12", event.name)
        + _attributes(b"\x1a", event.attributes.items())
    )


def _link(link: Link) -> bytes:
    return (
        _bytes(b"\x0a", link.trace_id)
        + _bytes(b"\x12", link.span_id)
        + _attributes(b"\x22", link.attributes.items())
    )


# Events.


def _log_record(event: Event) -> bytes:
    at = _FIXED64(_unsigned(event.at_ns))
    parts = [b"\x09", at]
    if event.severity:
        parts.append(b"\x10" + _varint(_unsigned(event.severity)))
    if event.body:
        parts.append(_field(b"\x2a", _string_value(event.body)))
    parts.append(_attributes(b"\x32", event.attributes.items()))
    parts.append(_bytes(b"\x4a", event.trace_id))
    parts.append(_bytes(b"\x52", event.span_id))
    parts += [b"\x59", at, _text(b"\x62", event.name)]
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
        _text(b"\x0a", first.name)
        + _text(b"\x12", first.description)
        + _text(b"\x1a", first.unit)
    )
    temporality = b"\x10\x02" if first.cumulative else b"\x10\x01"
    if isinstance(first.value, Distribution):
        if first.value.bounds:
            points = [_field(b"\x0a", _histogram_point(r)) for r in readings]
            return head + _field(b"\x4a", b"".join(points) + temporality)
        points = [_field(b"\x0a", _exponential_point(r)) for r in readings]
        return head + _field(b"\x52", b"".join(points) + temporality)
    content = b"".join([_field(b"\x0a", _number_point(r)) for r in readings])
    if first.kind is Kind.COUNTER:
        # A counter of another system may move down; one that counts from a start is a sum
        # that only grows, or it would have come as a gauge.
        if first.cumulative or not any(_negative(r.value) for r in readings):
            temporality += b"\x18\x01"
        return head + _field(b"\x3a", content + temporality)
    return head + _field(b"\x2a", content)


def _negative(value: Any) -> bool:
    return bool(value < 0)


def _times(reading: Reading) -> bytes:
    started, ended = _unsigned(reading.started_ns), _unsigned(reading.ended_ns)
    if started:
        return b"\x11" + _TWO_FIXED64(started, b"\x19", ended)
    return b"\x19" + _FIXED64(ended)


def _number_point(reading: Reading) -> bytes:
    value: Any = reading.value
    if isinstance(value, int) and INT64_MIN <= value <= INT64_MAX:
        number = b"\x31" + _SFIXED64(value)
    else:
        number = b"\x21" + _double(value)
    return _times(reading) + number + _attributes(b"\x3a", reading.dimensions)


def _histogram_point(reading: Reading) -> bytes:
    value: Any = reading.value
    bounds = value.bounds
    counts = b"".join(
        [_FIXED64(_unsigned(value.buckets.get(i, 0))) for i in range(len(bounds) + 1)]
    )
    edges = b"".join([_double(bound) for bound in bounds])
    return b"".join(
        [
            _times(reading),
            b"\x21" + _FIXED64(_unsigned(value.samples)),
            b"\x29" + _double(value.total),
            _field(b"\x32", counts),
            _field(b"\x3a", edges),
            _attributes(b"\x4a", reading.dimensions),
            _extreme(b"\x59", value.minimum),
            _extreme(b"\x61", value.maximum),
        ]
    )


def _exponential_point(reading: Reading) -> bytes:
    value = dense_enough(reading.value)
    parts = [
        _attributes(b"\x0a", reading.dimensions),
        _times(reading),
        b"\x21" + _FIXED64(_unsigned(value.samples)),
        b"\x29" + _double(value.total),
    ]
    if value.scale:
        parts.append(b"\x30" + _varint(_zigzag(value.scale)))
    if value.zeros:
        parts.append(b"\x39" + _FIXED64(_unsigned(value.zeros)))
    if value.buckets:
        parts.append(_field(b"\x42", _buckets(value.buckets)))
    if value.negatives:
        parts.append(_field(b"\x4a", _buckets(value.negatives)))
    parts += [_extreme(b"\x61", value.minimum), _extreme(b"\x69", value.maximum)]
    return b"".join(parts)


def _extreme(key: bytes, value: float | None) -> bytes:
    return b"" if value is None else key + _double(value)


def _zigzag(n: int) -> int:
    return (n << 1 ^ n >> 31) & 0xFFFFFFFF


def _buckets(sparse: Mapping[int, int]) -> bytes:
    low, high = min(sparse), max(sparse)
    counts = [_SMALL[0]] * (high - low + 1)
    for index, count in sparse.items():
        counts[index - low] = _varint(_unsigned(count))
    offset = b"\x08" + _varint(_zigzag(low)) if low else b""
    return offset + _field(b"\x12", b"".join(counts))


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
