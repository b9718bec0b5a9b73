"""Batches into Arrow columns, whole columns at a time.

Nothing that arrives may make an append fail: a text that UTF-8 cannot hold is cleaned, a whole
number beyond 64 bits is kept as a float or, where only whole numbers make sense, at the limit.
The common case pays nothing for this: a column is built straight, and again with care if Arrow
refuses it.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from hashlib import blake2b
from itertools import accumulate, chain
from marshal import dumps
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from nilometer.model import Distribution, Rejected, SpanKind, Status
from nilometer.store.jsontext import clean, encode
from nilometer.store.jsontexts import encode_all
from nilometer.store.tables import BYTES, FLOAT, LISTS, TABLES, TEXT, WHOLE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from nilometer.model import Batch, Event, Link, Reading, Resource, SpanRecord

INT64_MAX: Final = 2**63 - 1
INT64_MIN: Final = -(2**63)

SERIES_REMEMBERED_MAX: Final = 100_000
"""Digests kept: 100 processes of 1,000 series each, at about 300 bytes a series 30 MB."""

REQUEST_ID: Final = "request_id"
"""The span attribute by which requests are found; `nilometer.store` gives it a column."""

_KINDS: Final = {kind: kind.name.lower() for kind in SpanKind}
_STATUSES: Final = {status: status.name.lower() for status in Status}
_series: Final[dict[Resource, dict[object, tuple[int, str]]]] = {}

Columns = dict[str, pa.Array]


class Lists(NamedTuple):
    """A column of lists as Arrow holds it: how long each is, and all their values in a row."""

    lengths: list[int]
    flat: array[Any]

    @classmethod
    def of(cls, kind: pa.DataType, lists: Sequence[Collection[Any]]) -> Lists:
        """The column of these lists, whose values are of that kind."""
        code = _CODES[kind]
        if not any(lists):
            return cls([0] * len(lists), array(code))
        flat = list(chain.from_iterable(lists))
        try:
            packed = array(code, flat)
        except (OverflowError, TypeError):
            packed = array(code, map(_CAREFUL[kind], flat))
        return cls(list(map(len, lists)), packed)


Values = dict[str, Sequence[Any]]
"""Columns of one table by name: plain values, or Lists."""


class Part(NamedTuple):
    """What one batch adds to one table, and the digest by which the batch is known again."""

    resource: Resource
    values: Values
    rows: int
    delivery: int


def digest(value: Any) -> int:
    """A signed 64-bit digest of plain values, the same in every process."""
    try:
        plain = dumps(value, 2)  # version 2 writes equal values alike, whoever else holds them
    except ValueError:  # a subclass of str or int: tell it by its text
        plain = repr(value).encode("utf-8", "backslashreplace")
    return int.from_bytes(blake2b(plain, digest_size=8).digest(), "little", signed=True)


def parts(batch: Batch) -> dict[str, Part]:
    """What a batch adds to each table; tables that get nothing are left out."""
    made: dict[str, Part] = {}
    if batch.spans:
        made["spans"] = _part("spans", batch, _spans(batch.spans))
    if batch.readings:
        values = _readings(batch.resource, batch.readings)
        made["readings"] = _part("readings", batch, values)
    if batch.events:
        made["events"] = _part("events", batch, _events(batch.events))
    if batch.rejected:
        made["rejected"] = _part("rejected", batch, _rejected(batch.rejected))
    return made


_TELLING: Final = {
    "spans": ("trace_id", "span_id", "started_ns", "ended_ns"),
    "readings": (
        "series", "started_ns", "ended_ns", "value_int", "value_float", "samples",
        "minimum_int", "minimum_float", "maximum_int", "maximum_float",
    ),
    "events": ("name", "at_ns", "trace_id", "span_id", "severity", "body", "attributes"),
    "rejected": ("door", "origin", "reason", "body"),
}  # fmt: skip
"""The columns by which a batch is known again. A span is known by its ids; two readings of one
series are the same if interval, count, sum and extremes are, whatever their buckets; what was
rejected is the same whenever it came."""


def _part(name: str, batch: Batch, values: Values) -> Part:
    columns = [tuple(values[column]) for column in _TELLING[name]]
    told = (tuple(batch.resource), columns)
    known_by = digest((batch.delivery, *told) if batch.delivery else told)
    return Part(batch.resource, values, len(columns[0]), known_by)


def _spans(spans: Sequence[SpanRecord]) -> Values:
    (
        trace_ids, span_ids, parent_ids, names, kinds, starts, ends,
        attributes, statuses, messages, events, links, scopes,
    ) = zip(*spans, strict=True)  # fmt: skip
    return {
        "scope": scopes,
        "trace_id": [each.hex() for each in trace_ids],
        "span_id": [each.hex() for each in span_ids],
        "parent_id": [each.hex() for each in parent_ids],
        "name": names,
        "kind": [_KINDS.get(each, "unspecified") for each in kinds],
        "started_ns": starts,
        "ended_ns": ends,
        "status": [_STATUSES.get(each, "unset") for each in statuses],
        "status_message": messages,
        "request_id": [str(a[REQUEST_ID]) if REQUEST_ID in a else None for a in attributes],
        "attributes": encode_all(attributes),
        "events": [encode([_told_event(e) for e in each]) if each else None for each in events],
        "links": [encode([_told_link(e) for e in each]) if each else None for each in links],
    }


def _told_event(event: Event) -> dict[str, object]:
    told: dict[str, object] = {"name": event.name, "at_ns": event.at_ns}
    told |= {
        "attributes": dict(event.attributes),
        "trace_id": event.trace_id.hex(),
        "span_id": event.span_id.hex(),
        "severity": event.severity,
        "body": event.body,
        "scope": event.scope,
    }
    return told


def _told_link(link: Link) -> dict[str, object]:
    return {
        "trace_id": link.trace_id.hex(),
        "span_id": link.span_id.hex(),
        "attributes": dict(link.attributes),
    }


def _readings(resource: Resource, readings: Sequence[Reading]) -> Values:
    (
        names, kinds, _, values, starts, ends, units, descriptions, scopes, cumulative,
    ) = zip(*readings, strict=True)  # fmt: skip
    series, dimensions = zip(*_series_of(resource, readings), strict=True)
    columns: Values = {
        "scope": scopes,
        "name": names,
        "kind": [each._value_ for each in kinds],
        "unit": units,
        "description": descriptions,
        "dimensions": dimensions,
        "series": series,
        "started_ns": starts,
        "ended_ns": ends,
        "cumulative": cumulative,
    }
    kept = [each if isinstance(each, Distribution) else None for each in values]
    if not any(kept):
        return columns | numbers("value", values) | _no_distributions(len(values))
    totals = [v if d is None else d.total for v, d in zip(values, kept, strict=True)]
    return columns | numbers("value", totals) | _distributions(kept)


def _distributions(kept: Sequence[Distribution | None]) -> Values:
    """The columns of distributions; a reading without one has empty lists there, else nulls."""
    told = [_NOTHING if each is None else each for each in kept]
    samples, _, minima, maxima, buckets, zeros, negatives, scales, bounds = zip(
        *told, strict=True
    )
    empty = None in kept
    return {
        "samples": [d and d.samples for d in kept] if empty else samples,
        **numbers("minimum", minima),
        **numbers("maximum", maxima),
        "zeros": [d and d.zeros for d in kept] if empty else zeros,
        "scale": [d and d.scale for d in kept] if empty else scales,
        "bucket_indexes": Lists.of(WHOLE, buckets),
        "bucket_counts": Lists.of(WHOLE, [each.values() for each in buckets]),
        "negative_indexes": Lists.of(WHOLE, negatives),
        "negative_counts": Lists.of(WHOLE, [each.values() for each in negatives]),
        "bounds": Lists.of(FLOAT, bounds),
    }


_NOTHING: Final = Distribution(0, 0, None, None)


def _no_distributions(rows: int) -> Values:
    nothing = [None] * rows
    columns = _distributions([None])
    return {
        name: c._replace(lengths=[0] * rows) if isinstance(c, Lists) else nothing
        for name, c in columns.items()
    }


def numbers(name: str, values: Sequence[float | None]) -> Values:
    """Two columns for one number: whole numbers keep all their 64 bits, the rest are floats."""
    if set(map(type, values)) == {int} and _all_fit(values):
        return {f"{name}_int": values, f"{name}_float": [None] * len(values)}
    whole = [isinstance(v, int) and INT64_MIN <= v <= INT64_MAX for v in values]
    return {
        f"{name}_int": [v if w else None for v, w in zip(values, whole, strict=True)],
        f"{name}_float": [_float(v, w) for v, w in zip(values, whole, strict=True)],
    }


def _all_fit(values: Sequence[Any]) -> bool:
    return not values or (min(values) >= INT64_MIN and max(values) <= INT64_MAX)


def _float(value: float | None, whole: bool) -> float | None:
    if value is None or whole:
        return None
    try:
        return float(value)
    except OverflowError:  # a whole number of more than 1,023 bits
        return float("inf") if value > 0 else float("-inf")


def _series_of(resource: Resource, readings: Sequence[Reading]) -> list[tuple[int, str]]:
    """The digest of each reading's series and the JSON text of its dimensions."""
    kept = _series.setdefault(resource, {})
    before = len(kept)
    found = []
    for name, kind, pairs, _, _, _, unit, _, scope, _ in readings:
        key = scope, name, kind._value_, unit, pairs  # `value` takes ten times as long
        known = kept.get(key)
        if known is None:
            known = kept[key] = digest((tuple(resource), *key)), encode(dict(pairs))
        found.append(known)
    if len(kept) > before and sum(map(len, _series.values())) > SERIES_REMEMBERED_MAX:
        _series.clear()
    return found


