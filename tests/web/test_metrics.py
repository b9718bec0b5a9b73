"""Laws of the pages of metrics: what was measured, found, told apart, drawn and shared."""

from __future__ import annotations

import csv
import io
import json
import re
from html import unescape
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from nilometer.clock import Clock
from nilometer.model import (
    Batch,
    Distribution,
    Kind,
    Reading,
    Resource,
    SpanKind,
    SpanRecord,
)
from nilometer.web import chart, paint
from nilometer.web.assets import OURS
from nilometer.web.moments import window
from tests.web.pages import asking

S = 10**9
MS = 10**6
NOW = 1_795_003_200 * S  # a whole hour
AT_NOW = Clock(wall_ns=lambda: NOW)
HOSTILE = "<script>alert(1)</script>\"'=$$x$$\u202e"


def reading(name, kind, value, at, unit="ns", **dimensions):
    pairs = tuple(sorted((key.replace("__", "."), text) for key, text in dimensions.items()))
    return Reading(name, kind, pairs, value, at - 10 * S, at, unit, f"What {name} says.")


def timed(at, *values_ms, route="/a"):
    told = Distribution.of([value * MS for value in values_ms])
    where = {"http__request__method": "GET", "http__route": route}
    return reading("http.server.request", Kind.DISTRIBUTION, told, at, **where)


BATCHES = [
    Batch(
        Resource("orders", "c1", 1, version="1.0"),
        (
            timed(NOW - 600 * S, 1, 2, 3),
            timed(NOW - 300 * S, 100, route="/b"),
            reading("sold", Kind.COUNTER, 60, NOW - 600 * S, "{boot}"),
            reading("sold", Kind.COUNTER, 30, NOW - 5 * S, "{boot}"),
            reading("pool.used", Kind.GAUGE, 7, NOW - 60 * S, "1"),
        ),
    ),
    Batch(
        Resource("orders", "c1", 2, version="1.1"),
        (timed(NOW - 600 * S, 40), timed(NOW - 7800 * S, 9)),
    ),
    Batch(
        Resource(HOSTILE, HOSTILE, 3),
        (reading(HOSTILE, Kind.COUNTER, 1, NOW - 60 * S, HOSTILE, **{HOSTILE: HOSTILE}),),
    ),
]


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    with asking(store, BATCHES, clock=AT_NOW) as ask:
        yield ask


def data(ask, name, **asked):
    answer = ask(f"/metrics/{quote(name, safe='')}", format="json", **asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


# ---- the list --------------------------------------------------------------------------------


def test_metrics_are_listed_with_what_they_are(ask):
    answer = ask("/metrics", format="json").json()

    (timer,) = [one for one in answer["metrics"] if one["name"] == "http.server.request"]
    assert (timer["kind"], timer["unit"], timer["series"]) == ("distribution", "ns", 3)
    assert timer["description"] == "What http.server.request says."
    assert timer["dimensions"] == ["http.request.method", "http.route"]


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ({"q": "USED"}, ["pool.used"]),
        ({"q": "what sold"}, ["sold"]),
        ({"prefix": "http."}, ["http.server.request"]),
        ({"kind": "gauge"}, ["pool.used"]),
        ({"q": "nowhere"}, []),
    ],
)
def test_metrics_are_found_by_name_meaning_beginning_and_kind(ask, asked, names):
    answer = ask("/metrics", format="json", **asked).json()

    assert [one["name"] for one in answer["metrics"]] == names


def test_the_list_says_where_there_are_more(ask):
    assert ask("/metrics", format="json", limit=1).json()["more"]
    assert "there are more" in ask("/metrics", limit=1).text


def test_a_kind_that_is_none_is_refused_with_the_nearest(ask):
    answer = ask("/metrics", kind="guage", format="json")

    assert (answer.status_code, answer.json()["nearest"]) == (422, "gauge")


