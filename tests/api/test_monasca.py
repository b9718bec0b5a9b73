"""Laws of Monasca's API: its shapes to the letter, each point once, its own errors."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager, suppress
from urllib.parse import parse_qsl, quote, urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nilometer.api.monasca import grammar
from nilometer.api.monasca.metrics import id_of
from nilometer.api.native import api
from nilometer.api.queries import THREADS, Queries
from nilometer.errors import NilometerError
from nilometer.model import Batch, Distribution, Kind, Reading, Resource
from nilometer.store.lake import Lake
from nilometer.store.query import Reader

S = 10**9
MS = 10**6
NOW = 1_795_000_200 * S  # 2026-11-18T11:10:00Z, a multiple of 300 s
START = "2026-11-18T11:10:00Z"
END = "2026-11-18T11:20:00Z"
TIMER = "persister.flush"


def timed(host, after_s, *values, pid=7, unit="ns"):
    """A timer's reading that ended so long after NOW."""
    at = NOW + after_s * S
    kept = Distribution.of(values)
    reading = Reading(TIMER, Kind.DISTRIBUTION, (("topic", "m"),), kept, at - 10 * S, at, unit)
    return Batch(Resource("persister", host, pid), (reading,))


def counted(host, after_s, moved, name="reqs"):
    at = NOW + after_s * S
    reading = Reading(name, Kind.COUNTER, (), moved, at - 10 * S, at, "1")
    return Batch(Resource("api", host, 1, "r1"), (reading,))


def gauged(after_s, value, name="used", **more):
    at = NOW + int(after_s * S)
    return Batch(
        Resource("api", "h1", 1), (Reading(name, Kind.GAUGE, (), value, at, at, **more),)
    )


BATCHES = [
    timed("h1", 0, 100 * MS, 300 * MS),
    timed("h1", 10, 800 * MS),
    timed("h1", 310, 200 * MS),
    timed("h2", 20, 400 * MS, pid=9),
    counted("h1", 0, 5),
    counted("h1", 10, 15),
    counted("h2", 20, 1),
    gauged(0, 7),
    gauged(10, 1.5),
]


