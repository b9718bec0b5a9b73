"""Laws of Ceilometer's API: its shapes to the letter, no sample left out, its own errors."""

from __future__ import annotations

import json
import operator
from base64 import b64encode
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.api import traces
from nilometer.api.ceilometer import complex as tree
from nilometer.api.ceilometer import found as finding
from nilometer.api.ceilometer.faults import Fault
from nilometer.api.ceilometer.told import Told, told_of
from nilometer.model import Batch, Resource, SpanKind, SpanRecord, Status
from nilometer.wire.osprofiler_points import point_of, span_of
from tests.asked import asking

BASE = "f09d33fd-1234-4f5e-8d3e-0b8e6b0a9c11"
ROOT = "7a2b6c1e-9f00-4a55-b6d7-0c9d1e2f3a4b"
CHILD = "00000000-0000-0000-0000-00000000000c"
LONE = "00000000-0000-0000-0000-00000000000d"
TRACE = BASE.replace("-", "")
NOVA = Resource("osapi", "api-1", attributes=(("service.namespace", "nova"),))
ORDERS = Resource("orders", "o-1")
S = 10**9
NOON = 1_795_003_200 * S  # 2026-11-18T12:00:00Z


def point(name, own, parent, second, **info):
    return {
        "name": name,
        "base_id": BASE,
        "trace_id": own,
        "parent_id": parent,
        "timestamp": f"2026-11-18T11:00:{second:02d}.000000",
        "info": {**info, "host": "api-1"},
        "project": "nova",
        "service": "osapi",
    }


REQUEST = {"path": "/servers", "query": "a=1", "method": "GET", "scheme": "http"}
POINTS = [
    point("wsgi-start", ROOT, BASE, 0, request=REQUEST),
    point("db-start", CHILD, ROOT, 1, db={"statement": "SELECT 1", "params": ["x", None]}),
    point("db-stop", CHILD, ROOT, 2, etype="IntegrityError", message="no"),
    point("rpc-start", LONE, ROOT, 3, function={"name": "f"}),
    point("wsgi-stop", ROOT, BASE, 4),
]
READ = [point_of(json.loads(json.dumps(told))) for told in POINTS]
PAIRS = [span_of(READ[0], READ[4]), span_of(READ[1], READ[2])]


def ours(number, name="GET /orders", at_s=0, lasts_s=1):
    """A span that has nothing of OSProfiler's."""
    return SpanRecord(
        number.to_bytes(16),
        number.to_bytes(8),
        b"",
        name,
        SpanKind.SERVER,
        NOON + at_s * S,
        NOON + (at_s + lasts_s) * S,
        {"http.request.method": "GET", "url.path": "/orders"},
        Status.UNSET,
    )


BATCHES = [
    Batch(READ[3].resource, events=(READ[3].event,)),
    Batch(NOVA, spans=tuple(PAIRS)),
    Batch(ORDERS, spans=(ours(1), ours(2, "GET /", at_s=10))),
]


def ident(point_, which):
    return f"{TRACE}-{point_.span_id.hex()}-{which}"


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    with asking(tmp_path_factory.mktemp("store"), BATCHES) as ask:
        yield ask