def _events(events: Sequence[Event]) -> Values:
    names, times, attributes, trace_ids, span_ids, severities, bodies, scopes = zip(
        *events, strict=True
    )
    return {
        "scope": scopes,
        "name": names,
        "at_ns": times,
        "trace_id": [each.hex() for each in trace_ids],
        "span_id": [each.hex() for each in span_ids],
        "severity": severities,
        "body": bodies,
        "attributes": encode_all(attributes),
    }


def _rejected(rows: Sequence[Rejected]) -> Values:
    return dict(zip(Rejected._fields, zip(*rows, strict=True), strict=True))


# ---- Python values into Arrow ---------------------------------------------------------------


def table_of(name: str, gathered: Sequence[Part], append: int) -> pa.Table:
    """One Arrow table of all parts, without the partition column, in the schema's order."""
    made: Columns = {}
    for column in TABLES[name].columns:
        if column.name in gathered[0].values:
            pieces = [part.values[column.name] for part in gathered]
            made[column.name] = _column(column.type, pieces)
    made |= _resources(gathered)
    rows = sum(part.rows for part in gathered)
    made["append"] = pa.repeat(pa.scalar(append, WHOLE), rows)
    order = [column.name for column in TABLES[name].columns if column.name in made]
    return pa.table({each: made[each] for each in order})