class Asked:
    """The API over a store of its own."""

    def __init__(self, runner, app, lake):
        self._runner, self._app, self._lake = runner, app, lake

    def __call__(self, path="", *, method="GET", raw="", **parameters):
        return self.request(method, path, params=parameters or None, raw=raw)

    def request(self, method, path, *, raw="", **more):
        async def talk():
            transport = httpx.ASGITransport(app=self._app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://m:1") as client:
                url = path if path.startswith("http") else f"/v2.0/metrics{path}{raw}"
                return await client.request(method, url, **more)

        return self._runner.run(talk())

    def of(self, path, **parameters):
        """The elements of an answer."""
        answer = self(path, **parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()["elements"]

    def post(self, told, **more):
        more = {"headers": {"content-type": "application/json"}} | more
        content = told if isinstance(told, bytes) else json.dumps(told).encode()
        return self.request("POST", more.pop("path", ""), content=content, **more)

    def pages(self, path, **parameters):
        """Every page of an answer, by its links."""
        answer = self(path, **parameters)
        while True:
            assert answer.status_code == 200, answer.text
            told = answer.json()
            yield told["elements"]
            links = {link["rel"]: link["href"] for link in told["links"]}
            if "next" not in links:
                return
            answer = self.request("GET", links["next"])


@contextmanager
def asking(place, batches=(), *, submit=None):
    lake = Lake(place, durability="os")
    if batches:
        lake.append(list(batches))

    async def append(some):
        lake.append(list(some))

    reader = Reader(place)
    with asyncio.Runner() as runner:
        queries = Queries()
        all_at_once = threading.Barrier(THREADS + 1)  # they are nobody's who asks
        for _ in range(THREADS):
            queries._pool.submit(all_at_once.wait)
        all_at_once.wait(10)
        app = api(reader, queries, dict, submit=submit or append)
        yield Asked(runner, app, lake)
        queries.close()
    reader.close()


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    with asking(tmp_path_factory.mktemp("store"), BATCHES) as ask:
        yield ask


WINDOW = {"start_time": START, "end_time": END}
H1 = {"hostname": "h1", "service": "persister", "pid": "7", "topic": "m"}
H2 = {"hostname": "h2", "service": "persister", "pid": "9", "topic": "m"}


def element_id(name, **dimensions):
    return id_of(name, tuple(sorted(dimensions.items())))


# --- Shapes ----------------------------------------------------------------------------------


def test_versions_are_told_to_those_who_ask_for_json_and_leave_the_top_to_others(ask):
    version = {
        "id": "v2.0",
        "links": [{"rel": "self", "href": "http://m:1/v2.0"}],
        "status": "CURRENT",
        "updated": "2013-03-06T00:00:00.000Z",
    }
    json_asked = {"headers": {"accept": "application/json"}}

    assert ask.request("GET", "http://m:1/", **json_asked).json() == {
        "links": [{"rel": "self", "href": "http://m:1/"}],
        "elements": [version],
    }
    assert ask.request("GET", "http://m:1/v2.0").json() == version
    assert ask.request("GET", "http://m:1/v2.0/").json() == version
    browser = {"headers": {"accept": "text/html,*/*"}}
    assert ask.request("GET", "http://m:1/", **browser).json() == {"detail": "Not Found"}


def test_metrics_are_listed_with_their_dimensions(ask):
    answer = ask("", name=TIMER, limit=5)

    assert answer.json() == {
        "links": [
            {"rel": "self", "href": "http://m:1/v2.0/metrics?name=persister.flush&limit=5"}
        ],
        "elements": [
            {"id": element_id(TIMER, **H1), "name": TIMER, "dimensions": H1},
            {"id": element_id(TIMER, **H2), "name": TIMER, "dimensions": H2},
        ],
    }


def test_a_resource_is_dimensions_under_the_names_of_monascas_agent(tmp_path):
    resource = Resource("api", "h1", 12, "r1", "z1", "2.0", (("cell", 4), ("empty", "")))
    readings = (
        Reading("a", Kind.GAUGE, (), 1, NOW, NOW),
        Reading("b", Kind.GAUGE, (("hostname", "own"), ("cell", "c")), 1, NOW, NOW),
    )
    bare = Batch(Resource(""), (Reading("c", Kind.GAUGE, (), 1, NOW, NOW),))
    with asking(tmp_path, [Batch(resource, readings), bare]) as ask:
        found = {each["name"]: each["dimensions"] for each in ask.of("")}

    told = {"hostname": "h1", "service": "api", "pid": "12", "region": "r1", "zone": "z1"}
    assert found == {
        "a": {**told, "cell": "4"},
        "b": {**told, "hostname": "own", "cell": "c"},
        "c": {},
    }


def test_names_and_dimensions_are_listed(ask):
    assert ask.of("/names") == [{"name": "persister.flush"}, {"name": "reqs"}, {"name": "used"}]
    assert ask.of("/names", dimensions="region:r1") == [{"name": "reqs"}]
    assert ask.of("/dimensions/names", metric_name="reqs") == [
        {"dimension_name": each} for each in ("hostname", "pid", "region", "service")
    ]
    assert ask.of("/dimensions/names/values", dimension_name="hostname") == [
        {"dimension_value": "h1"},
        {"dimension_value": "h2"},
    ]
    values = "/dimensions/names/values"
    assert ask.of(values, dimension_name="hostname", metric_name="used") == [
        {"dimension_value": "h1"}
    ]


def test_whatever_name_is_listed_can_be_asked_for(tmp_path):
    stored = ["disk used", "a{b}", "q&a;<x>", "n" * 300, 'say "(\\)"', "\u00e9\t,"]
    with asking(tmp_path, [gauged(0, 7, name=name) for name in stored]) as ask:
        listed = [each["name"] for each in ask.of("/names")]
        for name in listed:
            asked = {"name": name, **WINDOW}
            [measured] = ask.of("/measurements", **asked)
            [summed] = ask.of("/statistics", statistics="max", **asked)
            [metric] = ask.of("", name=name)
            dimensions = ask.of("/dimensions/names", metric_name=name)
            assert {one["name"] for one in (measured, summed, metric)} == {name}
            assert [row[1] for row in measured["measurements"] + summed["statistics"]] == [7, 7]
            assert {one["dimension_name"] for one in dimensions} == set(metric["dimensions"])

    assert listed == sorted(stored)


def test_measurements_are_what_each_interval_told(ask):
    answer = ask("/measurements", name="reqs", dimensions="hostname:h1", **WINDOW)

    dimensions = {"hostname": "h1", "service": "api", "pid": "1", "region": "r1"}
    assert answer.json()["elements"] == [
        {
            "id": element_id("reqs", **dimensions),
            "name": "reqs",
            "dimensions": dimensions,
            "columns": ["timestamp", "value", "value_meta"],
            "measurements": [
                ["2026-11-18T11:10:00.000Z", 5.0, {}],
                ["2026-11-18T11:10:10.000Z", 15.0, {}],
            ],
        }
    ]


def test_a_timers_measurement_is_its_average_in_seconds_and_the_rest_its_value_meta(ask):
    [found] = ask.of("/measurements", name=TIMER, dimensions="hostname:h1", **WINDOW)

    assert found["measurements"][0] == [
        "2026-11-18T11:10:00.000Z",
        pytest.approx(0.2),
        {"count": "2", "sum": "0.4", "min": "0.1", "max": "0.3"},
    ]


def test_statistics_are_of_events_in_the_order_in_which_they_are_asked_for(ask):
    [found] = ask.of(
        "/statistics",
        name=TIMER,
        dimensions="hostname:h1",
        statistics="avg,min,max,count,sum",
        **WINDOW,
    )

    assert found == {
        "id": element_id(TIMER, **H1),
        "name": TIMER,
        "dimensions": H1,
        "columns": ["timestamp", "avg", "min", "max", "count", "sum"],
        "statistics": [
            ["2026-11-18T11:10:00Z", pytest.approx(0.4), 0.1, 0.8, 3, pytest.approx(1.2)],
            ["2026-11-18T11:15:00Z", 0.2, 0.2, 0.2, 1, 0.2],
        ],
    }
    kinds = [[type(value) for value in row] for row in found["statistics"]]
    assert kinds == [[str, float, float, float, int, float]] * 2


def counting_since(after_s, kind, value, name):
    """What OpenTelemetry's SDK sends: all since a start that lies before NOW."""
    reading = Reading(name, kind, (), value, NOW - 1, NOW + after_s * S, cumulative=True)
    return Batch(Resource("api", "h1", 1), (reading,))


def test_no_plain_statistic_is_ever_null_whoever_kept_no_extremes(tmp_path):
    bounds = (0.0, 5.0, 25.0, 50.0)
    held = [{1: 1}, {1: 2, 2: 1}, {1: 2, 2: 1}]  # the last period has nothing
    kept = [Distribution(sum(h.values()), 10.0, None, None, h, bounds=bounds) for h in held]
    batches = [
        *(counting_since(10 * n, Kind.COUNTER, v, "reqs") for n, v in enumerate((3, 10, 12))),
        *(counting_since(300 * n, Kind.DISTRIBUTION, v, "sizes") for n, v in enumerate(kept)),
    ]
    with asking(tmp_path, batches) as ask:
        plain = {"statistics": "count,sum,avg,min,max", "start_time": START}
        [[counted_row], sized_rows] = [
            ask.of("/statistics", name=name, **plain)[0]["statistics"]
            for name in ("reqs", "sizes")
        ]

    assert counted_row[1:] == [3, 12, 4, 2, 7]
    # The average of the first is beyond its bucket: then it is the maximum.
    assert [row[1:] for row in sized_rows] == [[1, 10, 10, 0, 10], [2, 0, 0, 0, 25]]


def test_statistics_of_counters_and_gauges_are_of_what_each_interval_told(ask):
    def told(name):
        [found] = ask.of(
            "/statistics",
            name=name,
            statistics="count,sum,avg,min,max",
            merge_metrics="True",
            **WINDOW,
        )
        return found["statistics"]

    assert told("reqs") == [["2026-11-18T11:10:00Z", 3, 21.0, 7.0, 1.0, 15.0]]
    assert told("used") == [["2026-11-18T11:10:00Z", 2, 8.5, 4.25, 1.5, 7.0]]


@pytest.mark.parametrize("path", ["/statistics", "/measurements"])
@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("hostname:h1", {"hostname": "h1"}),
        ("hostname:h1|h2,topic:m", {"hostname": "h1|h2", "topic": "m"}),
        ("hostname", {"hostname": ""}),
    ],
)
def test_what_is_merged_has_the_dimensions_that_it_was_asked_by(ask, path, asked, told):
    more = {"statistics": "count"} if path == "/statistics" else {}
    [found] = ask.of(path, name=TIMER, dimensions=asked, merge_metrics="true", **more, **WINDOW)

    assert found["dimensions"] == told


