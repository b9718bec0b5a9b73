"""Both twins read the same spans of the same bytes, or refuse them with the same words."""

import gc
import random
import sys

import pytest
from google.protobuf.internal.encoder import _VarintBytes
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from nilometer.errors import WireError
from nilometer.model import Event, Link, Resource, SpanKind, SpanRecord, Status
from nilometer.wire import _otlp_spans, otlp_pure, otlp_spans_pure, otlp_values
from nilometer.wire.otlp_count import MESSAGES_MAX
from tests.trace.conftest import blocks_left_by
from tests.wire.batches import batches
from tests.wire.wild import Wild, damaged

ID, OTHER_ID, SPAN = bytes(range(1, 17)), bytes(range(2, 18)), bytes(range(1, 9))


@pytest.fixture(params=[otlp_spans_pure, _otlp_spans], ids=["python", "c"])
def decode(request):
    """Every test that asks for decode runs once per twin."""
    return request.param.decode


@pytest.fixture
def alone(monkeypatch):
    """Let the C twin fail where it would hand a body back."""

    def refuse(body):
        raise AssertionError("handed back")

    monkeypatch.setattr(otlp_spans_pure, "decode", refuse)


def told(decode, body):
    """All that can be seen of what was decoded: values, types, the order of attributes."""
    try:
        decoded = decode(body)
    except WireError as error:
        return error.reason, str(error)
    rejected = decoded.rejected
    return repr(decoded.batches), type(rejected), sorted(rejected.items()), decoded.because


def agreed(body):
    """What both twins say, once they were seen to say the same."""
    said = told(otlp_spans_pure.decode, body)

    assert told(_otlp_spans.decode, body) == said, body.hex()
    return said


def request_of(*resources):
    """The bytes of a request whose messages these functions fill in."""
    request = ExportTraceServiceRequest()
    for fill in resources:
        fill(request.resource_spans.add())
    return request.SerializeToString()


def a_span(scope_spans, **fields):
    return scope_spans.spans.add(**{"trace_id": ID, "span_id": SPAN, "name": "n", **fields})


def everything(told):
    """All fields that the protocol has, and all kinds of values."""
    told.schema_url = "https://schema"
    told.resource.attributes.add(key="service.name").value.string_value = "compute"
    told.resource.attributes.add(key="deploy").value.int_value = 7
    scope_spans = told.scope_spans.add(schema_url="\u00e9")
    scope_spans.scope.name, scope_spans.scope.version = "orders", "1.0"
    scope_spans.scope.attributes.add(key="a").value.int_value = 1
    scope_spans.scope.dropped_attributes_count = 3
    span = a_span(
        scope_spans,
        trace_state="a=b",
        parent_span_id=b"parentid",
        name="GET \u00e9",
        kind=3,
        start_time_unix_nano=2**63 - 1,
        end_time_unix_nano=5,
        flags=257,
        dropped_attributes_count=300,
        dropped_events_count=1,
        dropped_links_count=2,
    )
    span.status.code, span.status.message = 2, "it broke"
    for key, value in {
        "text": AnyValue(string_value="\U0001f600" * 20),
        "empty": AnyValue(string_value=""),
        "whole": AnyValue(int_value=-1),
        "least": AnyValue(int_value=-(2**63)),
        "true": AnyValue(bool_value=True),
        "false": AnyValue(bool_value=False),
        "float": AnyValue(double_value=-2.5),
        "nan": AnyValue(double_value=float("nan")),
        "bytes": AnyValue(bytes_value=b"\xff\x00"),
        "nothing": AnyValue(),
        "list": AnyValue(array_value={"values": [{"int_value": 1}, {}, {"string_value": "é"}]}),
        "map": AnyValue(
            kvlist_value={
                "values": [
                    {"key": "b", "value": {"bytes_value": b"b"}},
                    {"key": "none"},
                    {"key": "b", "value": {"array_value": {}}},
                ]
            }
        ),
        "no value": None,
    }.items():
        span.attributes.add(key=key, value=value)
    span.attributes.add(key="whole").value.int_value = 2
    event = span.events.add(name="ev", time_unix_nano=2**64 - 1, dropped_attributes_count=1)
    event.attributes.add(key="").value.string_value = "x"
    link = span.links.add(trace_id=ID, span_id=SPAN, trace_state="s", flags=1)
    link.attributes.add(key="why").value.string_value = "retry"
    span.links.add(trace_id=bytes(16), span_id=SPAN)
    span.links.add(trace_id=ID, span_id=b"short")
    a_span(scope_spans, trace_id=OTHER_ID, parent_span_id=bytes(8), kind=77)