def _resources(gathered: Sequence[Part]) -> Columns:
    """What is one value per part, repeated over its rows without making them one by one."""
    told = [part.resource for part in gathered]
    plain: dict[str, tuple[pa.DataType, list[Any]]] = {
        "service": (TEXT, [each.service for each in told]),
        "host": (TEXT, [each.host for each in told]),
        "pid": (WHOLE, [each.pid for each in told]),
        "region": (TEXT, [each.region for each in told]),
        "zone": (TEXT, [each.zone for each in told]),
        "version": (TEXT, [each.version for each in told]),
        "resource": (TEXT, [encode(dict(each.attributes)) for each in told]),
        "delivery": (WHOLE, [part.delivery for part in gathered]),
    }
    ends = pa.array(accumulate(part.rows for part in gathered), pa.int32())
    numbers = pa.array(range(len(gathered)), pa.int32())
    part = pc.run_end_decode(pa.RunEndEncodedArray.from_arrays(ends, numbers))
    return {name: _array(kind, each).take(part) for name, (kind, each) in plain.items()}


def _column(kind: pa.DataType, pieces: list[Any]) -> pa.Array:
    if kind not in LISTS:
        return _array(kind, list(chain.from_iterable(pieces)))
    ends = accumulate(chain.from_iterable(each.lengths for each in pieces), initial=0)
    flat = pa.py_buffer(b"".join(each.flat for each in pieces))
    values = sum(len(each.flat) for each in pieces)
    held = pa.Array.from_buffers(kind.value_type, values, [None, flat])
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), held, kind)


def _array(kind: pa.DataType, values: list[Any]) -> pa.Array:
    try:
        return pa.array(values, kind)
    except (UnicodeEncodeError, OverflowError, pa.ArrowException, TypeError):
        return pa.array([_CAREFUL[kind](each) for each in values], kind)


def _text(value: object) -> str | None:
    return None if value is None else clean(str(value))


def _whole(value: Any) -> int | None:
    return None if value is None else max(INT64_MIN, min(INT64_MAX, int(value)))


_CAREFUL: Final[dict[pa.DataType, Callable[[Any], Any]]] = {
    TEXT: _text,
    WHOLE: _whole,
    pa.bool_(): bool,
    FLOAT: float,
    BYTES: bytes,
}

_CODES: Final = {WHOLE: "q", FLOAT: "d"}
"""How `array` calls them; it holds them as Arrow does."""