def test_merged_metrics_have_no_dimensions_and_groups_only_theirs(ask):
    def told(**parameters):
        found = ask.of("/statistics", name=TIMER, statistics="count", **parameters, **WINDOW)
        return [(each["dimensions"], each["statistics"]) for each in found]

    first, second = "2026-11-18T11:10:00Z", "2026-11-18T11:15:00Z"
    assert told(merge_metrics="true") == [({}, [[first, 4], [second, 1]])]
    by_host = [
        ({"hostname": "h1"}, [[first, 3], [second, 1]]),
        ({"hostname": "h2"}, [[first, 1]]),
    ]
    assert told(group_by="hostname", merge_metrics="True") == by_host
    assert told(group_by="*") == [(H1, by_host[0][1]), (H2, by_host[1][1])]
    assert told(group_by="nothing,topic") == [
        ({"nothing": "", "topic": "m"}, [[first, 4], [second, 1]])
    ]


def test_merged_measurements_are_all_of_them_by_time(ask):
    [found] = ask.of("/measurements", name="reqs", merge_metrics="True", **WINDOW)

    assert (found["dimensions"], [row[1] for row in found["measurements"]]) == (
        {},
        [5.0, 15.0, 1.0],
    )


@pytest.mark.parametrize(
    ("wanted", "hosts"),
    [
        ("hostname:h1", ["h1"]),
        ("hostname", ["h1", "h2"]),
        ("hostname:h1|h2", ["h1", "h2"]),
        ("hostname:h2|h9,topic", ["h2"]),
        ("hostname:h1,pid:9", []),
        ("absent", []),
    ],
)
def test_dimensions_choose_metrics(ask, wanted, hosts):
    found = ask.of("", name=TIMER, dimensions=wanted)

    assert [each["dimensions"]["hostname"] for each in found] == hosts