def of(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()


def where(*conditions, **more):
    """A query as python-ceilometerclient writes it."""
    parts = {"q.field": [], "q.op": [], "q.type": [], "q.value": []}
    for field, op, value, *kind in conditions:
        for part, told in zip(parts, (field, op, *(kind or [""]), value), strict=True):
            parts[part].append(told)
    return {**parts, **more}


def samples_where(ask, filter_, **more):
    told = {"filter": json.dumps(filter_)} | more
    return ask("/v2/query/samples", method="POST", body=json.dumps(told))


def test_an_event_is_the_one_that_ceilometer_kept_of_the_notification(ask):
    answer = of(ask("/v2/events", **where(("base_id", "eq", BASE), limit=100000)))

    first = answer[0]
    traits = {trait["name"]: (trait["type"], trait["value"]) for trait in first.pop("traits")}
    assert [each["message_id"] for each in answer] == [
        ident(READ[0], "start"),
        ident(READ[1], "start"),
        ident(READ[1], "stop"),
        ident(READ[3], "start"),
        ident(READ[0], "stop"),
    ]
    assert first == {
        "message_id": ident(READ[0], "start"),
        "event_type": "profiler.osapi",
        "generated": "2026-11-18T11:00:00.000000",
        "raw": {
            "message_id": ident(READ[0], "start"),
            "publisher_id": "api-1",
            "event_type": "profiler.osapi",
            "priority": "info",
            "payload": POINTS[0],
            "timestamp": "2026-11-18 11:00:00.000000",
        },
    }
    assert traits == {
        "project": ("string", "nova"),
        "service": ("string", "osapi"),
        "name": ("string", "wsgi-start"),
        "base_id": ("string", BASE),
        "trace_id": ("string", ROOT),
        "parent_id": ("string", BASE),
        "timestamp": ("datetime", "2026-11-18T11:00:00.000000"),
        "host": ("string", "api-1"),
        **{key: ("string", value) for key, value in REQUEST.items()},
    }
    assert [each["raw"]["payload"] for each in answer] == POINTS


def test_a_sample_is_the_one_that_ceilometer_made_of_the_notification(ask):
    answer = of(samples_where(ask, {"=": {"resource_id": f"profiler-{BASE}"}}))

    assert [each["meter"] for each in answer] == [
        *("wsgi-stop", "rpc-start", "db-stop", "db-start", "wsgi-start"),
    ]
    assert answer[3] == {
        "id": ident(READ[1], "start"),
        "meter": "db-start",
        "type": "gauge",
        "unit": "trace",
        "volume": 1.0,
        "user_id": None,
        "project_id": None,
        "resource_id": f"profiler-{BASE}",
        "source": "openstack",
        "timestamp": "2026-11-18T11:00:01.000000",
        "recorded_at": "2026-11-18T11:00:01.000000",
        "metadata": {
            "name": "db-start",
            "base_id": BASE,
            "trace_id": CHILD,
            "parent_id": ROOT,
            "timestamp": "2026-11-18T11:00:01.000000",
            "project": "nova",
            "service": "osapi",
            "event_type": "profiler.osapi",
            "host": "api-1",
            "info.host": "api-1",
            "info.db:statement": "SELECT 1",
            "info.db:params": "['x', None]",
        },
    }


def test_a_span_that_osprofiler_never_saw_is_two_samples_all_the_same(ask):
    answer = of(ask("/v2/samples", **where(("metadata.service", "eq", "orders"), limit=2)))
    events = of(ask("/v2/events", **where(("path", "eq", "/orders"))))

    assert [(each["meter"], each["timestamp"]) for each in answer] == [
        ("GET /-stop", "2026-11-18T12:00:11.000000"),
        ("GET /-start", "2026-11-18T12:00:10.000000"),
    ]
    assert [each["raw"]["payload"]["name"] for each in events] == [
        "GET /orders-start",
        "GET /-start",
    ]


def test_each_event_and_each_sample_is_found_by_its_id(ask):
    for event in of(ask("/v2/events")):
        assert of(ask(f"/v2/events/{event['message_id']}")) == event
    for sample in of(ask("/v2/samples")):
        assert of(ask(f"/v2/samples/{sample['id']}")) == sample


NAMES = ["wsgi-start", "db-start", "db-stop", "rpc-start", "wsgi-stop"]
LATER = ["GET /orders-start", "GET /orders-stop", "GET /-start", "GET /-stop"]


@pytest.mark.parametrize(
    ("conditions", "names"),
    [
        ([], NAMES + LATER),
        ([("event_type", "eq", "profiler.osapi")], NAMES),
        ([("event_type", "", "profiler.nobody")], []),
        ([("base_id", "eq", BASE), ("name", "eq", "db-stop")], ["db-stop"]),
        ([("base_id", "eq", BASE), ("base_id", "eq", ROOT)], []),
        ([("base_id", "ne", BASE)], LATER),
        ([("name", "ge", "rpc-start", "string")], ["wsgi-start", "rpc-start", "wsgi-stop"]),
        ([("name", "eq", "1", "integer")], []),
        ([("db.params", "ne", "")], ["db-start"]),
        ([("start_timestamp", "ge", "2026-11-18T11:00:04")], ["wsgi-stop", *LATER]),
        ([("end_timestamp", "le", "2026-11-18T11:00:01Z")], ["wsgi-start", "db-start"]),
        ([("timestamp", "gt", "2026-11-18T12:00:10", "datetime")], ["GET /-stop"]),
        ([("name", "gt", "2026-11-18T12:00:10", "datetime")], []),
    ],
)
def test_events_are_chosen_by_type_time_and_any_trait_the_oldest_first(ask, conditions, names):
    answer = of(ask("/v2/events", **where(*conditions)))

    assert [each["raw"]["payload"]["name"] for each in answer] == names


@pytest.mark.parametrize(
    ("conditions", "names"),
    [
        ([("meter", "eq", "db-stop")], ["db-stop"]),
        ([("resource_id", "eq", f"profiler-{BASE}")], NAMES),
        ([("resource", "eq", BASE)], []),
        ([("message_id", "eq", ident(READ[3], "start"))], ["rpc-start"]),
        ([("source", "eq", "openstack"), ("metadata.project", "eq", "nova")], NAMES),
        ([("metadata.info.request:path", "eq", "/servers")], ["wsgi-start"]),
        ([("metadata.info.request.path", "eq", "/servers")], ["wsgi-start"]),
        ([("user_id", "eq", "None")], []),
        ([("timestamp", "lt", "2026-11-18T11:00:01")], ["wsgi-start"]),
        (
            [
                ("timestamp", "ge", "2026-11-18T11:00:01"),
                ("timestamp", "lt", "2026-11-18T12:00:00"),
            ],
            NAMES[1:],
        ),
    ],
)
def test_samples_are_chosen_by_their_fields_and_metadata_the_newest_first(
    ask, conditions, names
):
    answer = of(ask("/v2/samples", **where(*conditions)))

    assert [each["meter"] for each in answer] == names[::-1]


@pytest.mark.parametrize(
    ("filter_", "names"),
    [
        ({"!=": {"resource": f"profiler-{BASE}"}}, LATER),
        ({"in": {"meter": ["db-start", "db-stop"]}}, ["db-start", "db-stop"]),
        ({"NOT": {"=": {"metadata.service": "osapi"}}}, LATER),
        ({"=>": {"volume": 1}}, NAMES + LATER),
        ({"<": {"counter_volume": 1.0}}, []),
        ({">": {"meter": 5}}, []),
        ({"=": {"metadata.project": True}}, []),
        (
            {
                "Or": [
                    {"=": {"meter": "rpc-start"}},
                    {
                        "and": [
                            {"=": {"resource_id": f"profiler-{BASE}"}},
                            {">": {"timestamp": "2026-11-18T11:00:03"}},
                        ]
                    },
                ]
            },
            ["rpc-start", "wsgi-stop"],
        ),
    ],
)
def test_a_filter_is_a_tree_of_conditions(ask, filter_, names):
    assert [each["meter"] for each in of(samples_where(ask, filter_))] == names[::-1]


def test_samples_come_in_the_order_that_is_asked_for(ask):
    def meters(*order, **more):
        told = {"orderby": json.dumps(order), **more}
        answer = of(samples_where(ask, {"=": {"metadata.project": "nova"}}, **told))
        return [each["meter"] for each in answer]

    assert meters({"timestamp": "ASC"}) == NAMES
    assert meters({"meter": "desc"}) == sorted(NAMES, reverse=True)
    assert meters({"volume": "asc"}, {"meter": "asc"}, limit=2) == ["db-start", "db-stop"]
    assert meters({"user": "asc"}, {"timestamp": "desc"}) == NAMES[::-1]


def test_meters_are_each_name_of_each_trace_and_statistics_count(ask):
    meters = of(ask("/v2/meters", **where(("resource", "eq", f"profiler-{BASE}"))))
    old = of(ask("/v2/meters/db-start", limit=1))
    whole = of(ask("/v2/meters/wsgi-start/statistics"))
    apart = of(ask("/v2/meters/GET%20%2F-stop/statistics", period=60, groupby="source"))

    assert sorted(each["name"] for each in meters) == sorted(NAMES)
    assert meters[0] == {
        "name": "wsgi-stop",
        "type": "gauge",
        "unit": "trace",
        "resource_id": f"profiler-{BASE}",
        "project_id": None,
        "user_id": None,
        "source": "openstack",
        "meter_id": b64encode(f"profiler-{BASE}+wsgi-stop".encode()).decode(),
    }
    assert [(each["counter_name"], each["counter_volume"]) for each in old] == [
        ("db-start", 1.0)
    ]
    assert old[0]["resource_metadata"]["trace_id"] == CHILD
    assert (old[0]["message_id"], old[0]["resource_id"]) == (
        ident(READ[1], "start"),
        f"profiler-{BASE}",
    )
    at = "2026-11-18T11:00:00.000000"
    assert whole == [
        {
            "count": 1,
            "sum": 1.0,
            "avg": 1.0,
            "min": 1.0,
            "max": 1.0,
            "unit": "trace",
            "groupby": None,
            "duration": 0.0,
            "duration_start": at,
            "duration_end": at,
            "period": 0,
            "period_start": at,
            "period_end": at,
        }
    ]
    assert [(each["groupby"], each["period"]) for each in apart] == [
        ({"source": "openstack"}, 60)
    ]


@pytest.mark.parametrize(
    ("path", "parameters", "status", "fault"),
    [
        ("/v2/events", where(("name", "like", "x")), 400, "Operator like is not supported."),
        (
            "/v2/events",
            where(("event_type", "ne", "x")),
            400,
            "Operator ne is not supported. Only `eq' operator is available for field ",
        ),
        (
            "/v2/events",
            where(("start_timestamp", "eq", "x")),
            400,
            "Operator eq is not supported. Only `ge' operator",
        ),
        (
            "/v2/events",
            where(("start_timestamp", "ge", "soon")),
            400,
            "Invalid input for field/attribute start_timestamp. Value: 'soon'. invalid ",
        ),
        (
            "/v2/events",
            where(("name", "eq", "x", "blob")),
            400,
            "The data type blob is not supported. The supported data type list is: ",
        ),
        (
            "/v2/events",
            where(("name", "eq", "x", "float")),
            400,
            "Unable to convert the value x to the expected data type float.",
        ),
        ("/v2/events", {"limit": "0"}, 400, "Limit must be positive"),
        ("/v2/events", {"limit": "x"}, 400, "Invalid input for field/attribute limit. "),
        ("/v2/events", {"sort": "x"}, 400, 'Unknown argument: "sort"'),
        ("/v2/events", {"q.field": "a"}, 400, "Invalid input for field/attribute q.value. "),
        ("/v2/events/none", {}, 404, "Event none Not Found"),
        ("/v2/samples/none", {}, 404, "Sample none Not Found"),
        ("/v2/samples", where(("colour", "eq", "x")), 400, 'Unknown argument: "colour"'),
        (
            "/v2/samples",
            where(("meter", "ne", "x")),
            400,
            "Invalid input for field/attribute op. Value: 'ne'. unimplemented operator for ",
        ),
        ("/v2/samples", where(("timestamp", "eq", "x")), 400, "Invalid input"),
        ("/v2/meters/x/statistics", {"period": "-1"}, 400, "Period must be positive."),
        ("/v2/meters/x/statistics", {"period": "x"}, 400, "Invalid input"),
        ("/v2/meters/x/statistics", {"groupby": "x"}, 400, 'Unknown argument: "x"'),
        ("/v2/alarms", {}, 404, "Not Found"),
    ],
)
def test_what_cannot_be_answered_gets_ceilometers_own_error(
    ask, path, parameters, status, fault
):
    answer = ask(path, **parameters)

    told = answer.json()["error_message"]
    assert answer.status_code == status
    assert told.pop("faultstring").startswith(fault)
    assert told == {"debuginfo": None, "faultcode": "Client"}


DEEP: dict[str, object] = {"=": {"meter": "x"}}
for _ in range(60):
    DEEP = {"not": DEEP}


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"{", "Request is not valid JSON"),
        (b"[" * 100_000, "Request is not valid JSON"),
        (b"[]", "Request is not a JSON object"),
        ({"sort": 1}, 'Unknown argument: "sort"'),
        ({"limit": 0}, "Limit must be positive"),
        ({"filter": {}}, "Invalid input for field/attribute filter."),
        ({"filter": "x"}, "Filter expression not valid: "),
        ({"filter": "[]"}, "Filter expression not valid: '[]' is no object with one member"),
        ({"filter": "{}"}, "Filter expression not valid: '{}' is no object with one member"),
        (
            {"filter": '{"=~": {"meter": "x"}}'},
            "Filter expression not valid: no operator '=~' (and, or, not, in, =, ",
        ),
        ({"filter": '{"=": {"colour": 1}}'}, "Filter expression not valid: no field 'colour'"),
        ({"filter": '{"=": {"meter": null}}'}, "Filter expression not valid: 'None' is no"),
        ({"filter": '{"=": {"meter": []}}'}, "Filter expression not valid: '[]' is no text"),
        ({"filter": '{"in": {"meter": []}}'}, "Filter expression not valid: in has a list"),
        ({"filter": '{"in": {"meter": [{}]}}'}, "Filter expression not valid: in has a list"),
        ({"filter": '{"and": [{"=": {"meter": 1}}]}'}, "Filter expression not valid: and has"),
        ({"filter": '{"=": {"timestamp": "x"}}'}, "Invalid input for field/attribute timest"),
        ({"filter": json.dumps(DEEP)}, "Filter expression not valid: nested deeper than 50"),
        ({"orderby": "{}"}, "Order-by expression not valid: it is a list"),
        ({"orderby": '[{"colour": "asc"}]'}, "Order-by expression not valid: no field"),
        ({"orderby": '[{"meter": "up"}]'}, "Order-by expression not valid: 'up' is neither"),
        (rb'{"\ud800": 1}', "Request is not valid JSON"),
        (rb'{"limit": "\ud800"}', "Request is not valid JSON"),
        ({"filter": r'{"=": {"\ud800": "x"}}'}, "Filter expression not valid: "),
        ({"filter": r'{"=": {"resource_id": "\udfff"}}'}, "Filter expression not valid: "),
        ({"orderby": r'[{"\ud800": "asc"}]'}, "Order-by expression not valid: "),
    ],
    ids=range(26),
)
def test_a_body_that_is_no_query_gets_ceilometers_own_error(ask, body, fault):
    content = body if isinstance(body, bytes) else json.dumps(body)
    answer = ask("/v2/query/samples", method="POST", body=content)

    assert answer.status_code == 400
    assert answer.json()["error_message"]["faultstring"].startswith(fault)


