"""OTLP requests become batches; what is wrong is refused by itself and said."""

import json
import re
import subprocess
import sys
import tracemalloc

import pytest
from google.protobuf.internal.encoder import _VarintBytes
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from nilometer.errors import WireError
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
from nilometer.wire import otlp_count, otlp_in, otlp_json, otlp_pure, otlp_values
from nilometer.wire.otlp_count import MESSAGES_MAX
from nilometer.wire.otlp_in import decode_logs, decode_metrics, decode_traces
from nilometer.wire.otlp_metrics_in import BUCKETS_MAX
from nilometer.wire.otlp_values import ROWS_MAX
from tests.wire.batches import batches

DECODERS = [decode_traces, decode_metrics, decode_logs]
ID, SPAN = bytes(range(1, 17)), bytes(range(1, 9))

both_twins = pytest.mark.usefixtures("either_twin")


def by_scope(rows):
    """What one request keeps of an order: rows of a scope stand together."""
    scopes = list(dict.fromkeys(row.scope for row in rows))
    return tuple(sorted(rows, key=lambda row: scopes.index(row.scope)))


@both_twins
@given(batches())
def test_decoding_undoes_encoding(batch):
    who = batch.resource
    traces = decode_traces(otlp_pure.encode_traces(batch), json=False)
    metrics = decode_metrics(otlp_pure.encode_metrics(batch), json=False)
    logs = decode_logs(otlp_pure.encode_logs(batch), json=False)

    assert traces == (
        (Batch(who, spans=by_scope(batch.spans)),) if batch.spans else (),
        {},
    )
    assert logs == ((Batch(who, events=by_scope(batch.events)),) if batch.events else (), {})
    assert metrics.rejected == {}
    assert [one.resource for one in metrics.batches] == ([who] if batch.readings else [])
    read = [reading for one in metrics.batches for reading in one.readings]
    assert sorted(read, key=repr) == sorted(batch.readings, key=repr)


RESOURCE_JSON = {
    "attributes": [
        {"key": "service.name", "value": {"stringValue": "compute"}},
        {"key": "process.pid", "value": {"intValue": "12"}},
        {"key": "deploy", "value": {"intValue": 7}},
    ]
}
WHO = Resource("compute", pid=12, attributes=(("deploy", 7),))


def test_spans_of_json_have_hexadecimal_ids_and_numbers_as_texts():
    body = {
        "resourceSpans": [
            {
                "resource": RESOURCE_JSON,
                "scopeSpans": [
                    {
                        "scope": {"name": "orders"},
                        "spans": [
                            {
                                "traceId": ID.hex().upper(),
                                "spanId": SPAN.hex(),
                                "parentSpanId": "",
                                "name": "GET",
                                "kind": 2,
                                "startTimeUnixNano": "1544712660000000000",
                                "endTimeUnixNano": 1544712661000000000,
                                "attributes": [
                                    {"key": "a", "value": {"stringValue": "\u00e9"}},
                                    {"key": "b", "value": {"boolValue": False}},
                                    {"key": "c", "value": {"doubleValue": "NaN"}},
                                    {"key": "d", "value": {"doubleValue": 0}},
                                    {"key": "e", "value": {"bytesValue": "/w=="}},
                                    {"key": "f", "value": None},
                                    {
                                        "key": "g",
                                        "value": {
                                            "kvlistValue": {
                                                "values": [
                                                    {
                                                        "key": "x",
                                                        "value": {
                                                            "arrayValue": {
                                                                "values": [
                                                                    {"intValue": "1"},
                                                                    {},
                                                                ]
                                                            }
                                                        },
                                                    }
                                                ]
                                            }
                                        },
                                    },
                                ],
                                "events": [{"timeUnixNano": "5", "name": "ev"}],
                                "links": [
                                    {"traceId": ID.hex(), "spanId": SPAN.hex()},
                                    {"traceId": "00", "spanId": SPAN.hex()},
                                ],
                                "status": {"code": "STATUS_CODE_ERROR", "message": "m"},
                                "unknownMember": [1, {"x": 2}],
                            }
                        ],
                    }
                ],
            }
        ]
    }

    decoded = decode_traces(json.dumps(body).encode(), json=True)

    [span] = decoded.batches[0].spans
    attributes = dict(span.attributes)
    assert str(attributes.pop("c")) == "nan"
    assert attributes == {
        "a": "\u00e9",
        "b": False,
        "d": 0.0,
        "e": '"/w=="',
        "f": "null",
        "g": '{"x": [1, null]}',
    }
    assert (decoded.batches[0].resource, decoded.rejected) == (WHO, {})
    assert span._replace(attributes={}) == SpanRecord(
        ID,
        SPAN,
        b"",
        "GET",
        SpanKind.SERVER,
        1544712660000000000,
        1544712661000000000,
        {},
        Status.ERROR,
        "m",
        (Event("ev", 5, {}),),
        (Link(ID, SPAN, {}),),
        "orders",
    )