@pytest.mark.parametrize("path", ["/measurements", "/statistics"])
def test_several_metrics_are_refused_unless_it_is_said_what_to_do_with_them(ask, path):
    answer = ask(path, name=TIMER, statistics="avg", **WINDOW)

    assert (answer.status_code, answer.json()["title"]) == (409, "MultipleMetrics")
    assert answer.json()["description"].startswith(
        "Found multiple metrics matching metric name and dimensions. Please refine"
    )


@pytest.mark.parametrize("path", ["", "/measurements", "/statistics"])
def test_a_metric_that_is_not_known_is_no_error(ask, path):
    answer = ask(path, name="no.such", statistics="avg", **WINDOW)

    assert (answer.status_code, answer.json()["elements"]) == (200, [])


def test_periods_are_whole_multiples_since_1970_and_empty_ones_are_left_out(tmp_path):
    batches = [gauged(at, 1) for at in (-1, 0, 119, 120, 359.5)]
    with asking(tmp_path, batches) as ask:
        [found] = ask.of(
            "/statistics",
            name="used",
            statistics="count",
            period=120,
            start_time="2026-11-18T11:09:30Z",
            end_time="2026-11-18T11:16:00Z",
        )

    assert found["statistics"] == [
        ["2026-11-18T11:08:00Z", 1],
        ["2026-11-18T11:10:00Z", 2],
        ["2026-11-18T11:12:00Z", 1],
        ["2026-11-18T11:14:00Z", 1],
    ]


def test_the_end_of_a_time_is_not_in_it(ask):
    window = {"start_time": START, "end_time": "2026-11-18T11:10:10Z"}

    [found] = ask.of("/measurements", name="used", **window)

    assert found["measurements"] == [["2026-11-18T11:10:00.000Z", 7.0, {}]]


# --- Percentiles -----------------------------------------------------------------------------


def test_percentiles_are_statistics_like_any_other(ask):
    [found] = ask.of(
        "/statistics", name=TIMER, statistics="p50,count,p99.9", merge_metrics="True", **WINDOW
    )

    assert found["columns"] == ["timestamp", "p50", "count", "p99.9"]
    first, second = found["statistics"]
    assert first == [
        "2026-11-18T11:10:00Z",
        pytest.approx(0.3, rel=0.02),
        4,
        pytest.approx(0.8, rel=0.02),
    ]
    assert second == ["2026-11-18T11:15:00Z", 0.2, 1, 0.2]


def test_a_derived_name_stands_for_a_percentile_for_clients_that_refuse_to_ask_for_it(ask):
    asked = {"name": f"{TIMER}.p50", "dimensions": "hostname:h1", **WINDOW}

    [found] = ask.of("/statistics", statistics="avg,max,count", **asked)
    [points] = ask.of("/measurements", **asked)
    [metric] = ask.of("", name=f"{TIMER}.p50", dimensions="hostname:h1")

    assert (found["name"], metric["name"], points["name"]) == (f"{TIMER}.p50",) * 3
    assert found["statistics"][0] == [
        "2026-11-18T11:10:00Z",
        pytest.approx(0.3, rel=0.02),
        pytest.approx(0.3, rel=0.02),
        3,
    ]
    assert [row[1] for row in points["measurements"]] == [
        pytest.approx(0.1, rel=0.02),
        pytest.approx(0.8, rel=0.02),
        pytest.approx(0.2, rel=0.02),
    ]
    assert {"name": f"{TIMER}.p50"} not in ask.of("/names")


def test_a_metric_that_is_really_called_so_goes_before_a_derived_one(tmp_path):
    with asking(tmp_path, [*BATCHES, gauged(0, 42, name=f"{TIMER}.p50")]) as ask:
        [found] = ask.of("/measurements", name=f"{TIMER}.p50", **WINDOW)

    assert [row[1] for row in found["measurements"]] == [42.0]


def test_what_has_no_buckets_has_no_percentiles(ask):
    [found] = ask.of("/statistics", name="used", statistics="p99", **WINDOW)

    assert found["statistics"] == [["2026-11-18T11:10:00Z", None]]
    assert ask.of("/statistics", name="used.p99", statistics="avg", **WINDOW) == []


