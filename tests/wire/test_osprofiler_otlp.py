"""Spans of OSProfiler's own OTLP driver are those that its points would have become."""

import json

import pytest
from osprofiler.drivers.otlp import OTLP

from nilometer.model import Batch, Event, Resource, SpanKind, SpanRecord, Status
from nilometer.wire import osprofiler_otlp, otlp_pure
from nilometer.wire.osprofiler import BASE_ID, PARENT_ID, POINT_ID, START_INFO, STOP_INFO
from nilometer.wire.osprofiler import payloads as report_of
from nilometer.wire.osprofiler_points import point_of, span_of
from nilometer.wire.otlp_in import decode_traces

pytestmark = pytest.mark.usefixtures("either_twin")

TRACE, SPAN = bytes(range(1, 17)), bytes(range(1, 9))
POINTS_ONLY = {BASE_ID, POINT_ID, PARENT_ID, START_INFO, STOP_INFO}
URL = {"method": "GET", "path": "/a", "query": "", "scheme": "http"}
INFOS = {
    "wsgi": {"request": URL},
    "http": {"requests": {**URL, "query": "x=1", "hostname": "c2", "port": 80}},
    "db": {"db": {"statement": "SELECT 1", "params": {"n": 1}}},
    "rpc": {"function": {"name": "m.f", "args": "(1,)", "kwargs": "{}"}},
}


def told(attributes, *events, scope=osprofiler_otlp.SCOPE, status=Status.UNSET):
    """What a collector reads of a span with these attributes."""
    span = SpanRecord(
        TRACE,
        SPAN,
        b"",
        "n",
        SpanKind.INTERNAL,
        1,
        2,
        attributes,
        status,
        "",
        events,
        (),
        scope,
    )
    body = otlp_pure.encode_traces(Batch(Resource("s"), spans=(span,)))
    [[found]] = [batch.spans for batch in decode_traces(body, json=False).batches]
    return found


def failure(**attributes):
    return Event("log", 2, attributes)


@pytest.mark.parametrize("name", INFOS)
def test_what_the_driver_tells_has_the_names_that_its_points_have(name):
    payload = {"name": f"{name}-start", "base_id": "b", "trace_id": "t", "parent_id": "b",
               "timestamp": "2026-11-20T10:00:00.0", "info": INFOS[name]}  # fmt: skip
    driven = told(OTLP.create_span_tags(None, payload))
    pointed = span_of(point_of(payload), None).attributes

    same = {key: value for key, value in driven.attributes.items() if key in pointed}
    assert same == {
        key: json.dumps(json.loads(value)) if key == "osprofiler.params" else value
        for key, value in pointed.items()
        if key not in POINTS_ONLY and key != "osprofiler.lacking"
    }
    assert set(driven.attributes) - set(same) <= {"osprofiler.args", "osprofiler.kwargs"}
    start, _ = report_of(driven, Resource("s"), 1)
    group = "request" if "requests" in INFOS[name] else next(iter(INFOS[name]))
    shown, whole = start["info"][group], next(iter(INFOS[name].values()))
    assert shown == {key: driven.attributes["osprofiler.params"] if key == "params" else value
                     for key, value in whole.items() if key in shown}  # fmt: skip


def test_what_failed_is_a_failure_and_its_reason_stands_where_ours_do():
    other = Event("other", 2, {"a": 1})
    found = told(
        {"error": True, "status_code": 500, "result": "r"},
        other,
        failure(**{"error.kind": "ValueError", "message": "no"}),
    )
    unnamed = told({"error": True}, failure(**{"error.kind": "E"}))  # str(None) is not sent

    assert (found.status, found.status_message, found.events) == (Status.ERROR, "no", (other,))
    assert found.attributes == {
        "http.response.status_code": 500,
        "osprofiler.result": "r",
        "error.type": "ValueError",
    }
    assert (unnamed.status, unnamed.status_message) == (Status.ERROR, "")
    assert unnamed.attributes == {"error.type": "E"}
    _, stop = report_of(found, Resource("s"), 1)
    assert (stop["info"]["etype"], stop["info"]["message"]) == ("ValueError", "no")


def test_json_is_understood_as_protobuf_is():
    span = {
        "traceId": TRACE.hex(),
        "spanId": SPAN.hex(),
        "name": "SQL_SELECT",
        "attributes": [
            {"key": "db.statement", "value": {"stringValue": "SELECT 1"}},
            {"key": "error", "value": {"boolValue": True}},
        ],
    }
    scope = {"scope": {"name": osprofiler_otlp.SCOPE}, "spans": [span]}
    body = json.dumps({"resourceSpans": [{"scopeSpans": [scope]}]}).encode()

    [[found]] = [batch.spans for batch in decode_traces(body, json=True).batches]

    assert found.status is Status.ERROR
    assert found.attributes == {"db.query.text": "SELECT 1", "error.type": "Error"}


@pytest.mark.parametrize("scope", ["", "osprofiler", "osprofiler.drivers.otlp.mine"])
def test_spans_of_nobody_else_are_touched(scope):
    attributes, event = {"error": True, "name": "n", "db.statement": "s"}, failure(message="m")

    found = told(attributes, event, scope=scope)

    assert (found.attributes, found.status) == (attributes, Status.UNSET)
    assert found.events == (event,)


def test_whoever_uses_the_driver_s_name_is_bounded_as_its_points_are():
    found = told({"error": True, "db.statement": "s" * 10_001}, failure(**{"error.kind": 7}))

    assert found.attributes == {"db.query.text": "s" * 10_000, "error.type": "7"}
    assert found.status is Status.ERROR