def metrics_json(metric):
    body = {
        "resourceMetrics": [
            {
                "resource": RESOURCE_JSON,
                "scopeMetrics": [{"scope": {"name": "s"}, "metrics": [metric]}],
            }
        ]
    }
    return decode_metrics(json.dumps(body).encode(), json=True)


POINT = {
    "attributes": [{"key": "code", "value": {"intValue": "200"}}],
    "startTimeUnixNano": "5",
    "timeUnixNano": "9",
}
DIMS = (("code", "200"),)


def reading(kind, value, name="n", dims=DIMS, *, cumulative=False, unit="By"):
    return Reading(name, kind, dims, value, 5, 9, unit, "d", "s", cumulative)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"gauge": {"dataPoints": [{**POINT, "asDouble": 2.5}]}}, [reading(Kind.GAUGE, 2.5)]),
        ({"gauge": {"dataPoints": [{**POINT, "asInt": "-3"}]}}, [reading(Kind.GAUGE, -3)]),
        ({"gauge": {"dataPoints": [{**POINT, "asInt": "0"}]}}, [reading(Kind.GAUGE, 0)]),
        ({"gauge": {"dataPoints": [{**POINT, "flags": 1}]}}, []),
        (
            {
                "sum": {
                    "dataPoints": [{**POINT, "asInt": "3"}],
                    "aggregationTemporality": 1,
                    "isMonotonic": True,
                }
            },
            [reading(Kind.COUNTER, 3)],
        ),
        (
            {"sum": {"dataPoints": [{**POINT, "asInt": "-3"}], "aggregationTemporality": 1}},
            [reading(Kind.COUNTER, -3)],
        ),
        (
            {
                "sum": {
                    "dataPoints": [{**POINT, "asInt": "3"}],
                    "aggregationTemporality": 2,
                    "isMonotonic": True,
                }
            },
            [reading(Kind.COUNTER, 3, cumulative=True)],
        ),
        (
            {"sum": {"dataPoints": [{**POINT, "asInt": "3"}], "aggregationTemporality": 2}},
            [reading(Kind.GAUGE, 3)],
        ),
        (
            {
                "histogram": {
                    "dataPoints": [
                        {
                            **POINT,
                            "count": "3",
                            "sum": 4.5,
                            "min": 1,
                            "max": 2,
                            "bucketCounts": ["1", "0", 2],
                            "explicitBounds": [1, 2],
                        }
                    ],
                    "aggregationTemporality": 2,
                }
            },
            [
                reading(
                    Kind.DISTRIBUTION,
                    Distribution(3, 4.5, 1, 2, {0: 1, 2: 2}, bounds=(1.0, 2.0)),
                    cumulative=True,
                )
            ],
        ),
        (
            {
                "histogram": {
                    "dataPoints": [{**POINT, "count": "3", "sum": 4.5, "bucketCounts": ["3"]}],
                    "aggregationTemporality": 1,
                }
            },
            [reading(Kind.DISTRIBUTION, Distribution(3, 4.5, None, None))],
        ),
        (
            {
                "histogram": {
                    "dataPoints": [
                        {
                            **POINT,
                            "count": "3",
                            "bucketCounts": ["1", "2"],
                            "explicitBounds": [10],
                        }
                    ],
                    "aggregationTemporality": 1,
                }
            },
            [
                reading(
                    Kind.DISTRIBUTION,
                    Distribution(3, 30.0, None, None, {0: 1, 1: 2}, bounds=(10.0,)),
                )
            ],
        ),
        (
            {
                "exponentialHistogram": {
                    "dataPoints": [
                        {
                            **POINT,
                            "count": "6",
                            "sum": 1,
                            "scale": -2,
                            "zeroCount": "1",
                            "positive": {"offset": -1, "bucketCounts": ["1", "0", "2"]},
                            "negative": {"offset": 3, "bucketCounts": ["2"]},
                        }
                    ],
                    "aggregationTemporality": 1,
                }
            },
            [
                reading(
                    Kind.DISTRIBUTION,
                    Distribution(6, 1, None, None, {-1: 1, 1: 2}, 1, {3: 2}, scale=-2),
                )
            ],
        ),
        (
            {
                "summary": {
                    "dataPoints": [
                        {
                            **POINT,
                            "count": "4",
                            "sum": 10,
                            "quantileValues": [
                                {"quantile": 0.5, "value": 2.5},
                                {"quantile": 0.9, "value": "NaN"},
                            ],
                        }
                    ]
                }
            },
            [
                reading(Kind.COUNTER, 4, "n.count", cumulative=True, unit="1"),
                reading(Kind.COUNTER, 10, "n.sum", cumulative=True),
                reading(Kind.GAUGE, 2.5, dims=(("code", "200"), ("quantile", "0.5"))),
            ],
        ),
    ],
)
def test_every_kind_of_metric_is_read(data, expected):
    decoded = metrics_json({"name": "n", "unit": "By", "description": "d", **data})

    assert decoded == ((Batch(WHO, tuple(expected)),) if expected else (), {})