# --- Pages -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def paged(tmp_path_factory):
    """Metrics whose points fall on the same moments, several within one millisecond."""
    readings = [
        Reading("many", Kind.GAUGE, (("n", str(series)),), n, at, at)
        for series in range(3)
        for n, at in enumerate([NOW, NOW + 1, NOW + 2, NOW + MS, NOW + 300 * S, NOW + 301 * S])
    ]
    batch = Batch(Resource("api", "h: 1,2|%41&x", 1), tuple(readings))
    with asking(tmp_path_factory.mktemp("paged"), [batch]) as ask:
        yield ask


@pytest.mark.parametrize("limit", [1, 2, 4, 5, 17, 18, 19])
@pytest.mark.parametrize(
    "how", [{"group_by": "*"}, {"merge_metrics": "True"}, {"group_by": "hostname"}]
)
def test_each_measurement_comes_once_however_they_are_paged(paged, how, limit):
    asked = {"name": "many", **WINDOW, **how}
    whole = [(e["id"], *row) for e in paged.of("/measurements", **asked) for row in rows_of(e)]

    pages = list(paged.pages("/measurements", limit=limit, **asked))

    sizes = [sum(len(rows_of(e)) for e in page) for page in pages]
    assert [(e["id"], *row) for page in pages for e in page for row in rows_of(e)] == whole
    assert len(whole) == 18
    assert sizes == [limit] * (18 // limit) + [18 % limit] * (18 % limit > 0)


@pytest.mark.parametrize("limit", range(1, 10))
def test_measurements_of_one_metric_and_one_moment_come_once_whatever_their_kind(
    tmp_path, limit
):
    kinds = [(Kind.GAUGE, "1"), (Kind.GAUGE, "By"), (Kind.COUNTER, "1")]
    readings = tuple(
        Reading("two", kind, (), value, at, at, unit)
        for value, at in enumerate([NOW, NOW + S, NOW + 2 * S])
        for kind, unit in kinds
    )
    with asking(tmp_path, [Batch(Resource("api"), readings)]) as ask:
        pages = list(ask.pages("/measurements", name="two", limit=limit, **WINDOW))

    found = [row[1] for page in pages for e in page for row in e["measurements"]]
    assert found == [0.0] * 3 + [1.0] * 3 + [2.0] * 3


def test_points_that_arrive_meanwhile_repeat_none_and_leave_none_out(tmp_path):
    with asking(tmp_path, [gauged(at, at) for at in range(0, 40, 2)]) as ask:
        found = []
        pages = ask.pages("/measurements", name="used", limit=3, group_by="*", **WINDOW)
        for number, page in enumerate(pages):
            found += [row[1] for e in page for row in e["measurements"]]
            late, other = gauged(number * 3 + 1, -1), counted("h0", number * 3, 9, name="used")
            ask._lake.append([late, other])

    assert [value for value in found if value not in (-1, 9)] == list(range(0, 40, 2))


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6, 7])
@pytest.mark.parametrize(("how", "rows"), [("*", 6), ("hostname", 2)])
def test_each_statistic_comes_once_however_they_are_paged(paged, how, rows, limit):
    asked = {"name": "many", "group_by": how, "statistics": "count,sum", **WINDOW}
    whole = [
        (e["id"], *row) for e in paged.of("/statistics", **asked) for row in e["statistics"]
    ]

    pages = list(paged.pages("/statistics", limit=limit, **asked))

    found = [(e["id"], *row) for page in pages for e in page for row in e["statistics"]]
    assert (found, len(found)) == (whole, rows)


@pytest.mark.parametrize("limit", [1, 2, 3])
@pytest.mark.parametrize(
    ("path", "count", "more"),
    [
        ("", 3, {}),
        ("/dimensions/names", 4, {}),
        ("/dimensions/names/values", 3, {"dimension_name": "n"}),
        ("/names", 1, {}),
    ],
)
def test_each_element_of_a_list_comes_once(paged, path, count, more, limit):
    pages = list(paged.pages(path, limit=limit, **more))

    found = [element for page in pages for element in page]
    assert (found, len(found)) == (paged.of(path, **more), count)


def test_periods_that_hold_nothing_are_passed_over_and_none_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr("nilometer.api.monasca.statistics.CELLS", 7)
    batches = [gauged(at, 1) for at in range(0, 4000, 371)]
    with asking(tmp_path, batches) as ask:
        window = {"start_time": "2026-11-18T10:00:00Z", "end_time": "2026-11-18T14:00:00Z"}
        asked = {"name": "used", "statistics": "count", "period": 1, **window}
        [whole] = ask.of("/statistics", **asked)
        pages = list(ask.pages("/statistics", limit=3, **asked))

    assert len(whole["statistics"]) == 11
    assert [row for [e] in pages for row in e["statistics"]] == whole["statistics"]