def test_a_query_that_would_have_to_look_at_too_much_is_refused_and_never_cut(ask, monkeypatch):
    monkeypatch.setattr(finding, "SPANS_LOOKED", 2)

    newest = of(ask("/v2/samples", limit=2))
    oldest = of(ask("/v2/events", limit=2))
    refused = [
        ask("/v2/samples", limit=100),
        samples_where(ask, {"=": {"meter": "rpc-start"}}),
        samples_where(ask, {"!=": {"meter": ""}}, orderby='[{"meter": "asc"}]', limit=1),
    ]

    assert [each["meter"] for each in newest] == ["GET /-stop", "GET /-start"]
    assert [each["raw"]["payload"]["name"] for each in oldest] == NAMES[:2]
    for answer in refused:
        assert answer.status_code == 400
        assert "looks at more than 2 spans" in answer.json()["error_message"]["faultstring"]
    of(ask("/v2/samples", **where(("resource", "eq", f"profiler-{BASE}"))))


def test_spans_that_came_again_hide_no_others_and_count_once(tmp_path, monkeypatch):
    many = [ours(number, "op", at_s=number) for number in range(1, 13)]
    again = many[-3:] * 2
    with asking(tmp_path, [Batch(ORDERS, spans=(each,)) for each in many + again]) as ask:
        asked = [
            ("/v2/samples", {"limit": 100}),
            ("/v2/meters", {"limit": 100}),
            ("/v2/meters/op-start/statistics", {}),
        ]
        for looked in (4, 10, 11):
            monkeypatch.setattr(finding, "SPANS_LOOKED", looked)
            answers = [ask(path, **told) for path, told in asked]
            assert [answer.status_code for answer in answers] == [400] * 3
        monkeypatch.setattr(finding, "SPANS_LOOKED", 12)
        samples, _, [statistics] = (of(ask(path, **told)) for path, told in asked)

    assert (len(samples), statistics["count"]) == (24, 12)