def point(**fields):
    return {"sum": {"dataPoints": [{**POINT, **fields}], "aggregationTemporality": 1}}


def exponential(**fields):
    return {
        "exponentialHistogram": {
            "dataPoints": [{**POINT, "count": "1", "sum": 1, **fields}],
            "aggregationTemporality": 1,
        }
    }


def explicit(**fields):
    return {
        "histogram": {
            "dataPoints": [{**POINT, "count": "1", "sum": 1, **fields}],
            "aggregationTemporality": 1,
        }
    }


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({}, "kind"),
        ({"sum": {"dataPoints": [{**POINT, "asInt": "1"}]}}, "temporality"),
        (point(), "value"),
        (point(asDouble="NaN"), "value"),
        (point(asDouble="Infinity"), "value"),
        (point(asInt="1", timeUnixNano=str(2**63)), "time"),
        (exponential(scale=-10), "scale"),
        (exponential(scale=21), "scale"),
        (exponential(sum="NaN", zeroCount="1"), "value"),
        (exponential(count=str(2**63)), "count"),
        (exponential(zeroCount=str(2**63)), "count"),
        (exponential(positive={"offset": 1024, "bucketCounts": ["1"]}), "buckets"),
        (exponential(negative={"offset": -(2**31), "bucketCounts": ["1"]}), "buckets"),
        (exponential(positive={"offset": 0, "bucketCounts": [str(2**63)]}), "count"),
        (explicit(bucketCounts=["1"], explicitBounds=[1]), "buckets"),
        (explicit(bucketCounts=["1", "1"]), "buckets"),
        (explicit(count="99", bucketCounts=["1", "2"], explicitBounds=[1]), "buckets"),
        (explicit(count="2", bucketCounts=["1", "2"], explicitBounds=[1]), "buckets"),
        (explicit(count="2", bucketCounts=["1"]), "buckets"),
        (exponential(count="2", zeroCount="1"), "buckets"),
        (
            exponential(count="2", zeroCount="1", positive={"bucketCounts": ["1", "1"]}),
            "buckets",
        ),
        (explicit(bucketCounts=["1", "0", "0"], explicitBounds=[2, 1]), "bounds"),
        (explicit(bucketCounts=["1", "0"], explicitBounds=["NaN"]), "bounds"),
        ({"summary": {"dataPoints": [{"sum": "NaN"}]}}, "value"),
        ({"summary": {"dataPoints": [{"count": str(2**63)}]}}, "count"),
    ],
)
def test_a_point_that_means_nothing_is_refused_by_its_reason(data, reason):
    assert metrics_json({"name": "n", **data}) == ((), {reason: 1})