def test_names_that_mean_harm_stay_text_in_the_list_and_lead_to_their_page(ask):
    page = ask("/metrics").text
    paths = [unescape(path) for path in re.findall(r'href="(/metrics/[^"]+)"', page)]
    answers = [ask(path) for path in paths if "script" in path]

    assert "<script>alert" not in page
    assert [answer.status_code for answer in answers] == [200]
    assert all("<script>alert" not in answer.text for answer in answers)


# ---- one metric ------------------------------------------------------------------------------


def test_a_timer_is_told_whole_and_by_period(ask):
    told = data(ask, "http.server.request", statistic=["count", "avg", "max"], period="5m")

    (now,) = told["times"]
    (whole,) = now["whole"]
    assert (whole["count"], whole["avg"], whole["max"]) == (5, 29.2 * MS, 100 * MS)
    assert [(one["period_started_ns"], one["count"]) for one in now["periods"]] == [
        (NOW - 600 * S, 4),
        (NOW - 300 * S, 1),
    ]


def test_quantiles_of_much_come_after_the_first_page_and_are_the_same(ask, monkeypatch):
    path = "/metrics/http.server.request"
    whole = ask(path).text
    monkeypatch.setattr(paint, "AT_ONCE", 3 * 12 - 1)  # three series, twelve five minutes

    first, then = ask(path).text, ask(path, quantiles="true").text

    assert 'data-late="quantiles"' in first
    assert [then.count("data-late"), whole.count("data-late")] == [0, 0]
    rows = [re.findall(r'<td class="n">(.*?)</td>', page) for page in (first, whole, then)]
    assert rows[1] == rows[2]
    assert [one for one in rows[0] if one != "..."] == rows[1][:-2]
    assert ask(path, format="json").json() == ask(path, format="json", quantiles="true").json()


def test_versions_are_lines_of_their_own(ask):
    told = data(ask, "http.server.request", statistic="count", group_by="version")

    counts = {one["group"]["version"]: one["count"] for one in told["times"][0]["whole"]}
    assert counts == {"1.0": 4, "1.1": 1}
    assert "versions beside each other" in ask("/metrics/http.server.request").text


def test_an_earlier_time_stands_beside_the_one_that_is_shown(ask):
    told = data(ask, "http.server.request", statistic="count", compare="2h")
    same = data(ask, "http.server.request", statistic="count", compare=str(NOW // S - 3 * 3600))

    assert [side["earlier_by_ns"] for side in told["times"]] == [0, 7200 * S]
    assert [one["count"] for one in told["times"][1]["whole"]] == [1]
    assert same["times"] == told["times"]


def test_only_series_that_are_asked_for_are_told(ask):
    told = data(ask, "http.server.request", statistic="count", where="http.route=/b")

    assert [one["count"] for one in told["times"][0]["whole"]] == [1]


def test_a_period_that_still_runs_has_the_rate_of_what_is_over(ask):
    until = NOW - 2 * S
    told = data(
        ask, "sold", statistic="rate", period="1m", until=str(until), since=str(NOW - 600 * S)
    )

    last = told["times"][0]["periods"][-1]
    assert last["rate"] == pytest.approx(30 / 58)


def test_a_metric_unknown_is_not_found_with_the_nearest_name(ask):
    answer = ask("/metrics/http.server.requests", format="json")

    assert (answer.status_code, answer.json()["nearest"]) == (404, "http.server.request")


def test_a_metric_that_told_nothing_in_that_time_says_where_to_look(ask):
    answer = ask("/metrics/sold", since="1ms")

    assert answer.status_code == 200
    assert "Nothing of this metric was told" in answer.text
    assert "since=24h" in answer.text


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        ({"group_by": "http.rout"}, "http.route"),
        ({"where": "http.rout=/a"}, "http.route"),
        ({"statistic": "agv"}, "avg"),
    ],
)
def test_what_a_metric_does_not_have_is_refused_with_the_nearest(ask, asked, nearest):
    answer = ask("/metrics/http.server.request", format="json", **asked)

    assert (answer.status_code, answer.json()["nearest"]) == (422, nearest)