def test_spans_that_came_very_often_are_refused_where_others_may_be_behind_them(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(finding, "SPANS_LOOKED", 2)
    often = [Batch(ORDERS, spans=(ours(9, at_s=9),) * 30)]
    with asking(tmp_path, [*often, Batch(ORDERS, spans=(ours(1), ours(2)))]) as ask:
        answer = ask("/v2/samples", limit=100)

    assert answer.status_code == 400
    told = answer.json()["error_message"]["faultstring"]
    assert "came more than 8 times each; ask for less time" in told


def test_a_trace_that_is_too_large_is_refused_and_never_cut(ask, monkeypatch):
    of_trace = where(("resource", "eq", f"profiler-{BASE}"))

    whole = of(ask("/v2/samples", **of_trace))
    monkeypatch.setattr(traces, "SPANS_MAX", 1)
    answer = ask("/v2/samples", **of_trace)

    assert len(whole) == 5
    assert answer.status_code == 400
    told = answer.json()["error_message"]["faultstring"]
    assert f"trace {TRACE} has more than" in told


SAMPLES = [told for pair in [(NOVA, each) for each in PAIRS] for told in told_of(*pair)]
OPS = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, ">=": operator.ge}
leaves = st.tuples(
    st.sampled_from(sorted(OPS)),
    st.sampled_from(["counter_name", "metadata.trace_id", "resource_id"]),
    st.sampled_from(["wsgi-start", "db-stop", ROOT, f"profiler-{BASE}", "profiler-x"]),
).map(lambda leaf: {leaf[0]: {leaf[1]: leaf[2]}})
filters = st.recursive(
    leaves,
    lambda below: (
        st.lists(below, min_size=2, max_size=3).map(lambda each: {"and": each})
        | st.lists(below, min_size=2, max_size=3).map(lambda each: {"or": each})
        | below.map(lambda one: {"not": one})
    ),
    max_leaves=8,
)


def passes(filter_, told: Told):
    """What a filter means."""
    [(op, below)] = filter_.items()
    if op in ("and", "or"):
        return {"and": all, "or": any}[op](passes(each, told) for each in below)
    if op == "not":
        return not passes(below, told)
    [(field, value)] = below.items()
    sample = told.old_sample()
    found = sample[field] if field in sample else sample["resource_metadata"]["trace_id"]
    return OPS[op](found, value)


@given(filters)
def test_what_the_tables_are_asked_for_holds_all_that_passes_a_filter(filter_):
    wanted = tree.wanted_by(filter_)

    for told in SAMPLES:
        assert wanted.test(told) == passes(filter_, told)
        if wanted.test(told):
            assert wanted.trace_id in (None, TRACE)


@given(st.recursive(st.none() | st.text() | st.floats(), lambda below: (
    st.lists(below, max_size=2)
    | st.dictionaries(st.sampled_from(["=", "in", "and", "not", "meter", "timestamp"]), below)
)))  # fmt: skip
def test_whatever_a_filter_is_it_is_taken_or_refused(filter_):
    with suppress(Fault):
        wanted = tree.wanted_by(filter_)
        assert all(wanted.test(told) in (True, False) for told in SAMPLES)