@pytest.mark.parametrize("points", [1, 3])
@pytest.mark.parametrize("side", ["positive", "negative", "explicit"])
def test_a_request_of_too_many_buckets_is_refused_before_they_take_memory(side, points):
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="many")
    data = metric.histogram if side == "explicit" else metric.exponential_histogram
    data.aggregation_temporality = 1
    for _ in range(points):
        point = data.data_points.add(count=1)
        held = point if side == "explicit" else getattr(point, side)
        held.bucket_counts.extend([1] * (BUCKETS_MAX // points + 1))
    body = request.SerializeToString()

    tracemalloc.start()
    try:
        with pytest.raises(WireError) as refused:
            decode_metrics(body, json=False)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert refused.value.reason == "too-large"
    assert peak < 250 * BUCKETS_MAX


@pytest.mark.parametrize("scale", [-9, 0, 20])
def test_every_bucket_that_is_let_in_can_be_asked_for_quantiles(scale):
    octaves = 2.0**scale
    edges = [int(-1076 * octaves), int(1024 * octaves) - 1]
    for offset in edges:
        data = exponential(scale=scale, positive={"offset": offset, "bucketCounts": ["1"]})
        [batch] = metrics_json({"name": "n", **data}).batches

        assert batch.readings[0].value.quantile(0.5) >= 0


def spans_request(**fields):
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    spans.add(trace_id=ID, span_id=SPAN, name="good")
    spans.add(**{"trace_id": ID, "span_id": SPAN, "name": "bad", **fields})
    return request.SerializeToString()


@both_twins
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"trace_id": b""}, "trace-id"),
        ({"trace_id": b"short"}, "trace-id"),
        ({"trace_id": bytes(16)}, "trace-id"),
        ({"span_id": b"x" * 9}, "span-id"),
        ({"span_id": bytes(8)}, "span-id"),
        ({"parent_span_id": b"x"}, "parent-id"),
        ({"start_time_unix_nano": 2**63}, "time"),
        ({"end_time_unix_nano": 2**64 - 1}, "time"),
    ],
)
def test_an_invalid_span_is_refused_and_its_neighbour_kept(fields, reason):
    decoded = decode_traces(spans_request(**fields), json=False)

    assert [span.name for batch in decoded.batches for span in batch.spans] == ["good"]
    assert (decoded.rejected, decoded.because) == ({reason: 1}, f"{reason}: 1")


def test_a_hexadecimal_id_that_is_none_refuses_its_span_only():
    spans = [{"traceId": ID.hex(), "spanId": id_} for id_ in ("zz", SPAN.hex())]
    body = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}

    decoded = decode_traces(json.dumps(body).encode(), json=True)

    assert (len(decoded.batches[0].spans), decoded.rejected) == (1, {"span-id": 1})


@both_twins
def test_a_parent_of_zeros_is_none_and_unknown_numbers_mean_unspecified():
    body = spans_request(parent_span_id=bytes(8), kind=77, status={"code": -5})

    [batch] = decode_traces(body, json=False).batches
    assert (batch.spans[1].parent_id, batch.spans[1].kind, batch.spans[1].status) == (
        b"",
        SpanKind.UNSPECIFIED,
        Status.UNSET,
    )


