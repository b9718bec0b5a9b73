"""OpenTelemetry's own classes read what both twins write."""

import struct
from importlib import import_module

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

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
from nilometer.wire import otlp_bytes, otlp_pure
from tests.wire.batches import any_text, batches

TWINS = {"python": "nilometer.wire.otlp_pure", "c": "nilometer.wire._otlp"}

WHO = Resource("compute", "c1", 12, "r1", "z1", "2.0", (("deploy", 7),))


@pytest.fixture(params=TWINS, scope="session")
def otlp(request):
    """Every test that asks for otlp runs once per twin."""
    return import_module(TWINS[request.param])


def as_dict(kind, encoded):
    return MessageToDict(kind.FromString(encoded), preserving_proto_field_name=True)


def text(value):
    return {"string_value": value}


RESOURCE = {
    "attributes": [
        {"key": "service.name", "value": text("compute")},
        {"key": "service.version", "value": text("2.0")},
        {"key": "host.name", "value": text("c1")},
        {"key": "process.pid", "value": {"int_value": "12"}},
        {"key": "cloud.region", "value": text("r1")},
        {"key": "cloud.availability_zone", "value": text("z1")},
        {"key": "deploy", "value": {"int_value": "7"}},
    ]
}


def test_a_span_is_told_whole(otlp):
    span = SpanRecord(
        bytes(range(16)),
        bytes(range(8)),
        b"parentid",
        "GET /orders",
        SpanKind.SERVER,
        10**18,
        10**18 + 5,
        {"a": "text", "b": 3, "c": 2.5, "d": True, "e": -1},
        Status.ERROR,
        "it broke",
        (Event("exception", 10**18 + 1, {"exception.type": "ValueError"}),),
        (Link(b"t" * 16, b"s" * 8, {"why": "retry"}),),
        "orders",
    )

    expected = {
        "trace_id": "AAECAwQFBgcICQoLDA0ODw==",
        "span_id": "AAECAwQFBgc=",
        "parent_span_id": "cGFyZW50aWQ=",
        "name": "GET /orders",
        "kind": "SPAN_KIND_SERVER",
        "start_time_unix_nano": "1000000000000000000",
        "end_time_unix_nano": "1000000000000000005",
        "attributes": [
            {"key": "a", "value": text("text")},
            {"key": "b", "value": {"int_value": "3"}},
            {"key": "c", "value": {"double_value": 2.5}},
            {"key": "d", "value": {"bool_value": True}},
            {"key": "e", "value": {"int_value": "-1"}},
        ],
        "events": [
            {
                "time_unix_nano": "1000000000000000001",
                "name": "exception",
                "attributes": [{"key": "exception.type", "value": text("ValueError")}],
            }
        ],
        "links": [
            {
                "trace_id": "dHR0dHR0dHR0dHR0dHR0dA==",
                "span_id": "c3Nzc3Nzc3M=",
                "attributes": [{"key": "why", "value": text("retry")}],
            }
        ],
        "status": {"code": "STATUS_CODE_ERROR", "message": "it broke"},
    }
    assert as_dict(
        ExportTraceServiceRequest, otlp.encode_traces(Batch(WHO, spans=(span,)))
    ) == {
        "resource_spans": [
            {
                "resource": RESOURCE,
                "scope_spans": [{"scope": {"name": "orders"}, "spans": [expected]}],
            }
        ]
    }


def test_an_event_is_a_log_record_with_a_name(otlp):
    event = Event("vm.scheduled", 7, {"host": "c1"}, b"t" * 16, b"s" * 8, 13, "words", "sched")

    expected = {
        "time_unix_nano": "7",
        "observed_time_unix_nano": "7",
        "severity_number": "SEVERITY_NUMBER_WARN",
        "body": text("words"),
        "attributes": [{"key": "host", "value": text("c1")}],
        "trace_id": "dHR0dHR0dHR0dHR0dHR0dA==",
        "span_id": "c3Nzc3Nzc3M=",
        "event_name": "vm.scheduled",
    }
    assert as_dict(ExportLogsServiceRequest, otlp.encode_logs(Batch(WHO, events=(event,)))) == {
        "resource_logs": [
            {
                "resource": RESOURCE,
                "scope_logs": [{"scope": {"name": "sched"}, "log_records": [expected]}],
            }
        ]
    }


def metrics_of(otlp, *readings):
    request = as_dict(ExportMetricsServiceRequest, otlp.encode_metrics(Batch(WHO, readings)))
    [resource] = request["resource_metrics"]
    assert resource["resource"] == RESOURCE
    [scope] = resource["scope_metrics"]
    return scope["metrics"]


DIMS = (("m", "GET"),)
POINT = {
    "attributes": [{"key": "m", "value": text("GET")}],
    "start_time_unix_nano": "5",
    "time_unix_nano": "9",
}