def rows_of(element):
    return [tuple(map(str, row)) for row in element["measurements"]]


def test_a_link_can_be_followed_by_clients_that_escape_it_again_and_by_others(paged):
    asked = {"name": "many", "group_by": "n", "limit": "4", **WINDOW}
    raw = "?" + "&".join(f"{key}={quote(value, safe='')}" for key, value in asked.items())
    links = {
        each["rel"]: each["href"] for each in paged("/measurements", raw=raw).json()["links"]
    }

    query = urlsplit(links["next"]).query
    assert quote(query, safe="=&:,*/") == query
    told = parse_qsl(query)
    assert [pair for pair in told if pair[0] != "offset"] == list(asked.items())
    twice = (
        links["next"].replace(":", "%3A").replace("http%3A", "http:").replace("m%3A1", "m:1")
    )
    plain, again = (
        paged.request("GET", each).json()["elements"] for each in (links["next"], twice)
    )
    assert plain == again != []


def test_an_offset_as_answers_show_it_goes_on_after_that_millisecond(paged):
    asked = {"name": "many", "dimensions": "n:1", **WINDOW}
    [whole] = paged.of("/measurements", **asked)
    shown = whole["measurements"]

    [rest] = paged.of("/measurements", offset=f"{whole['id']}_{shown[0][0]}", **asked)
    [same] = paged.of("/measurements", offset=shown[0][0], **asked)

    assert rest["measurements"] == same["measurements"] == shown[3:]


def test_every_path_may_end_in_a_slash_as_monasca_s(tmp_path):
    with asking(tmp_path) as ask:
        assert ask.post(POINT, path="/").status_code == 204
        for path in ("", "/names", "/dimensions/names"):
            assert ask(f"{path}/").json()["elements"] == ask(path).json()["elements"] != []


# --- Posting ---------------------------------------------------------------------------------


POINT = {
    "name": "cpu1",
    "dimensions": {"hostname": "h1", "service": "x"},
    "timestamp": 1795000200123.4375,
    "value": 123.4,
    "value_meta": {"rc": "404", "msg": "not 'found' <b>"},
}


def test_a_posted_point_comes_back_as_it_was(tmp_path):
    with asking(tmp_path) as ask:
        answer = ask.post(POINT)
        [found] = ask.of("/measurements", name="cpu1", **WINDOW)

    assert (answer.status_code, answer.content) == (204, b"")
    assert found == {
        "id": element_id("cpu1", **POINT["dimensions"]),
        "name": "cpu1",
        "dimensions": POINT["dimensions"],
        "columns": ["timestamp", "value", "value_meta"],
        "measurements": [["2026-11-18T11:10:00.123Z", 123.4, POINT["value_meta"]]],
    }


@pytest.mark.parametrize(
    "meta",
    [
        {
            "rc": 404,
            "ok": True,
            "none": None,
            "share": 0.5,
            "list": [1, "a"],
            "deep": {"k": {}},
        },
        {"float": "nan"},
        {"k": {"float": "nan"}, "é": "\u2028"},
        {"whole": 10**400},
    ],
    ids=["any JSON", "text called float", "object called float", "long"],
)
def test_value_meta_may_be_any_json_as_monasca_takes_it(tmp_path, meta):
    with asking(tmp_path) as ask:
        status = ask.post({**POINT, "value_meta": meta}).status_code
        [found] = ask.of("/measurements", name="cpu1", **WINDOW)

    assert (status, found["measurements"][0][2]) == (204, meta)