@both_twins
def test_equal_resources_are_one_batch():
    request = ExportTraceServiceRequest()
    for name in ("a", "b", "a"):
        resource_spans = request.resource_spans.add()
        resource_spans.resource.attributes.add(key="service.name").value.string_value = name
        resource_spans.scope_spans.add().spans.add(trace_id=ID, span_id=SPAN)

    decoded = decode_traces(request.SerializeToString(), json=False)

    assert [(b.resource.service, b.rows) for b in decoded.batches] == [("a", 2), ("b", 1)]


def test_a_log_record_without_a_name_takes_the_one_of_older_senders():
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    old = records.add(observed_time_unix_nano=7, severity_number=99, trace_id=b"bad")
    old.attributes.add(key="event.name").value.string_value = "vm.boot"
    old.body.kvlist_value.values.add(key="k").value.int_value = 1
    records.add(time_unix_nano=2**63)

    decoded = decode_logs(request.SerializeToString(), json=False)

    event = Event("vm.boot", 7, {}, severity=0, body='{"k": 1}')
    assert decoded == ((Batch(Resource(), events=(event,)),), {"time": 1})


def nested(levels):
    value = AnyValue(string_value="deep")
    for _ in range(levels):
        value = AnyValue(array_value={"values": [value]})
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(trace_id=ID, span_id=SPAN)
    span.attributes.append(KeyValue(key="k", value=value))
    return request


@both_twins
def test_values_nested_as_deep_as_allowed_are_told_and_deeper_ones_refused():
    [batch] = decode_traces(nested(40).SerializeToString(), json=False).batches

    assert batch.spans[0].attributes == {"k": "[" * 40 + '"deep"' + "]" * 40}
    with pytest.raises(WireError) as refused:
        decode_traces(b"\x0a\xff\xff\xff\x7f" + nested(45).SerializeToString(), json=False)
    assert refused.value.reason == "malformed"


def refusal(decode, body, *, json):
    with pytest.raises(WireError) as refused:
        decode(body, json=json)
    return refused.value.reason


def deep_json(levels):
    value = '{"arrayValue":{"values":[' * levels + "{}" + "]}}" * levels
    attributes = '"attributes":[{"key":"k","value":' + value + "}]"
    return ('{"resourceSpans":[{"resource":{' + attributes + "}}]}").encode()


@both_twins
@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize(
    ("body", "as_json", "reason"),
    [
        (b"\xff", False, "malformed"),
        (b"\x0a\x05abc", False, "malformed"),
        (b"\x0a\x02\x0a\x00" * 3 + b"\x0a", False, "malformed"),
        (b"", True, "json"),
        (b"\xff\xfe", True, "json"),
        (b"[" * 200_000, True, "too-deep"),
        (b"[]", True, "field"),
        (b"3", True, "field"),
    ],
)
def test_what_is_no_request_is_refused_whole_with_a_reason(decode, body, as_json, reason):
    assert refusal(decode, body, json=as_json) == reason


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("name", 5),
        ("startTimeUnixNano", -1),
        ("startTimeUnixNano", "x"),
        ("startTimeUnixNano", 1.5),
        ("startTimeUnixNano", True),
        ("startTimeUnixNano", "9" * 5000),
        ("startTimeUnixNano", "DIGITS"),
        ("startTimeUnixNano", 1e300),
        ("kind", "NO_SUCH_KIND"),
        ("attributes", {}),
        ("attributes", [5]),
        ("attributes", [{"key": "k", "value": {"arrayValue": {"values": [5]}}}]),
        ("status", []),
        ("traceId", 5),
    ],
)
def test_a_member_of_a_wrong_type_is_named_and_refuses_its_span_only(member, value):
    good = {"traceId": ID.hex(), "spanId": SPAN.hex(), "startTimeUnixNano": "5"}
    spans = [good, {**good, member: value}, good]
    body = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}
    text = json.dumps(body).replace('"DIGITS"', "9" * 5000)

    decoded = decode_traces(text.encode(), json=True)

    assert len(decoded.batches[0].spans) == 2
    assert decoded.rejected == {"field": 1}
    assert decoded.because.startswith("field: 1 (")
    assert not re.search(r"set_int_max|int\(\)|float:", decoded.because)  # Python's words
    assert len(decoded.because) < 200
    assert member in decoded.because or member in ("attributes", "status")