@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        (
            Reading("n", Kind.COUNTER, DIMS, 3, 5, 9, "1", "how many"),
            {"name": "n", "unit": "1", "description": "how many", "sum": {
                "data_points": [{**POINT, "as_int": "3"}],
                "aggregation_temporality": "AGGREGATION_TEMPORALITY_DELTA",
                "is_monotonic": True,
            }},
        ),
        (
            Reading("n", Kind.COUNTER, DIMS, 2.5, 5, 9, cumulative=True),
            {"name": "n", "sum": {
                "data_points": [{**POINT, "as_double": 2.5}],
                "aggregation_temporality": "AGGREGATION_TEMPORALITY_CUMULATIVE",
                "is_monotonic": True,
            }},
        ),
        (
            Reading("n", Kind.COUNTER, DIMS, -3, 5, 9),
            {"name": "n", "sum": {
                "data_points": [{**POINT, "as_int": "-3"}],
                "aggregation_temporality": "AGGREGATION_TEMPORALITY_DELTA",
            }},
        ),
        (
            Reading("n", Kind.GAUGE, DIMS, 2.5, 5, 9),
            {"name": "n", "gauge": {"data_points": [{**POINT, "as_double": 2.5}]}},
        ),
        (
            Reading("n", Kind.DISTRIBUTION, DIMS, Distribution.of([1, 2, 2, 8, 0]), 5, 9, "ns"),
            {"name": "n", "unit": "ns", "exponential_histogram": {
                "data_points": [{
                    **POINT, "count": "5", "sum": 13.0, "scale": 5, "zero_count": "1",
                    "positive": {"offset": -1, "bucket_counts": ["1", *["0"] * 31, "2",
                                                                 *["0"] * 63, "1"]},
                    "min": 0.0, "max": 8.0,
                }],
                "aggregation_temporality": "AGGREGATION_TEMPORALITY_DELTA",
            }},
        ),
        (
            Reading("n", Kind.DISTRIBUTION, DIMS,
                    Distribution(4, 7.5, None, 3, {0: 1, 2: 3}, bounds=(1.0, 2.0)), 5, 9),
            {"name": "n", "histogram": {
                "data_points": [{
                    **POINT, "count": "4", "sum": 7.5, "bucket_counts": ["1", "0", "3"],
                    "explicit_bounds": [1.0, 2.0], "max": 3.0,
                }],
                "aggregation_temporality": "AGGREGATION_TEMPORALITY_DELTA",
            }},
        ),
    ],
    ids=["counter", "cumulative", "down", "gauge", "distribution", "bounds"],
)  # fmt: skip
def test_each_kind_of_reading_is_a_metric_of_its_kind(otlp, reading, expected):
    assert metrics_of(otlp, reading) == [expected]


def test_series_of_one_instrument_are_points_of_one_metric(otlp):
    def reading(name, tenant):
        return Reading(name, Kind.COUNTER, (("tenant", tenant),), 1, 5, 9)

    metrics = metrics_of(otlp, reading("a", "x"), reading("b", "x"), reading("a", "y"))

    assert [(m["name"], len(m["sum"]["data_points"])) for m in metrics] == [("a", 2), ("b", 1)]


def test_rows_are_grouped_by_scope_in_the_order_of_their_first(otlp):
    events = [Event(str(i), i, {}, scope=scope) for i, scope in enumerate(["b", "", "b", "a"])]
    request = as_dict(
        ExportLogsServiceRequest, otlp.encode_logs(Batch(WHO, (), (), tuple(events)))
    )

    [resource] = request["resource_logs"]
    assert [
        (scope.get("scope"), [record["event_name"] for record in scope["log_records"]])
        for scope in resource["scope_logs"]
    ] == [({"name": "b"}, ["0", "2"]), (None, ["1"]), ({"name": "a"}, ["3"])]


def test_a_batch_without_rows_is_no_bytes(otlp):
    empty = Batch(WHO)

    assert (otlp.encode_traces(empty), otlp.encode_metrics(empty), otlp.encode_logs(empty)) == (
        b"",
        b"",
        b"",
    )


class Unprintable:
    def __str__(self):
        raise RuntimeError("no")