def test_posted_and_measured_points_of_one_metric_keep_what_is_theirs(tmp_path):
    used = Reading("used", Kind.GAUGE, (), 3, NOW, NOW, "", "no JSON: memory in use")
    with asking(tmp_path, [Batch(Resource("", "h1"), (used,))]) as ask:
        point = {"name": "used", "dimensions": {"hostname": "h1"}, "timestamp": NOW // MS}
        ask.post([{**point, "value": 1, "value_meta": {"rc": "404"}}])
        [found] = ask.of("/measurements", name="used", **WINDOW)
        [told] = ask.of("/statistics", name="used", statistics="count,sum,max", **WINDOW)

    at = "2026-11-18T11:10:00.000Z"
    assert sorted(found["measurements"]) == [[at, 1.0, {"rc": "404"}], [at, 3.0, {}]]
    assert told["statistics"] == [["2026-11-18T11:10:00Z", 2, 4.0, 3.0]]


def test_many_points_at_once_and_the_same_again_count_once(tmp_path):
    points = [{"name": "n", "timestamp": NOW // MS + n, "value": n} for n in range(5)]
    with asking(tmp_path) as ask:
        statuses = [ask.post(points).status_code, ask.post(points).status_code]
        [found] = ask.of("/measurements", name="n", **WINDOW)

    assert statuses == [204, 204]
    assert [row[1] for row in found["measurements"]] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_points_belong_to_the_tenant_they_were_posted_for(tmp_path):
    with asking(tmp_path, BATCHES) as ask:
        ask.post({**POINT, "value": 1}, params={"tenant_id": "a"})
        ask.post({**POINT, "value": 2}, params={"tenant_id": "b"})
        found = ask.of("", tenant_id="a")
        [points] = ask.of("/measurements", name="cpu1", tenant_id="b", **WINDOW)

    assert [each["name"] for each in found] == ["cpu1"]
    assert [row[1] for row in points["measurements"]] == [2.0]


@pytest.mark.parametrize(
    ("change", "description"),
    [
        ({"name": None}, "invalid metric name"),
        ({"name": "a b"}, "invalid characters in metric name 'a b'"),
        ({"name": "<script>"}, "invalid characters in metric name '<script>'"),
        (
            {"name": "x" * 256},
            f"Metric name must be between 1 and 255 characters: {'x' * 199}…",
        ),
        ({"timestamp": "now"}, "Timestamp must be a number"),
        ({"timestamp": -1}, "Timestamp must be milliseconds since 1970"),
        ({"timestamp": 1e30}, "Timestamp must be milliseconds since 1970"),
        ({"value": "7"}, "Value must be a number"),
        ({"value": True}, "Value must be a number"),
        ({"value": float("nan")}, "Value must be a finite number"),
        ({"value": 10**400}, "Value must be a finite number"),
        ({"dimensions": []}, "dimensions must be a JSON object"),
        ({"dimensions": {"_k": "v"}}, "invalid dimension key '_k'"),
        ({"dimensions": {"k": ""}}, "dimension 'k' must be 1 to 255 characters of text"),
        ({"dimensions": {"k": 1}}, "dimension 'k' must be 1 to 255 characters of text"),
        ({"dimensions": {"k": "a;b"}}, "invalid characters in dimension 'k'"),
        ({"value_meta": ["k"]}, "value_meta must be a JSON object"),
        (
            {"value_meta": {"k": [float("inf")]}},
            "value_meta holds a number that no JSON can say",
        ),
        (
            {"value_meta": {"k": json.loads("[" * 32 + "]" * 32)}},
            "value_meta is nested deeper than 32",
        ),
        (
            {"value_meta": {str(n): "v" for n in range(17)}},
            "value_meta has at most 16 entries",
        ),
        (
            {"value_meta": {"k": "v" * 2048}},
            "value_meta has at most 2048 characters of JSON",
        ),
    ],
)
def test_a_point_that_is_none_is_refused_with_all_that_came_with_it(
    tmp_path, change, description
):
    with asking(tmp_path) as ask:
        answer = ask.post([POINT, {**POINT, **change}])
        listed = ask.of("")

    told = {"title": "Unprocessable Entity", "description": description}
    assert (answer.status_code, answer.json(), listed) == (422, told, [])


@pytest.mark.parametrize(
    ("body", "content_type", "status", "description"),
    [
        (b"{", "application/json", 400, "Request body is not valid JSON"),
        (b"\xff", "application/json", 400, "Request body is not valid JSON"),
        (b"[" * 100_000, "application/json", 400, "Request body is not valid JSON"),
        (b"{}", "text/plain", 400, "Bad content type. Must be application/json"),
        (
            b"{}",
            "application/json; charset=utf-8",
            400,
            "Bad content type. Must be application/json",
        ),
        (b"7", "application/json", 422, "a metric is a JSON object"),
        (b"{}", "application/json", 422, "Missing name"),
        (b"[" + b"1," * 20_000 + b"1]", "application/json", 413, "at most 20000 metrics"),
        (b" " * (9 << 20), "application/json", 413, "at most 8388608 bytes"),
    ],
    ids=str,
)
def test_a_body_that_is_none_is_refused(ask, body, content_type, status, description):
    answer = ask.post(body, headers={"content-type": content_type})

    assert answer.status_code == status
    assert answer.json()["description"].startswith(description)


def test_what_cannot_be_committed_is_not_acknowledged(tmp_path):
    async def refuse(_batches):
        raise NilometerError("not committed: the disk is full", slug="not-committed")

    with asking(tmp_path, submit=refuse) as ask:
        answer = ask.post(POINT)

    assert (answer.status_code, answer.json()["title"]) == (503, "Service unavailable")
    assert answer.headers["retry-after"] == "2"


# --- What is outside the grammar -------------------------------------------------------------


GOOD = {"name": TIMER, "statistics": "avg", "merge_metrics": "True", **WINDOW}


@pytest.mark.parametrize(
    ("path", "change", "status", "title", "description"),
    [
        ("/statistics", {"start_time": None}, 422, "", "Missing start time"),
        ("/statistics", {"name": None}, 422, "", "Missing name"),
        ("/statistics", {"statistics": None}, 422, "", "Missing statistics"),
        ("/statistics", {"statistics": "avg,median"}, 422, "", "Invalid statistic"),
        ("/statistics", {"statistics": "p999"}, 422, "", "Invalid statistic"),
        ("/statistics", {"period": "1m"}, 422, "", "Period must be a valid integer"),
        ("/statistics", {"period": "0"}, 422, "", "Period must be a positive integer"),
        ("/statistics", {"period": "-300"}, 422, "", "Period must be a positive integer"),
        ("/measurements", {"dimensions": ":v"}, 422, "", "Dimensions are malformed"),
        ("/measurements", {"merge_metrics": "maybe"}, 422, "", "merge_metrics must be true or"),
        (
            "/measurements",
            {"start_time": "soon"},
            422,
            "",
            "Unable to parse date string 'soon'",
        ),
        ("/measurements", {"end_time": "1e9"}, 422, "", "Unable to parse date string '1e9'"),
        ("/measurements", {"offset": "x"}, 422, "", "Unable to parse date string 'x'"),
        ("/measurements", {"offset": f"no_{START}"}, 422, "", "no metric has the id in the"),
        ("/statistics", {"offset": f"no_{START}"}, 422, "", "no metric has the id in the"),
        ("/statistics", {"name": [TIMER, "b"]}, 422, "", "name is given more than once"),
        (
            "/measurements",
            {"limit": "ten"},
            422,
            "Invalid limit",
            "Limit parameter ten must be",
        ),
        ("", {"limit": "0"}, 422, "Invalid limit", "Limit parameter 0 must be"),
        ("", {"offset": "x"}, 422, "", "no metric has the id in the offset 'x' any more"),
        ("/dimensions/names/values", {}, 422, "", "Missing dimension_name"),
        (
            "/statistics",
            {"start_time": END, "end_time": START},
            400,
            "Bad request",
            "start_time must be before end_time",
        ),
    ],
)
def test_a_query_outside_the_grammar_gets_this_apis_own_error(
    ask, path, change, status, title, description
):
    given = {key: value for key, value in (GOOD | change).items() if value is not None}

    answer = ask(path, **given)

    assert (answer.status_code, answer.json()["title"]) == (
        status,
        title or "Unprocessable Entity",
    )
    assert answer.json()["description"].startswith(description)
    assert set(answer.json()) == {"title", "description"}


@pytest.mark.parametrize(
    ("method", "path", "status", "title"),
    [
        ("GET", "/no/such", 404, "404 Not Found"),
        ("DELETE", "", 405, "405 Method Not Allowed"),
        ("POST", "/statistics", 405, "405 Method Not Allowed"),
    ],
)
def test_what_there_is_not_has_falcons_titles(ask, method, path, status, title):
    answer = ask.request(method, path)

    assert (answer.status_code, answer.json()) == (status, {"title": title})


def test_a_limit_beyond_ten_thousand_is_ten_thousand():
    assert grammar.limit_of(grammar.Fields(b"limit=999999")) == 10_000
    assert grammar.limit_of(grammar.Fields(b"")) == 10_000


# Texts that a query can hold, with what the grammar itself is made of.
odd = st.text(
    st.sampled_from("ab:|,*%&=_.p9'\"<>-0\x00\n\u202e") | st.characters(codec="utf-8"),
    max_size=20,
)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    path=st.sampled_from(["", "/names", "/measurements", "/statistics", "/dimensions/names"]),
    change=st.dictionaries(st.sampled_from([*GOOD, "dimensions", "group_by", "offset"]), odd),
)
@example(path="/measurements", change={"offset": "_0001-01-01T00:00:00+23:59"})
def test_whatever_a_query_holds_it_is_answered_or_refused_by_the_grammar(ask, path, change):
    answer = ask(path, **(GOOD | change))

    assert answer.status_code in (200, 400, 409, 422)
    json.loads(answer.text, parse_constant=pytest.fail)


@settings(max_examples=200)
@given(st.binary(max_size=60))
def test_no_bytes_of_a_query_are_more_than_its_grammar(query):
    with suppress(grammar.Fault):
        assert all(isinstance(value, str) for _, value in grammar.Fields(query).pairs)


def test_hostile_text_in_dimensions_stays_text(tmp_path):
    hostile = "<script>alert('x')</script>'; DROP TABLE readings; --\u202e\n"
    reading = Reading("n", Kind.GAUGE, ((hostile, hostile),), 1, NOW, NOW)
    with asking(tmp_path, [Batch(Resource(""), (reading,))]) as ask:
        [found] = ask.of("/measurements", name="n", group_by="*", **WINDOW)
        answer = ask("")

    assert found["dimensions"] == {hostile: hostile}
    assert answer.headers["content-type"] == "application/json"