@pytest.mark.parametrize("bad", [[1], None, {"asInt": "abc"}, {"asDouble": "x"}, 7])
@pytest.mark.parametrize(
    "kind", ["gauge", "sum", "histogram", "exponentialHistogram", "summary"]
)
def test_a_bad_data_point_of_json_refuses_none_of_its_neighbours(kind, bad):
    good = {"timeUnixNano": "9", "asInt": "5"} if kind in ("gauge", "sum") else {"count": "0"}
    if isinstance(bad, dict) and kind not in ("gauge", "sum"):
        bad = {"count": "-1"}
    data = {"aggregationTemporality": 2, "dataPoints": [good, bad, good]}
    alone = metrics_json({"name": "n", kind: {**data, "dataPoints": [good, good]}})

    decoded = metrics_json({"name": "n", kind: data})

    assert alone.batches[0].readings
    assert (decoded.batches, decoded.rejected) == (alone.batches, {"field": 1})


def test_a_bad_record_of_json_refuses_none_of_its_neighbours():
    records = [{"timeUnixNano": "1"}, {"severityNumber": []}, {"timeUnixNano": "2"}]
    body = {"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}

    decoded = decode_logs(json.dumps(body).encode(), json=True)

    assert [event.at_ns for event in decoded.batches[0].events] == [1, 2]
    assert decoded.because == "field: 1 (severityNumber: list, not a number)"


def test_too_many_wrong_items_refuse_their_request_whole(monkeypatch):
    monkeypatch.setattr(otlp_json, "REFUSED_MAX", 3)

    def of(wrong):
        body = {"resourceSpans": [{"scopeSpans": [{"spans": [5] * wrong}]}]}
        return json.dumps(body).encode()

    assert decode_traces(of(3), json=True).rejected == {"field": 3}
    assert refusal(decode_traces, of(4), json=True) == "field"


@pytest.mark.parametrize(
    "scope", [{"spans": {}}, {"scope": 5}, {"scope": {"name": 5}, "spans": []}, 5]
)
def test_what_many_items_share_refuses_all_of_them(scope):
    body = {"resourceSpans": [{"scopeSpans": [scope]}]}

    assert refusal(decode_traces, json.dumps(body).encode(), json=True) == "field"


def test_json_nested_too_deep_is_refused():
    assert refusal(decode_traces, deep_json(200), json=True) == "too-deep"


def test_half_a_surrogate_pair_in_json_becomes_a_question_mark():
    body = {
        "resourceSpans": [
            {
                "scopeSpans": [
                    {"spans": [{"traceId": ID.hex(), "spanId": SPAN.hex(), "name": "a\ud800b"}]}
                ]
            }
        ]
    }

    [batch] = decode_traces(json.dumps(body).encode(), json=True).batches
    assert batch.spans[0].name == "a?b"


@both_twins
def test_a_body_too_large_is_not_even_parsed(monkeypatch):
    monkeypatch.setattr(otlp_in, "BODY_BYTES_MAX", 10)

    assert refusal(decode_traces, b"x" * 11, json=False) == "too-large"


def field(tag, content):
    return bytes([tag]) + _VarintBytes(len(content)) + content


def wrapped(rows):
    """As the rows of the one scope of the one resource, in each of the three requests."""
    return field(10, field(18, rows))


SIZE = 16 << 20
METRIC = field(10, b"n")
HOSTILE = {
    "resources": ("traces", b"\x0a\x00" * (SIZE // 2)),
    "spans": ("traces", wrapped(b"\x12\x00" * (SIZE // 2 - 10))),
    "events": ("traces", wrapped(field(18, b"\x5a\x00" * (SIZE // 2 - 20)))),
    "attributes": ("traces", wrapped(field(18, b"\x4a\x00" * (SIZE // 2 - 20)))),
    "records": ("logs", wrapped(b"\x12\x00" * (SIZE // 2 - 10))),
    "points": (
        "metrics",
        wrapped(field(18, METRIC + field(42, b"\x0a\x00" * (SIZE // 2 - 20)))),
    ),
    "quantiles": (
        "metrics",
        wrapped(field(18, METRIC + field(90, field(10, b"\x32\x00" * (SIZE // 2 - 30))))),
    ),
    # Tags and lengths may be told in more bytes than they need.
    "long tags": ("logs", wrapped(b"\x92\x80\x00\x80\x00" * (SIZE // 5 - 10))),
    # Unknown groups are passed over; what follows them is not.
    "groups": ("logs", wrapped(b"\xa3\x06\xa4\x06" + b"\x12\x00" * (SIZE // 2 - 20))),
}
HOSTILE_JSON = {
    "spans": b'{"resourceSpans":[{"scopeSpans":[{"spans":[' + b"{}," * (5 << 20) + b"{}]}]}]}",
    "lists": b'{"x":[' + b"[]," * (5 << 20) + b"[]]}",
}


@both_twins
@pytest.mark.parametrize("what", HOSTILE)
def test_a_body_of_millions_of_nothings_is_refused_before_it_is_parsed(what):
    signal, body = HOSTILE[what]

    assert len(body) <= SIZE
    assert refusal(getattr(otlp_in, f"decode_{signal}"), body, json=False) == "too-large"


@pytest.mark.parametrize("what", HOSTILE_JSON)
def test_json_of_millions_of_nothings_is_refused_before_it_is_parsed(what):
    assert refusal(decode_traces, HOSTILE_JSON[what], json=True) == "too-large"


def full(rows):
    """The bodies that hold so many rows, by what they hold."""
    span = field(18, b"\x0a\x10" + ID + b"\x12\x08" + SPAN)
    number = b"\x0a\x09\x31" + bytes(8)
    summary = b"\x0a\x04\x32\x00\x32\x00"  # two quantiles, a count and a sum
    return {
        "spans": ("traces", wrapped(span * rows)),
        "records": ("logs", wrapped(b"\x12\x00" * rows)),
        "points": ("metrics", wrapped(field(18, METRIC + field(42, number * rows)))),
        "summaries": ("metrics", wrapped(field(18, METRIC + field(90, summary * (rows // 4))))),
    }


@both_twins
@pytest.mark.parametrize("what", full(4))
def test_as_many_rows_as_may_be_are_read_and_more_are_refused(monkeypatch, what):
    monkeypatch.setattr(otlp_values, "ROWS_MAX", 400)
    signal, body = full(400)[what]
    decode = getattr(otlp_in, f"decode_{signal}")

    assert sum(batch.rows for batch in decode(body, json=False).batches) == 400
    assert refusal(decode, full(404)[what][1], json=False) == "too-large"


PEAK = """
import re, sys
from pathlib import Path
from nilometer.errors import WireError
from nilometer.wire import otlp_in
signal, as_json = sys.argv[1:]
try:
    getattr(otlp_in, "decode_" + signal)(sys.stdin.buffer.read(), json=as_json == "json")
except WireError:
    pass
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.slow  # so that no sanitizer runs it, which takes more memory than is reckoned with
@pytest.mark.parametrize(
    ("signal", "encoding", "body"),
    [
        ("logs", "protobuf", HOSTILE["records"][1]),
        ("logs", "protobuf", wrapped(b"\x12\x00" * (MESSAGES_MAX - 4))),
        ("metrics", "protobuf", full(ROWS_MAX)["summaries"][1]),
        ("traces", "protobuf", HOSTILE["events"][1]),
        ("traces", "protobuf", wrapped(field(18, b"\x5a\x00" * (MESSAGES_MAX - 4)))),
        ("traces", "json", HOSTILE_JSON["spans"]),
    ],
    ids=[
        "too many records",
        "as many messages as may be",
        "as many rows",
        "too many events",
        "as many events as may be",
        "JSON",
    ],
)
def test_no_body_takes_more_memory_than_was_reckoned(signal, encoding, body):
    ran = subprocess.run(
        [sys.executable, "-c", PEAK, signal, encoding], input=body, capture_output=True
    )

    # the interpreter with protobuf, the body twice, and 600 bytes for each of a million
    assert int(ran.stdout) << 10 < (64 << 20) + 2 * SIZE + 600 * MESSAGES_MAX, ran.stderr


def all_messages(message):
    """How many messages lie below this one, attributes' own contents apart."""
    found = 0
    for told, value in message.ListFields():
        if told.message_type is not None:
            for one in value if told.is_repeated else [value]:
                closed = told.message_type.name in ("KeyValue", "AnyValue")
                found += 1 if closed else 1 + all_messages(one)
    return found


@given(batches())
def test_messages_are_counted_without_parsing_as_they_are_parsed(batch):
    for encode, kind in (
        (otlp_pure.encode_traces, ExportTraceServiceRequest),
        (otlp_pure.encode_metrics, ExportMetricsServiceRequest),
        (otlp_pure.encode_logs, ExportLogsServiceRequest),
    ):
        body = encode(batch)
        request = kind.FromString(body)

        assert otlp_count.messages(body, kind.DESCRIPTOR, SIZE) == all_messages(request)


@given(st.sampled_from([ExportTraceServiceRequest, ExportMetricsServiceRequest]), st.binary())
def test_any_bytes_are_counted(kind, body):
    assert 0 <= otlp_count.messages(body, kind.DESCRIPTOR, SIZE) <= len(body)


def outcome(decode, body, *, json):
    try:
        return type(decode(body, json=json))
    except WireError as error:
        return error.reason


REASONS = {otlp_in.Decoded, "malformed", "json", "too-deep", "field"}


@both_twins
@given(st.sampled_from(DECODERS), st.binary(max_size=200), st.booleans())
def test_any_bytes_are_answered(decode, body, as_json):
    assert outcome(decode, body, json=as_json) in REASONS


@both_twins
@given(batches(), st.data())
def test_mutated_requests_are_answered(batch, data):
    for encode, decode in (
        (otlp_pure.encode_traces, decode_traces),
        (otlp_pure.encode_metrics, decode_metrics),
        (otlp_pure.encode_logs, decode_logs),
    ):
        body = bytearray(encode(batch))
        for _ in range(min(3, len(body))):
            body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
        cut = data.draw(st.integers(0, len(body)))

        assert outcome(decode, bytes(body), json=False) in REASONS
        assert outcome(decode, bytes(body[:cut]), json=False) in REASONS


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.just("01" * 16),
)
members = st.sampled_from(
    [
        "resourceSpans",
        "scopeSpans",
        "spans",
        "resource",
        "attributes",
        "key",
        "value",
        "traceId",
        "stringValue",
        "intValue",
        "arrayValue",
        "values",
        "kind",
        "status",
        "code",
        "events",
        "resourceMetrics",
        "scopeMetrics",
        "metrics",
        "sum",
        "histogram",
        "exponentialHistogram",
        "dataPoints",
        "count",
        "bucketCounts",
        "explicitBounds",
        "positive",
        "offset",
        "scale",
        "resourceLogs",
        "scopeLogs",
        "logRecords",
        "body",
        "bytesValue",
        "name",
    ]
)
documents = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(members, inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.sampled_from(DECODERS), documents)
def test_any_json_is_answered(decode, document):
    assert outcome(decode, json.dumps(document).encode(), json=True) in REASONS


@both_twins
def test_an_empty_request_is_no_batch():
    assert [decode(b"", json=False) for decode in DECODERS] == [((), {})] * 3
    assert [decode(b"{}", json=True) for decode in DECODERS] == [((), {})] * 3
    assert ExportMetricsServiceRequest().SerializeToString() == b""
