"""OSProfiler's points become spans, and the spans its points again."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.errors import WireError
from nilometer.model import Resource, SpanKind, Status
from nilometer.wire.osprofiler import LACKING, payloads
from nilometer.wire.osprofiler_points import point_of, points_of, span_of, spans_of_points

BASE = "f09d33fd-1234-4f5e-8d3e-0b8e6b0a9c11"
ROOT = "7a2b6c1e-9f00-4a55-b6d7-0c9d1e2f3a4b"
CHILD = "00000000-0000-0000-0000-00000000000c"


def told(name, own=ROOT, parent=BASE, second=0, **info):
    return {
        "name": name,
        "base_id": BASE,
        "trace_id": own,
        "parent_id": parent,
        "timestamp": f"2026-11-20T10:00:0{second}.000123",
        "info": {**info, "host": "api-1"},
        "project": "nova",
        "service": "osapi_compute",
    }


WSGI = told(
    "wsgi-start",
    request={"path": "/servers", "query": "a=1", "method": "GET", "scheme": "http"},
)
DB = told("db-start", CHILD, ROOT, 1, db={"statement": "SELECT ?", "params": ["x"]})
FAILED = told("db-stop", CHILD, ROOT, 2, etype="IntegrityError", message="no", db={"a": 1})


def test_an_event_by_the_name_of_points_that_is_none_is_left_out():
    event = point_of(dict(WSGI)).event
    forged = [
        event._replace(body=body)
        for body in ("", "{}", "[]", "nonsense", '{"name": 1e999}', "[" * 10**5, '"x-start"')
    ]

    assert points_of([*forged, event]) == [point_of(dict(WSGI))]


def test_a_pair_is_a_span_in_our_words_and_a_child_of_its_parent():
    db = span_of(point_of(DB), point_of(FAILED))

    assert db[:5] == (
        bytes.fromhex(BASE.replace("-", "")),
        bytes.fromhex("000000000000000c"),
        bytes.fromhex("b6d70c9d1e2f3a4b"),
        "db",
        SpanKind.CLIENT,
    )
    assert db.ended_ns - db.started_ns == 10**9
    assert (db.status, db.status_message) == (Status.ERROR, "no")
    assert {key: db.attributes[key] for key in ("db.query.text", "error.type")} == {
        "db.query.text": "SELECT ?",
        "error.type": "IntegrityError",
    }
    wsgi = span_of(point_of(WSGI), point_of(told("wsgi-stop", second=3)))
    assert (wsgi.parent_id, wsgi.kind) == (b"", SpanKind.SERVER)
    assert wsgi.attributes["url.path"] == "/servers"
    assert point_of(WSGI).resource == Resource(
        "osapi_compute", "api-1", attributes=(("service.namespace", "nova"),)
    )


@pytest.mark.parametrize(("start", "stop"), [(DB, FAILED), (WSGI, told("wsgi-stop", second=3))])
def test_a_span_that_was_two_points_is_told_as_these_again(start, stop):
    first = point_of(json.loads(json.dumps(start)))
    span = span_of(first, point_of(json.loads(json.dumps(stop))))

    assert payloads(span, first.resource, span.ended_ns - span.started_ns) == (start, stop)


def test_a_point_alone_takes_no_time_and_says_what_it_lacks():
    start, stop = point_of(WSGI), point_of(told("wsgi-stop", second=3))

    for span, lacking in ((span_of(start, None), "stop"), (span_of(None, stop), "start")):
        assert (span.name, span.ended_ns - span.started_ns) == ("wsgi", 0)
        assert span.attributes[LACKING] == lacking
    assert [s.name for _, s in spans_of_points([start, point_of(DB), stop])] == ["wsgi", "db"]
    assert LACKING not in spans_of_points([stop, start])[0][1].attributes


def test_ids_that_are_no_uuids_and_times_that_are_missing_are_taken():
    odd = {"name": "x-stop", "base_id": "a", "trace_id": 7, "parent_id": "a"}

    point = point_of(odd, at_ns=5)
    span = span_of(None, point)

    assert (point.at_ns, span.parent_id, len(span.trace_id)) == (5, b"", 16)
    assert span.attributes["osprofiler.base_id"] == "a"
    assert span.attributes["osprofiler.trace_id"] == "7"


@pytest.mark.parametrize(
    "payload",
    [
        None,
        [],
        {},
        {**WSGI, "name": "wsgi"},
        {**WSGI, "name": 7},
        {**WSGI, "name": "x" * 300 + "-start"},
        {**WSGI, "base_id": ""},
        {**WSGI, "base_id": None},
        {**WSGI, "trace_id": ["a"]},
        {**WSGI, "parent_id": True},
        {**WSGI, "base_id": "x" * 256},
        {**WSGI, "info": "text"},
    ],
    ids=range(12),
)
def test_what_is_no_point_is_refused(payload):
    with pytest.raises(WireError) as refused:
        point_of(payload)

    assert refused.value.reason == "point"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-9, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["request", "db", "function", "statement", "method", "etype", "x"]),
            inner,
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["request", "db", "etype", "message", "host"]), VALUES))
def test_whatever_its_info_a_point_becomes_a_span_and_keeps_it(info):
    payload = {**WSGI, "info": info}
    point = point_of(json.loads(json.dumps(payload)))
    span = span_of(point, point._replace(stops=True))

    start, stop = payloads(span, point.resource, 0)

    assert all(isinstance(v, str | int | float | bool) for v in span.attributes.values())
    assert (start["info"] == info and stop["info"] == info) or not info