@pytest.mark.parametrize("compare", ["0s", "tomorrow", str(NOW // S)])
def test_a_time_to_compare_with_must_be_earlier(ask, compare):
    answer = ask("/metrics/sold", format="json", compare=compare)

    assert (answer.status_code, answer.json()["parameter"]) == (422, "compare")


def test_more_periods_than_a_screen_has_dots_are_refused(ask):
    answer = ask("/metrics/sold", format="json", since="24h", period="1s")

    assert (answer.status_code, answer.json()["parameter"]) == (422, "period")


def test_the_sheet_has_every_group_and_period(ask):
    answer = ask(
        "/metrics/http.server.request",
        format="csv",
        statistic="count",
        group_by="http.route",
        period="5m",
    )

    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["http.route"], row["count"]) for row in rows] == [("/a", "4"), ("/b", "1")]


def test_the_form_sends_what_the_page_shows(ask):
    page = ask(
        "/metrics/http.server.request", group_by="version", where="http.route=/a", since="6h"
    ).text

    assert re.search(r'name="group_by" value="version" checked', page)
    assert re.search(r'value="http.route=/a" selected', page)
    assert re.search(r'type="hidden" name="since" value="6h"', page)


def test_the_form_hands_on_all_that_the_address_says(ask):
    page = ask("/metrics/http.server.request", period="2m", tables="true", since="6h").text

    (form,) = re.findall(r'<form method="get" class="explore".*?</form>', page, re.DOTALL)
    assert '<option value="2m" selected>2m</option>' in form
    assert '<input type="hidden" name="tables" value="true">' in form
    assert form.count('name="since"') == 1


# ---- the heat map ----------------------------------------------------------------------------


def test_each_value_is_in_a_cell_and_each_cell_leads_to_its_traces(ask):
    page = ask("/metrics/http.server.request", where="http.route=/b", tables=True).text

    (place,) = [
        parse_qs(urlsplit(unescape(path)).query)
        for path in re.findall(r'<td class="n"><a href="(/traces[^"]+)"', page)
    ]
    least, most = (int(place[key][0].removesuffix("ns")) for key in ("min_span", "max_span"))
    assert place["service"] == ["orders"]
    assert least <= 100 * MS <= most
    assert most < 3 * least


def test_the_traces_of_a_cell_are_of_the_operation_that_is_shown(ask):
    where = ["http.route=/b", "http.request.method=GET"]

    page = ask("/metrics/http.server.request", where=where, tables=True).text

    assert "/traces?service=orders&amp;kind=server&amp;name=GET+%2Fb&amp;since=" in page


def test_where_only_the_route_is_shown_the_traces_are_of_it(ask):
    page = ask("/metrics/http.server.request", where="http.route=/b", tables=True).text

    told = "/traces?service=orders&amp;kind=server&amp;attribute=http.route%3D%2Fb&amp;since="
    assert told in page


def test_a_trace_with_a_part_that_took_so_long_may_take_longer(tmp_path):
    part = reading("db.query", Kind.DISTRIBUTION, Distribution.of([5 * MS]), NOW - 60 * S)
    with asking(tmp_path, [Batch(Resource("a"), (part,))], clock=AT_NOW) as ask:
        page = ask("/metrics/db.query", tables=True).text

    (place,) = re.findall(r'<td class="n"><a href="(/traces[^"]+)"', page)
    assert "min_duration=" in place
    assert not {"max_duration", "min_span", "max_span"} & set(parse_qs(unescape(place)))


CALLER, CALLED = Resource("orders", "c1", 1), Resource("stock", "c2", 2)


def nested(number, took_ms):
    """A request of ours that another service made, whose own took three times as long."""
    at, trace = NOW - 600 * S + number * 20 * S, (number + 1).to_bytes(16, "big")
    outer, inner = (one.to_bytes(8, "big") for one in (1, 2))
    ends = at + took_ms * MS + 80_000
    told = (SpanKind.SERVER, at - MS, at + 3 * took_ms * MS, {})
    caller = SpanRecord(trace, outer, b"", "POST /orders", *told)
    told = (SpanKind.SERVER, at, ends, {})
    called = SpanRecord(trace, inner, outer, "POST /stock", *told)
    where = {"http__request__method": "POST", "http__route": "/stock"}
    return Batch(CALLER, spans=(caller,)), [called], at + 5 * S, where


@pytest.mark.parametrize(
    ("name", "unit", "size"),
    [
        ("http.server.request", "ns", MS),
        ("http.server.request.duration", "s", 0.001),
        ("http.server.request.duration", "ms", 1),
    ],
)
def test_a_cell_leads_to_its_requests_whatever_their_traces_took(tmp_path, name, unit, size):
    batches = []
    for number in range(12):
        took_ms = 5 + 7 * number
        outer, spans, told_at, where = nested(number, took_ms)
        values = Distribution.of([took_ms * size])
        told = reading(name, Kind.DISTRIBUTION, values, told_at, unit, **where)
        batches += [outer, Batch(CALLED, (told,), tuple(spans))]
    chosen = ["http.route=/stock", "http.request.method=POST"]
    with asking(tmp_path, batches, clock=AT_NOW) as ask:
        page = ask(f"/metrics/{name}", where=chosen, tables=True).text
        cells = re.findall(r'<td class="n"><a href="(/traces[^"]+)"[^>]*>([0-9]+)</a>', page)
        found = {
            place: (int(count), len(ask(f"{unescape(place)}&format=json").json()["traces"]))
            for place, count in cells
        }

    assert sum(count for count, _ in found.values()) == 12
    assert {place: both for place, both in found.items() if both[1] < both[0]} == {}
    assert max(traces for _, traces in found.values()) < 12


def seldom(every_s, *, cumulative):
    """What a service that reports so seldom tells of twelve requests, each of which ended long
    before its report."""
    route, spread, readings, spans = {"http.route": "/stock"}, [], [], []
    first = NOW - 13 * every_s * S
    for number in range(12):
        told_at, took_ms = first + (number + 1) * every_s * S, 5 + 7 * number
        ended = told_at - every_s * S + S
        trace, told = (number + 1).to_bytes(16, "big"), (ended - took_ms * MS, ended, route)
        spans.append(SpanRecord(trace, b"rootroot", b"", "GET /stock", SpanKind.SERVER, *told))
        spread = [*spread, took_ms * MS] if cumulative else [took_ms * MS]
        began = first if cumulative else told_at - every_s * S
        of = "http.server.request", Kind.DISTRIBUTION, (("http.route", "/stock"),)
        made = Reading(*of, Distribution.of(spread), began, told_at, "ns")
        readings.append(made._replace(cumulative=cumulative))
    return Batch(CALLED, tuple(readings), tuple(spans))


@pytest.mark.parametrize("cumulative", [False, True], ids=["each interval", "since the start"])
@pytest.mark.parametrize("every_s", [60, 600])
def test_a_cell_leads_to_its_requests_however_seldom_their_service_reports(
    tmp_path, every_s, cumulative
):
    with asking(tmp_path, [seldom(every_s, cumulative=cumulative)], clock=AT_NOW) as ask:
        page = ask("/metrics/http.server.request", since="3h", tables=True).text
        cells = re.findall(r'<td class="n"><a href="(/traces[^"]+)"[^>]*>([0-9]+)</a>', page)
        found = [
            (int(count), len(ask(f"{unescape(place)}&format=json").json()["traces"]))
            for place, count in cells
        ]

    assert sum(count for count, _ in found) == 12
    assert [both for both in found if both[1] < both[0]] == []
    assert f'data-interval-ms="{every_s * 1000}"' in page


def test_a_cell_looks_back_for_as_long_as_a_process_told_that_is_gone_for_hours(tmp_path):
    values = Distribution.of([5 * MS])

    def told(pid, ended_ns, every_s):
        one = reading("a", Kind.DISTRIBUTION, values, ended_ns)
        one = one._replace(started_ns=ended_ns - every_s * S)
        return Batch(CALLED._replace(pid=pid), (one,))

    batches = [told(1, NOW - 4 * 3600 * S, 60), told(2, NOW - S, 10)]
    with asking(tmp_path, batches, clock=AT_NOW) as ask:
        page = ask("/metrics/a", since="6h").text

    assert re.findall(r'data-interval-ms="(\d+)"', page) == ["60000"]


def test_a_cell_looks_back_ten_seconds_at_least_and_an_hour_at_most(tmp_path):
    values = Distribution.of([5 * MS])
    short, long = (reading(name, Kind.DISTRIBUTION, values, NOW - S) for name in "ab")
    short = short._replace(started_ns=NOW - 2 * S)
    long = long._replace(started_ns=NOW - 50 * 3600 * S)
    with asking(tmp_path, [Batch(CALLED, (short, long))], clock=AT_NOW) as ask:
        pages = [ask(f"/metrics/{name}").text for name in "ab"]

    told = [re.findall(r'data-interval-ms="(\d+)"', page) for page in pages]
    assert told == [["10000"], ["3600000"]]


def test_cells_of_what_is_no_time_lead_nowhere_and_are_not_said_to(tmp_path):
    size = reading("body", Kind.DISTRIBUTION, Distribution.of([5]), NOW - 60 * S, "By")
    with asking(tmp_path, [Batch(Resource("a"), (size,))], clock=AT_NOW) as ask:
        page = ask("/metrics/body", tables=True).text
        drawn = ask("/charts/body").text

    assert "/traces?" not in page
    assert "leads to its traces" not in page + drawn


# ---- charts ----------------------------------------------------------------------------------


def plain(ask, name, **asked):
    return ask(f"/charts/{quote(name, safe='')}", plain="true", **asked).json()


def test_charts_have_the_numbers_of_the_page(ask):
    told = plain(ask, "http.server.request", statistic="count", period="5m")

    line = told["columns"]["line-0-0"]
    assert line["value"] == [4, 1]
    assert line["at"] == [(NOW - 600 * S) / MS, (NOW - 300 * S) / MS]
    assert sum(told["columns"]["cells"]["count"]) == 5


def test_nanoseconds_are_drawn_in_a_unit_that_one_reads(ask):
    told = plain(ask, "http.server.request", statistic="max", period="5m")

    line = told["columns"]["line-0-0"]
    assert line["value"] == [40, 100]
    assert line["text"] == ["40.0 ms", "100 ms"]


def test_statistics_of_different_units_are_drawn_apart(ask):
    told = plain(ask, "http.server.request", statistic=["count", "p50", "p99"])

    assert {"line-0-0", "line-1-0", "line-1-1", "cells"} == set(told["columns"])


def test_the_earlier_time_is_drawn_where_the_later_one_is(ask):
    told = plain(ask, "http.server.request", statistic="count", compare="2h")

    now, earlier = (told["columns"][f"line-0-{n}"] for n in (0, 1))
    assert earlier["label"][0].endswith("earlier")
    assert earlier["at"] == [(NOW - 600 * S) / MS]
    assert now["at"][0] == earlier["at"][0]


def test_what_has_nothing_between_is_not_joined_by_a_line(tmp_path):
    ends = [*range(0, 100, 10), *range(1000, 1100, 10)]
    told = [reading("c", Kind.COUNTER, 1, NOW - 1200 * S + at * S, "1") for at in ends]
    batches = [Batch(Resource("a"), tuple(told))]
    with asking(tmp_path, batches, clock=AT_NOW) as ask:
        line = plain(ask, "c", period="10s")["columns"]["line-0-0"]

    assert len(line["value"]) == 21
    assert line["value"].index(None) == 10


def test_groups_beyond_the_colours_are_told_and_not_drawn(tmp_path):
    many = tuple(
        reading("c", Kind.COUNTER, n, NOW - 60 * S, "1", n=f"{n:02}") for n in range(30)
    )
    batches = [Batch(Resource("a"), many)]
    with asking(tmp_path, batches, clock=AT_NOW) as ask:
        page = ask("/metrics/c", group_by="n").text
        drawn = plain(ask, "c", group_by="n")["columns"]
        told = data(ask, "c", group_by="n")

    assert "12 of 30 groups are drawn" in page
    assert sorted(column["label"][0] for column in drawn.values()) == [
        f"{n}" for n in range(18, 30)
    ]
    assert len(told["times"][0]["periods"]) == 30


def objects(told):
    """Every object of a drawing, what it stands in first."""
    if isinstance(told, dict):
        if told.get("type") == "object":
            yield told
        for one in told.values():
            yield from objects(one)
    elif isinstance(told, list):
        for one in told:
            yield from objects(one)


def legends(drawing):
    """Of each legend what its lines look like: colours, dashes and marks of each."""
    found = list(objects(drawing))
    by_id = {one["id"]: one["attributes"] for one in found if "attributes" in one}

    def look(renderer):
        told = by_id[renderer["id"]]["glyph"]["attributes"]
        names = ("line_color", "line_dash", "marker")
        return tuple(json.dumps(told.get(name)) for name in names)

    for one in found:
        if one["name"] == "Legend":
            items = [by_id[item["id"]] for item in one["attributes"]["items"]]
            yield [tuple(map(look, item["renderers"])) for item in items]


def test_what_a_legend_tells_apart_looks_different_in_it(tmp_path):
    many = tuple(
        Reading(
            "t",
            Kind.DISTRIBUTION,
            (("n", f"{n:02}"),),
            Distribution.of([n, 9 * n]),
            NOW - 60 * S,
            NOW - 50 * S,
            "ns",
        )
        for n in range(1, 13)
    )
    with asking(tmp_path, [Batch(Resource("a"), many)], clock=AT_NOW) as ask:
        grouped = ask("/charts/t", group_by="n", statistic=["p50", "p99"])
        alone = ask("/charts/t", statistic=["p50", "p99"])

    for answer, lines in ((grouped, 24), (alone, 2)):
        (looks,) = legends(answer.json()["item"])
        assert (len(looks), len(set(looks))) == (lines, lines)
        assert len({mark for _, mark in looks}) == len(looks)


@pytest.mark.parametrize("theme", list(chart.COLOURS))
def test_charts_are_drawn_in_each_theme_with_the_colours_of_the_pages(ask, theme):
    answer = ask("/charts/http.server.request", theme=theme, compare="2h")

    item = json.dumps(answer.json()["item"])
    sheet = (OURS / "style.css").read_text()
    colours = chart.COLOURS[theme]
    assert colours.bars[0] in item
    for name in ("paper", "ink", "muted", "line"):
        assert re.search(rf"--{name}: {getattr(colours, name)};", sheet)
    assert all(f": {bar};" in sheet for bar in colours.bars)


def test_a_name_that_means_harm_is_in_no_title_and_no_axis_as_markup(ask):
    item = ask(f"/charts/{quote(HOSTILE, safe='')}").json()["item"]

    def labels(value):
        if isinstance(value, dict):
            for key, one in value.items():
                if key in ("axis_label", "title"):
                    yield one
                yield from labels(one)
        elif isinstance(value, list):
            for one in value:
                yield from labels(one)

    told = [one for one in labels(item) if isinstance(one, str) and "alert" in one]
    assert told == []


def test_an_unknown_theme_is_refused(ask):
    answer = ask("/charts/sold", theme="drak", format="json")

    assert (answer.status_code, answer.json()["nearest"]) == (422, "dark")


def test_a_week_has_no_more_points_than_an_hour():
    from nilometer.web.explorer import POINTS, period_for

    for since in ("15m", "1h", "6h", "24h", "7d", "365d", "9000d"):
        shown = window(since, "", AT_NOW)
        assert shown.lasts_ns / period_for(shown) <= POINTS
