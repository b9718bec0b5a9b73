"""Laws of the REST interface: what lies in the tables comes out, and errors say what to do."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager
from urllib.parse import quote
from uuid import UUID

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nilometer.api import traces
from nilometer.api.native import api
from nilometer.api.queries import THREADS, Queries
from nilometer.api.trees import NESTED_MAX
from nilometer.clock import wall_ns
from nilometer.errors import StoreError
from nilometer.model import (
    Batch,
    Distribution,
    Event,
    Kind,
    Reading,
    Resource,
    SpanKind,
    SpanRecord,
    Status,
)
from nilometer.store import measured
from nilometer.store.lake import Lake
from nilometer.store.query import Reader
from nilometer.store.reading import Questions
from nilometer.wire.osprofiler_points import point_of

S = 10**9
NOW = wall_ns() // (3600 * S) * 3600 * S  # a whole hour, so that periods are told in advance
TRACE = bytes(range(1, 17))
DEEP = bytes(range(2, 18))
HOSTILE = "<script>alert('x')</script>'; DROP TABLE spans; -- \u202e\x01\n"


def span(number, parent, name, start, end, *, trace=TRACE, **told):
    return SpanRecord(
        trace,
        number.to_bytes(8, "big"),
        parent.to_bytes(8, "big") if parent else b"",
        name,
        told.pop("kind", SpanKind.INTERNAL),
        NOW + start,
        NOW + end,
        told.pop("attributes", {}),
        **told,
    )


SPANS = (
    span(1, 0, "GET /orders", 0, 100, kind=SpanKind.SERVER, attributes={"request_id": "r-1"}),
    span(2, 1, "select", 10, 30, attributes={"n": 1, "ok": True, "share": 0.5}),
    span(
        3,
        1,
        HOSTILE,
        40,
        90,
        status=Status.ERROR,
        status_message=HOSTILE,
        attributes={HOSTILE: HOSTILE, "odd": float("nan")},
        events=(Event("retry", NOW + 50, {"n": 2}),),
    ),
    span(4, 99, "lost child", 20, 25),
)
DEPTH = 1500
CHAIN = tuple(span(n, n - 1, f"level {n}", n, 2 * DEPTH, trace=DEEP) for n in range(1, DEPTH))


def timed(route, *values, service_at=0):
    return Reading(
        "http.server.request",
        Kind.DISTRIBUTION,
        (("http.route", route),),
        Distribution.of(values),
        NOW + service_at - 10 * S,
        NOW + service_at,
        "ns",
        "How long requests took.",
    )


def counted(name, value, at=0, **dimensions):
    pairs = tuple(sorted(dimensions.items()))
    return Reading(name, Kind.COUNTER, pairs, value, NOW + at - 10 * S, NOW + at, "1")


BATCHES = (
    Batch(
        Resource("orders", "c1", 42),
        (
            timed("/", 100, 200, 300),
            timed("/a", 1000, service_at=60 * S),
            counted("sold", 3, kind=HOSTILE),
            counted("nilometer.lost", 5, what="spans", reason="ring_full"),
            Reading("pool.used", Kind.GAUGE, (), 7, NOW, NOW),
        ),
        SPANS,
    ),
    Batch(Resource("stock", "c2", 7), (timed("/", 700),), CHAIN),
)


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """``ask("traces", limit=1)``: the answer of an API on tables that hold BATCHES."""
    with asking(tmp_path_factory.mktemp("store"), BATCHES) as ask:
        yield ask


@contextmanager
def asking(store, batches):
    Lake(store, durability="os").append(batches)
    reader = Reader(store)
    with asyncio.Runner() as runner:
        queries = Queries()
        all_at_once = threading.Barrier(THREADS + 1)  # they are nobody's who asks
        for _ in range(THREADS):
            queries._pool.submit(all_at_once.wait)
        all_at_once.wait(10)
        app = api(reader, queries, lambda: HEALTH)

        async def get(path, parameters):
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
                return await client.get(f"/api/v1/{path}", params=parameters)

        yield lambda path, **parameters: runner.run(get(path, parameters))
        queries.close()
    reader.close()


HEALTH = {
    "status": "ok",
    "version": "1",
    "pending_rows": 0,
    "commits_failed": 0,
    "broken_files": [],
    "uptime_ns": 1,
}
SINCE = str(NOW - 3600 * S)


def test_health_says_how_busy_the_collector_is(ask):
    assert ask("health").json() == HEALTH


# --- Traces --------------------------------------------------------------------------------


def test_a_trace_in_the_list_says_what_it_is_about(ask):
    answer = ask("traces", service="orders").json()

    (row,) = answer["traces"]
    assert answer["more"] is False
    assert row.pop("started").endswith("Z")
    assert row == {
        "id": TRACE.hex(),
        "root": "GET /orders",
        "service": "orders",
        "started_ns": NOW,
        "duration_ns": 100,
        "spans": 4,
        "errors": 1,
    }


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, [DEEP, TRACE]),
        ({"service": "stock"}, [DEEP]),
        ({"name": "select"}, [TRACE]),
        ({"request_id": "r-1"}, [TRACE]),
        ({"request_id": "r-2"}, []),
        ({"error": "true"}, [TRACE]),
        ({"error": "false"}, [DEEP]),
        ({"min_duration": "2us"}, [DEEP]),
        ({"min_duration": "1s"}, []),
        ({"max_duration": "2us"}, [TRACE]),
        ({"min_duration": "50ns", "max_duration": "100ns"}, []),
        ({"min_span": "2us"}, [DEEP]),
        ({"name": "select", "min_span": "2us"}, []),
        ({"kind": "producer"}, []),
        ({"attribute": "share=0.5"}, [TRACE]),
        ({"attribute": ["n=1", "ok=true"]}, [TRACE]),
        ({"attribute": ["n=1", "request_id=r-1"]}, []),
        ({"attribute": f"{HOSTILE}={HOSTILE}"}, [TRACE]),
        ({"since": SINCE}, [DEEP, TRACE]),
        ({"until": SINCE}, []),
        ({"service": "orders", "error": "false"}, []),
        ({"service": HOSTILE}, []),
        ({"name": HOSTILE}, [TRACE]),
    ],
)
def test_traces_are_found_by_all_that_is_given(ask, asked, found):
    rows = ask("traces", **asked).json()["traces"]

    assert sorted(row["id"] for row in rows) == sorted(trace.hex() for trace in found)


def test_a_span_whose_clock_stepped_back_lasted_nothing_and_is_listed(tmp_path):
    Lake(tmp_path, durability="os").append(
        [Batch(Resource("s"), (), (span(1, 0, "stepped", 100, 40),))]
    )
    reader = Reader(tmp_path)
    try:
        (found,) = reader.find_traces()
    finally:
        reader.close()

    assert (found.root, found.duration_ns) == ("stepped", 0)


@pytest.mark.parametrize("name", ["a\nb", "\n", "a\r\n/series", HOSTILE, "a/b?c=d#e%0A"])
def test_a_metric_is_found_by_any_name_that_it_has(tmp_path, name):
    path = f"metrics/{quote(name, safe='')}"
    with asking(tmp_path, [Batch(Resource("s", "c"), (counted(name, 3),))]) as ask:
        told = {
            what: ask(f"{path}/{what}", since=SINCE).json()
            for what in ("statistics", "series", "dimensions")
        }

    assert [one.get("name") for one in told.values()] == [name] * 3
    assert [one["sum"] for one in told["statistics"]["statistics"]] == [3]


def test_a_list_that_was_cut_says_so(ask):
    answer = ask("traces", limit=1).json()

    assert (len(answer["traces"]), answer["more"]) == (1, True)


def test_a_trace_with_more_spans_than_are_read_says_so_and_counts_none_twice(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(traces, "SPANS_MAX", 4)
    many = [span(n, 1 if n > 1 else 0, "op", n, n + 1) for n in range(1, 6)]
    lone = {
        "name": "x-start",
        "base_id": str(UUID(bytes=TRACE)),
        "parent_id": str(UUID(bytes=TRACE)),
        "info": {},
    }
    points = [
        point_of({**lone, "trace_id": f"p{after}"}, at_ns=NOW + after).event for after in (3, 7)
    ]
    alone = Batch(Resource("orders"), events=tuple(points))

    def shown(*batches):
        place = tmp_path / str(len(list(tmp_path.iterdir())))
        with asking(place, batches) as ask:
            told = ask(f"traces/{TRACE.hex()}").json()
            drawn = ask(f"traces/{TRACE.hex()}", format="html").text
        assert told["more"] == ("those that started first, the trace has more" in drawn)
        return told["spans"], told["more"]

    spans, four = (Batch(Resource("orders"), (), tuple(many[:end])) for end in (5, 4))
    assert shown(spans) == shown(spans, spans) == (4, True)
    assert shown(four) == shown(four, four, four) == (4, False)
    assert shown(four, alone) == (6, False)
    assert shown(spans, alone) == (5, True)  # the other point may be of a span left out


def test_a_trace_is_a_tree_with_self_times_errors_and_orphans(ask):
    answer = ask(f"traces/{TRACE.hex()}").json()

    root, orphan = answer["roots"]
    select, failed = root["children"]
    assert {
        key: answer[key] for key in ("id", "spans", "errors", "duplicates", "services")
    } == {
        "id": TRACE.hex(),
        "spans": 4,
        "errors": 1,
        "duplicates": 0,
        "services": ["orders"],
    }
    assert select == {
        "span_id": "0000000000000002",
        "parent_id": "0000000000000001",
        "name": "select",
        "service": "orders",
        "host": "c1",
        "pid": 42,
        "kind": "internal",
        "depth": 1,
        "started_ns": NOW + 10,
        "duration_ns": 20,
        "self_ns": 20,
        "status": "unset",
        "status_message": "",
        "attributes": {"n": 1, "ok": True, "share": 0.5},
        "events": [],
        "orphan": False,
        "children": [],
    }
    assert (root["self_ns"], root["orphan"], orphan["orphan"]) == (30, False, True)
    assert (failed["status"], failed["events"]) == (
        "error",
        [{"name": "retry", "at_ns": NOW + 50, "attributes": {"n": 2}}],
    )


def test_hostile_text_comes_out_as_the_text_it_is(ask):
    answer = ask(f"traces/{TRACE.hex()}")

    failed = answer.json()["roots"][0]["children"][1]
    assert answer.headers["content-type"] == "application/json"
    assert (failed["name"], failed["status_message"]) == (HOSTILE, HOSTILE)
    assert failed["attributes"] == {HOSTILE: HOSTILE, "odd": "nan"}


def test_a_trace_of_any_depth_can_be_read(ask):
    answer = ask(f"traces/{DEEP.hex()}").json()

    depths, nodes = [], answer["roots"]
    while nodes:
        depths += [node["depth"] for node in nodes]
        nodes = [child for node in nodes for child in node["children"]]
    assert depths == list(range(DEPTH - 1))
    assert answer["spans"] == DEPTH - 1
    assert NESTED_MAX < DEPTH


@pytest.mark.parametrize(
    ("form", "media_type"),
    [
        ("json", "application/json"),
        ("osprofiler", "application/json"),
        ("chrome", "application/json"),
        ("speedscope", "application/json"),
        ("dot", "text/vnd.graphviz; charset=utf-8"),
        ("html", "text/html; charset=utf-8"),
    ],
)
def test_a_trace_comes_in_the_files_of_other_tools(ask, form, media_type):
    answer = ask(f"traces/{TRACE.hex()}", format=form)

    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
    assert "GET /orders" in answer.text
    if media_type == "application/json":
        json.loads(answer.text)


def test_an_id_may_be_written_as_a_uuid(ask):
    told = TRACE.hex().upper()
    uuid = "-".join((told[:8], told[8:12], told[12:16], told[16:20], told[20:]))

    assert ask(f"traces/{uuid}").json()["id"] == TRACE.hex()


# --- Metrics -------------------------------------------------------------------------------


def test_metrics_are_listed_with_their_dimensions(ask):
    answer = ask("metrics", prefix="http.", since=SINCE).json()

    (metric,) = answer["metrics"]
    assert metric == {
        "name": "http.server.request",
        "kind": "distribution",
        "unit": "ns",
        "description": "How long requests took.",
        "dimensions": ["http.route"],
        "series": 3,
        "ended_ns": NOW + 60 * S,
    }


def test_a_list_of_metrics_costs_two_questions_however_long_it_is(ask, monkeypatch):
    asked = []
    monkeypatch.setattr(
        Questions,
        "ask",
        lambda self, name, *given, ask=Questions.ask, **named: (
            asked.append(name) or ask(self, name, *given, **named)
        ),
    )

    metrics = ask("metrics", since=SINCE).json()["metrics"]

    assert asked == ["names", "keys"]
    assert [(metric["name"], metric["dimensions"]) for metric in metrics] == [
        ("http.server.request", ["http.route"]),
        ("nilometer.lost", ["reason", "what"]),
        ("pool.used", []),
        ("sold", ["kind"]),
    ]


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"limit": 2}, ["http.server.request", "nilometer.lost"]),
        ({"prefix": "s"}, ["sold"]),
        ({"prefix": "no such"}, []),
    ],
)
def test_a_part_of_the_list_of_metrics_knows_its_dimensions(ask, parameters, named):
    whole = ask("metrics", since=SINCE).json()["metrics"]

    part = ask("metrics", since=SINCE, **parameters).json()["metrics"]

    assert part == [metric for metric in whole if metric["name"] in named]


def test_dimensions_and_series_tell_who_measured_what(ask):
    dimensions = ask("metrics/http.server.request/dimensions", since=SINCE).json()
    series = ask(
        "metrics/http.server.request/series", since=SINCE, where="service=stock"
    ).json()

    assert dimensions["dimensions"]["http.route"] == ["/", "/a"]
    assert dimensions["dimensions"]["service"] == ["orders", "stock"]
    assert [
        (row["service"], row["host"], row["pid"], row["dimensions"]) for row in series["series"]
    ] == [("stock", "c2", 7, {"http.route": "/"})]


def rows(ask, name, **asked):
    answer = ask(f"metrics/{name}/statistics", since=SINCE, **asked)
    assert answer.status_code == 200, answer.text
    return answer.json()["statistics"]


def test_statistics_of_a_timer_are_merged_never_averaged(ask):
    (row,) = rows(ask, "http.server.request", quantile=["0.5", "1"])

    assert (row["count"], row["sum"], row["avg"], row["min"], row["max"]) == (
        5,
        2300,
        460.0,
        100,
        1000,
    )
    assert row["quantiles"]["0.5"] == pytest.approx(300, rel=0.011)
    assert row["quantiles"]["1"] == pytest.approx(1000, rel=0.011)


def test_statistics_come_by_group_and_period(ask):
    by_route = rows(ask, "http.server.request", group_by="http.route,service")
    by_minute = rows(ask, "http.server.request", period="1m")

    assert sorted((*row["group"].values(), row["count"], row["sum"]) for row in by_route) == [
        ("/", "orders", 3, 600),
        ("/", "stock", 1, 700),
        ("/a", "orders", 1, 1000),
    ]
    assert [(row["period_started_ns"], row["count"]) for row in by_minute] == [
        (NOW, 4),
        (NOW + 60 * S, 1),
    ]


def test_counters_and_gauges_have_the_statistics_that_mean_something(ask):
    (sold,) = rows(ask, "sold", where=f"kind={HOSTILE}")
    (used,) = rows(ask, "pool.used")

    assert (sold["sum"], sold["avg"], sold["last"]) == (3, None, None)
    assert (used["last"], used["min"], used["max"], used["sum"]) == (7, 7, 7, None)


def test_losses_are_told_by_whom_what_and_why(ask):
    assert ask("losses", since=SINCE).json()["losses"] == [
        {
            "service": "orders",
            "name": "nilometer.lost",
            "dimensions": {"what": "spans", "reason": "ring_full"},
            "count": 5,
        }
    ]


# --- Errors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "asked", "status", "parameter", "value", "near"),
    [
        ("traces", {"servce": "x"}, 422, "servce", "servce", "service"),
        ("traces", {"service": ["a", "b"]}, 422, "service", "a, b", None),
        ("traces", {"since": ["1h", "1h"]}, 422, "since", "1h, 1h", None),
        ("metrics/sold/statistics", {"period": ["1m", "2m"]}, 422, "period", "1m, 2m", None),
        ("traces", {"min_duration": "250"}, 422, "min_duration", "250", None),
        (
            "traces",
            {"min_duration": "2s", "max_duration": "2s"},
            422,
            "max_duration",
            "2000000000ns",
            None,
        ),
        ("traces", {"min_span": "2s", "max_span": "1s"}, 422, "max_span", "1000000000ns", None),
        ("traces", {"kind": "sever"}, 422, "kind", "sever", "server"),
        ("traces", {"attribute": ["a=1", "a=2"]}, 422, "attribute", "a=2", None),
        ("traces", {"attribute": "a"}, 422, "attribute", "a", None),
        ("traces", {"since": "yesterday"}, 422, "since", "yesterday", None),
        ("traces", {"since": "9999-01-01"}, 422, "since", "9999-01-01", None),
        ("traces", {"limit": "0"}, 422, "limit", "0", None),
        ("traces", {"limit": "100000"}, 422, "limit", "100000", None),
        ("traces", {"error": "perhaps"}, 422, "error", "perhaps", None),
        ("traces", {"name": "a\0b"}, 422, "name", "a\0b", None),
        ("traces/xyz", {}, 422, "trace_id", "xyz", None),
        (f"traces/{'0' * 32}", {}, 404, None, None, None),
        (f"traces/{TRACE.hex()}", {"format": "chrom"}, 422, "format", "chrom", "chrome"),
        ("metrics/solt/statistics", {}, 404, "name", "solt", "sold"),
        ("metrics/solt/series", {}, 404, "name", "solt", "sold"),
        ("metrics/solt/dimensions", {}, 404, "name", "solt", "sold"),
        ("metrics/sold/statistics", {"group_by": "kid"}, 422, "group_by", "kid", "kind"),
        ("metrics/sold/statistics", {"where": "kid=1"}, 422, "where", "kid", "kind"),
        ("metrics/sold/statistics", {"where": "kind"}, 422, "where", "kind", None),
        ("metrics/sold/statistics", {"quantile": "99"}, 422, "quantile", "99", None),
        ("metrics/sold/statistics", {"period": "0s"}, 422, "period", "0", None),
        (
            "metrics/sold/statistics",
            {"since": "2", "until": "1"},
            422,
            "until",
            "1000000000",
            None,
        ),
        ("traces", {"since": "2", "until": "2"}, 422, "until", "2000000000", None),
    ],
)
def test_an_error_names_parameter_value_and_the_nearest_valid_one(
    ask, path, asked, status, parameter, value, near
):
    answer = ask(path, **{**({"since": SINCE} if "/s" in path else {}), **asked})

    problem = answer.json()
    assert answer.status_code == status
    assert (problem.get("parameter"), problem.get("value"), problem.get("nearest")) == (
        parameter,
        value,
        near,
    )
    assert len(problem["detail"]) > 20


@pytest.mark.parametrize(
    ("limit", "path", "asked", "parameter"),
    [
        ("SERIES_MAX", "metrics/sold/series", {}, "since"),
        ("ROWS_MAX", "metrics/sold/statistics", {"period": "1s"}, "period"),
        ("ROWS_MAX", "metrics/sold/statistics", {"group_by": "kind"}, "group_by"),
    ],
)
def test_an_answer_that_would_be_too_large_names_what_makes_it_smaller(
    ask, monkeypatch, limit, path, asked, parameter
):
    monkeypatch.setattr(measured, limit, 0)

    answer = ask(path, since=SINCE, **asked)

    problem = answer.json()
    assert (answer.status_code, problem["parameter"]) == (422, parameter)
    assert "value" not in problem
    assert "ask for" in problem["detail"]


class BrokenReader:
    def find_traces(self, **_):
        raise StoreError("the disk is gone", slug="store-unreadable")


def test_a_store_that_cannot_be_read_is_503_with_retry_after(caplog):
    refused = []

    async def talk():
        queries = Queries(refused=lambda *told: refused.append(told))
        transport = httpx.ASGITransport(app=api(BrokenReader(), queries, dict))
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            answer = await client.get("/api/v1/traces")
        queries.close()
        return answer

    answer = asyncio.run(talk())

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert "the disk is gone" in answer.json()["detail"]
    # Told to be counted and said once a minute, not written to the log for every question.
    assert [reason for reason, _ in refused] == ["store"]
    assert "/traces: the disk is gone" in refused[0][1]
    assert caplog.records == []


parameters = st.dictionaries(
    st.sampled_from(
        [
            "service",
            "name",
            "since",
            "until",
            "min_duration",
            "error",
            "request_id",
            "limit",
            "prefix",
            "period",
            "group_by",
            "where",
            "quantile",
            "format",
        ]
    ),
    st.text(max_size=30) | st.integers(-(10**25), 10**25).map(str) | st.just(HOSTILE),
    max_size=4,
)
paths = st.sampled_from(
    [
        "traces",
        "metrics",
        "losses",
        "health",
        f"traces/{TRACE.hex()}",
        "metrics/sold/statistics",
        "metrics/sold/series",
        "metrics/sold/dimensions",
    ]
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(path=paths, asked=parameters)
def test_any_text_in_any_parameter_gets_an_answer_of_the_interface(ask, path, asked):
    answer = ask(path, **asked)

    assert answer.status_code in (200, 404, 422)
    assert answer.status_code == 200 or answer.json()["detail"]


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(name=st.text(min_size=1, max_size=40).filter(lambda t: t.strip("./?#")))
def test_any_text_may_be_asked_for_as_a_metric(ask, name):
    answer = ask(f"metrics/{quote(name, safe='', errors='replace')}/statistics")

    assert answer.status_code in (200, 404, 422)
