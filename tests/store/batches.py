"""Batches to store: by hypothesis, hostile ones too, and plain ones by the dozen."""

from hypothesis import strategies as st

from nilometer.model import (
    Batch,
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
    dimensions_of,
)

NOW_NS = 1_795_000_000 * 10**9  # 2026-11-18
S = 10**9

# Every text that UTF-8 can hold, NUL included; half surrogates have a test of their own.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.sampled_from(["a", "b.c", "", "x" * 200]) | texts
whole = st.integers(-(2**63), 2**63 - 1)
times = st.integers(NOW_NS - 10**15, NOW_NS + 10**13) | whole
floats = st.floats(allow_nan=False)
attribute_values = texts | st.integers(-(2**70), 2**70) | floats | st.booleans()
attributes = st.dictionaries(texts | st.just("float"), attribute_values, max_size=4)
dimensions = st.dictionaries(texts, texts, max_size=4).map(dimensions_of)
trace_ids = st.binary(min_size=16, max_size=16)
span_ids = st.binary(min_size=8, max_size=8)

resources = st.builds(
    Resource,
    service=texts,
    host=texts,
    pid=st.integers(0, 2**31),
    region=texts,
    zone=texts,
    version=texts,
    attributes=attributes.map(lambda found: tuple(sorted(found.items()))),
)

events = st.builds(
    Event,
    name=names,
    at_ns=times,
    attributes=attributes,
    trace_id=trace_ids | st.just(b""),
    span_id=span_ids | st.just(b""),
    severity=st.integers(0, 24),
    body=texts,
    scope=texts,
)

spans = st.builds(
    SpanRecord,
    trace_id=trace_ids,
    span_id=span_ids,
    parent_id=span_ids | st.just(b""),
    name=names,
    kind=st.sampled_from(SpanKind),
    started_ns=times,
    ended_ns=times,
    attributes=attributes,
    status=st.sampled_from(Status),
    status_message=texts,
    events=st.lists(events, max_size=2).map(tuple),
    links=st.lists(st.builds(Link, trace_ids, span_ids, attributes), max_size=2).map(tuple),
    scope=texts,
)

sizes = st.dictionaries(st.integers(-(2**31), 2**31), st.integers(1, 2**62), max_size=4)
distributions = st.builds(
    Distribution,
    samples=st.integers(0, 2**62),
    total=whole | floats,
    minimum=st.none() | whole | floats,
    maximum=st.none() | whole | floats,
    buckets=sizes,
    zeros=st.integers(0, 2**62),
    negatives=sizes,
    scale=st.integers(-10, 20),
    bounds=st.lists(floats, max_size=3).map(tuple),
)


def _reading(kind):
    value = distributions if kind is Kind.DISTRIBUTION else whole | floats
    return st.builds(
        Reading,
        name=names,
        kind=st.just(kind),
        dimensions=dimensions,
        value=value,
        started_ns=times,
        ended_ns=times,
        unit=texts,
        description=texts,
        scope=texts,
        cumulative=st.booleans(),
    )


readings = st.sampled_from(Kind).flatmap(_reading)

rejected = st.builds(
    Rejected,
    at_ns=times,
    door=texts,
    origin=texts,
    reason=texts,
    detail=texts,
    body=st.binary(max_size=20),
    size=st.integers(0, 2**62),
)

batches = st.builds(
    Batch,
    resource=resources,
    readings=st.lists(readings, max_size=4).map(tuple),
    spans=st.lists(spans, max_size=4, unique_by=lambda s: (s.trace_id, s.span_id)).map(tuple),
    events=st.lists(events, max_size=4).map(tuple),
    delivery=st.just(""),
    rejected=st.lists(rejected, max_size=2).map(tuple),
)


def span(number, *, trace=1, parent=0, at_ns=NOW_NS, took_ns=1000, **more):
    """A span that its number tells apart."""
    return SpanRecord(
        trace.to_bytes(16, "big"),
        number.to_bytes(8, "big"),
        parent.to_bytes(8, "big") if parent else b"",
        more.pop("name", f"op{number}"),
        more.pop("kind", SpanKind.SERVER),
        at_ns,
        at_ns + took_ns,
        more.pop("attributes", {}),
        **more,
    )


def counted(value, *, at_ns=NOW_NS, name="c", kind=Kind.COUNTER, started_ns=None, **more):
    """A reading of one second, unless it says since when it counts."""
    started = at_ns - S if started_ns is None else started_ns
    pairs = dimensions_of(more.pop("where", {}))
    return Reading(name, kind, pairs, value, started, at_ns, **more)


def one_of_each(number, *, at_ns=NOW_NS):
    """A batch that touches three tables."""
    return Batch(
        Resource("api", "h", number),
        (counted(number, at_ns=at_ns),),
        (span(number, at_ns=at_ns),),
        (Event("e", at_ns, {"n": number}),),
    )