def test_whatever_the_protocol_has_is_read_whole(decode):
    [batch], rejected = decode(request_of(everything))

    full, bare = batch.spans
    attributes = dict(full.attributes)
    assert repr(attributes.pop("nan")) == "nan"
    assert (batch.resource, rejected) == (Resource("compute", attributes=(("deploy", 7),)), {})
    assert list(attributes.items()) == [
        ("text", "\U0001f600" * 20),
        ("empty", ""),
        ("whole", 2),
        ("least", -(2**63)),
        ("true", True),
        ("false", False),
        ("float", -2.5),
        ("bytes", '"/wA="'),
        ("nothing", "null"),
        ("list", '[1, null, "é"]'),
        ("map", '{"b": [], "none": null}'),
        ("no value", "null"),
    ]
    assert full._replace(attributes={}) == SpanRecord(
        ID,
        SPAN,
        b"parentid",
        "GET \u00e9",
        SpanKind.CLIENT,
        2**63 - 1,
        5,
        {},
        Status.ERROR,
        "it broke",
        (Event("ev", 2**63 - 1, {"": "x"}),),
        (Link(ID, SPAN, {"why": "retry"}),),
        "orders",
    )
    assert bare == SpanRecord(
        OTHER_ID, SPAN, b"", "n", SpanKind.UNSPECIFIED, 0, 0, {}, scope="orders"
    )


@pytest.mark.usefixtures("alone")
def test_nothing_that_the_protocol_has_is_handed_back():
    [batch], _ = _otlp_spans.decode(request_of(everything, everything))

    assert len(batch.spans) == 4


@pytest.mark.usefixtures("alone")
@given(batches())
def test_nothing_that_we_send_is_handed_back(batch):
    decoded = _otlp_spans.decode(otlp_pure.encode_traces(batch))

    assert sum(each.rows for each in decoded.batches) == len(batch.spans)