class Sub(str):
    pass


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("\ud800x", text("?x")),
        (2**63 - 1, {"int_value": str(2**63 - 1)}),
        (-(2**63), {"int_value": str(-(2**63))}),
        (2**63, text(str(2**63))),
        pytest.param(-(10**5000), text(hex(-(10**5000))), id="digits"),
        (float("nan"), {"double_value": "NaN"}),
        (float("-inf"), {"double_value": "-Infinity"}),
        (None, text("None")),
        ([1, "a"], text("[1, 'a']")),
        (b"\xff", text("b'\\xff'")),
        (Unprintable(), text("<Unprintable>")),
        (SpanKind.CLIENT, {"int_value": "3"}),
        (Sub("s"), text("s")),
    ],
)
def test_whatever_an_attribute_holds_is_told_somehow(otlp, value, expected):
    batch = Batch(Resource("s"), events=(Event("e", 1, {"k": value, 5: "\udfff"}),))
    request = as_dict(ExportLogsServiceRequest, otlp.encode_logs(batch))

    [record] = request["resource_logs"][0]["scope_logs"][0]["log_records"]
    assert record["attributes"] == [
        {"key": "k", "value": expected},
        {"key": "5", "value": text("?")},
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2**63, {"as_double": 2.0**63}),
        pytest.param(-(10**400), {"as_double": "-Infinity"}, id="beyond"),
        (float("nan"), {"as_double": "NaN"}),
        (True, {"as_int": "1"}),
    ],
)
def test_numbers_beyond_64_bits_become_floats_in_readings(otlp, value, expected):
    [metric] = metrics_of(otlp, Reading("n", Kind.GAUGE, (), value, 0, -5))

    assert metric["gauge"]["data_points"] == [expected]


def test_times_outside_64_bits_become_the_nearest_inside(otlp):
    batch = Batch(WHO, events=(Event("e", 2**64, {}), Event("e", -1, {})))
    request = ExportLogsServiceRequest.FromString(otlp.encode_logs(batch))

    records = request.resource_logs[0].scope_logs[0].log_records
    assert [record.time_unix_nano for record in records] == [2**64 - 1, 0]


def test_buckets_far_apart_are_merged_rather_than_filled_in_between(otlp):
    wide = Distribution(2, 3.0, None, None, {-(2**40): 1, 2**40: 1})
    [metric] = metrics_of(otlp, Reading("n", Kind.DISTRIBUTION, (), wide, 5, 9))

    [point] = metric["exponential_histogram"]["data_points"]
    counts = point["positive"]["bucket_counts"]
    assert len(counts) <= otlp_pure.DENSE_MAX
    assert [count for count in counts if count != "0"] == ["1", "1"]


@given(batches(any_text))
def test_both_twins_write_the_same_bytes(batch):
    c = import_module(TWINS["c"])

    assert c.encode_traces(batch) == otlp_pure.encode_traces(batch)
    assert c.encode_metrics(batch) == otlp_pure.encode_metrics(batch)
    assert c.encode_logs(batch) == otlp_pure.encode_logs(batch)


def test_names_made_up_at_run_time_take_no_memory_for_good():
    for i in range(5000):
        otlp_pure.encode_logs(Batch(WHO, events=(Event("e", 1, {f"name{i}": 1}),)))

    assert len(otlp_bytes._LABELS) <= otlp_bytes._LABELS_MAX


SPAN = SpanRecord(
    b"t" * 16, b"s" * 8, b"", "n", SpanKind.SERVER, 1, 2, {"k": 1}, Status.ERROR, "m",
    (Event("e", 1, {}),), (Link(b"t" * 16, b"s" * 8, {}),),
)  # fmt: skip
READINGS = (
    Reading("n", Kind.COUNTER, DIMS, 3, 5, 9),
    Reading("n", Kind.DISTRIBUTION, DIMS, Distribution.of([1, 2, 0, -4]), 5, 9),
    Reading(
        "n", Kind.DISTRIBUTION, DIMS, Distribution(1, 1, 1, 1, {0: 1}, bounds=(1.0,)), 5, 9
    ),
)
JUNK = [
    None,
    3,
    -1,
    2**200,
    1.5,
    float("nan"),
    "\ud800",
    b"x",
    (),
    (1,),
    [[]],
    {1: 2},
    object(),
]


def spoilt(row):
    """The row with each field in turn, and each field of its parts, made junk."""
    for index, content in enumerate(row):
        for junk in JUNK:
            yield row._make([*row[:index], junk, *row[index + 1 :]])
        if isinstance(content, Distribution):
            for part in spoilt(content):
                yield row._make([*row[:index], part, *row[index + 1 :]])
        elif isinstance(content, tuple) and content and isinstance(content[0], Event | Link):
            for part in spoilt(content[0]):
                yield row._make([*row[:index], (part,), *row[index + 1 :]])


def told(encode, batch):
    try:
        return encode(batch)
    except (TypeError, ValueError, AttributeError, OverflowError, struct.error):
        return None


def test_what_is_no_batch_is_an_exception_and_never_more(otlp):
    batches = [
        *spoilt(Batch(WHO, READINGS, (SPAN,), (SPAN.events[0],))),
        *(Batch(WHO, spans=(span,)) for span in spoilt(SPAN)),
        *(Batch(WHO, events=(event,)) for event in spoilt(SPAN.events[0])),
        *(Batch(WHO, (reading,)) for one in READINGS for reading in spoilt(one)),
    ]
    for batch in [*batches, *JUNK]:
        for encode in (otlp.encode_traces, otlp.encode_metrics, otlp.encode_logs):
            assert isinstance(told(encode, batch), bytes | None)