@given(batches(), st.data())
def test_the_twins_agree_on_what_we_send_however_it_is_damaged(batch, data):
    body = bytearray(otlp_pure.encode_traces(batch))

    agreed(bytes(body))
    for _ in range(min(3, len(body))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    agreed(bytes(body))
    agreed(bytes(body[: data.draw(st.integers(0, len(body)))]))


@given(st.binary(max_size=200))
def test_the_twins_agree_on_any_bytes(body):
    agreed(body)


@pytest.mark.parametrize("odd", [0, 1, 10, 100])
def test_the_twins_agree_on_what_nobody_writes(odd):
    rng = random.Random(odd)
    wild = Wild(rng, odd)
    read = refused = 0
    for _ in range(400):
        body = wild.body()
        said = agreed(body)
        read += len(said) == 4
        refused += len(said) == 2
        agreed(damaged(rng, body))

    assert read > 10
    assert refused == 0 if odd == 0 else refused > 0


def test_a_request_cut_anywhere_is_refused_or_read_alike():
    body = request_of(everything)
    for end in range(len(body)):
        agreed(body[:end])


def test_a_request_with_any_byte_changed_is_refused_or_read_alike():
    rng = random.Random(7)
    body = request_of(everything)
    for at in range(len(body)):
        for byte in {0, 127, 128, 255, body[at] ^ 1, rng.randrange(256)}:
            agreed(body[:at] + bytes([byte]) + body[at + 1 :])


def within(content, *numbers):
    """The content as the innermost of messages in these fields."""
    for number in reversed(numbers):
        content = _VarintBytes(number << 3 | 2) + _VarintBytes(len(content)) + content
    return content


IMMORTAL = 1 << 29
PLACES = {
    "resource": (1, 1, 1),
    "scope": (1, 2, 1, 3),
    "span": (1, 2, 2, 9),
    "event": (1, 2, 2, 11, 3),
    "link": (1, 2, 2, 13, 4),
}


def nested(levels, place):
    """A request with a list in a list, so many times, as an attribute's value."""
    request = request_of(lambda told: a_span(told.scope_spans.add()))
    return request + within(b"\x0a\x04deep", *PLACES[place], 2, *(5, 1) * levels)


@pytest.mark.parametrize("place", PLACES)
def test_values_may_be_as_deep_wherever_they_stand(place):
    said = [len(agreed(nested(levels, place))) for levels in range(60)]

    assert said == sorted(said, reverse=True)  # read up to some depth, refused beyond
    assert {2, 4} == set(said)


def test_as_many_spans_as_may_be_are_read_and_one_more_is_refused(monkeypatch, decode):
    monkeypatch.setattr(otlp_values, "ROWS_MAX", 5)

    def fill(rows):
        def filled(told):
            for _ in range(rows):
                a_span(told.scope_spans.add(), trace_id=ID if rows == 2 else b"bad")

        return filled

    assert decode(request_of(fill(2), fill(3))).rejected == {"trace-id": 3}
    with pytest.raises(WireError) as refused:
        decode(request_of(fill(2), fill(4)))
    assert refused.value.reason == "too-large"


@pytest.mark.parametrize(("more", "rows"), [(0, 1), (1, None)])
def test_as_many_messages_as_may_be_are_read_and_one_more_is_refused(decode, more, rows):
    ids = within(ID, 1) + within(SPAN, 2)
    attributes = b"\x4a\x00" * (MESSAGES_MAX - 3 + more)  # within the three that hold them
    body = within(ids + attributes, 1, 2, 2)

    said = told(decode, body)

    assert said[0] == "too-large" if rows is None else "attributes={'': 'null'}" in said[0]


def test_texts_that_come_again_are_one_object():
    def fill(told):
        for number in range(2):
            span = a_span(told.scope_spans.add(), name="GET /orders")
            span.attributes.add(key="http.route").value.string_value = "/orders"
            span.attributes.add(key="number").value.int_value = number

    [batch], _ = _otlp_spans.decode(request_of(fill))
    [first, second] = [(*s.attributes, s.name, s.trace_id, s.attributes["http.route"])
                       for s in batch.spans]  # fmt: skip

    assert all(a is b for a, b in zip(first, second, strict=True))


def uses():
    """Bodies that take every way through the C twin, its failures included."""
    whole = request_of(everything, everything)
    rng = random.Random(3)
    wild = [Wild(rng, odd).body() for odd in (0, 10, 100) for _ in range(20)]
    cut = [whole[:end] for end in range(0, len(whole), 7)]
    return [whole, *cut, *wild, *(damaged(rng, whole) for _ in range(40))]


def test_it_gives_back_every_reference_and_all_memory():
    bodies = uses()

    def run():
        for body in bodies:
            told(_otlp_spans.decode, body)
        gc.collect()  # clears the interpreter's lists of free objects, which grow

    shared = [None, "", b"", (), *SpanKind, *Status, SpanRecord, Event, Link]
    # From Python 3.12 on some live for ever, and protobuf moves what stands for their count.
    shared = [each for each in shared if sys.getrefcount(each) < IMMORTAL]
    gc.freeze()  # the collections look at nothing older
    try:
        for _ in range(20):  # until what others keep between calls has its size
            run()
        counts = [sys.getrefcount(each) for each in shared]
        left = blocks_left_by(run)
    finally:
        gc.unfreeze()

    moved = [sys.getrefcount(a) - b for a, b in zip(shared, counts, strict=True)]
    assert max(map(abs, moved)) < 50, moved
    assert left < 20, left  # what stays behind on one way would be there twenty times
