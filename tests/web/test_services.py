"""Laws of the page of services: who lives, what each did, lost and cost."""

from __future__ import annotations

import csv
import io
import re

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
from nilometer.web import paint, services
from tests.web.pages import asking

S = 10**9
NOW = 1_800_000_000 * S
HOSTILE = "<script>alert('x')</script>\u202e"


STATUS = "http.response.status_class"


def reading(name, kind, value, at_s, *, unit="1", **dimensions):
    pairs = tuple(sorted(dimensions.items()))
    at = NOW + at_s * S
    return Reading(name, kind, pairs, value, at - 10 * S, at, unit)


def told(at_s):
    """What a service that serves two requests in each interval tells, one of them in vain."""
    return (
        reading(
            "http.server.request",
            Kind.DISTRIBUTION,
            Distribution.of([1_000_000, 3_000_000]),
            at_s,
            unit="ns",
            **{"http.route": "/orders"},
        ),
        reading("http.server.responses", Kind.COUNTER, 1, at_s, **{STATUS: "2xx"}),
        reading("http.server.responses", Kind.COUNTER, 1, at_s, **{STATUS: "5xx"}),
        reading("nilometer.overhead", Kind.COUNTER, 4000, at_s, unit="ns", part="recording"),
        reading("nilometer.overhead", Kind.COUNTER, 6000, at_s, unit="ns", part="export"),
    )


LOST = reading("nilometer.lost", Kind.COUNTER, 7, -5, what="spans", reason="ring_full")
SPAN = SpanRecord(
    bytes(range(16)), bytes(8), b"", "job", SpanKind.INTERNAL, NOW - 9 * S, NOW - 8 * S, {}
)
BATCHES = (
    Batch(Resource("orders", "c1", 1, version="1.2"), (*told(-5), LOST), ()),
    Batch(Resource("orders", "c1", 1, version="1.2"), told(-15), ()),
    Batch(Resource("orders", "c1", 2, version="1.1"), told(-320), ()),
    Batch(Resource("orders", "c1", 2, version="1.1"), told(-330), ()),
    Batch(Resource(HOSTILE, "c2", 3), (reading("sold", Kind.COUNTER, 1, -4000),), ()),
    Batch(Resource("=tracer", "c3", 4), (), (SPAN,)),
)


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    clock = Clock(wall_ns=lambda: NOW)
    with asking(tmp_path_factory.mktemp("store"), BATCHES, clock=clock) as ask:
        yield ask


def test_a_service_tells_how_busy_how_slow_how_wrong_and_how_costly_it_was(ask):
    orders = ask("/services", format="json").json()["services"][1]

    processes = orders.pop("processes")
    p50_ns, p99_ns = orders.pop("p50_ns"), orders.pop("p99_ns")
    assert orders == {
        "service": "orders",
        "alive": 1,
        "versions": ["1.2"],
        "metric": "http.server.request",
        "count": 8,
        "rate_per_s": 8 / 3600,
        "errors": 4,
        "avg_ns": 2_000_000,
        "max_ns": 3_000_000,
        "lost": 7,
        "overhead_ns": 40_000,
        "overhead_per_request_ns": 5000,
    }
    assert p50_ns == pytest.approx(1_000_000, rel=0.012)
    assert p99_ns == pytest.approx(3_000_000, rel=0.012)
    assert [(one["pid"], one["count"]) for one in processes] == [(1, 4), (2, 4)]


def test_what_takes_long_is_no_part_of_the_first_page_and_is_asked_for_after_it(
    ask, monkeypatch
):
    whole = ask("/services").text
    monkeypatch.setattr(paint, "AT_ONCE", 2 * 12 - 1)  # two series, twelve five minutes

    first, then = ask("/services").text, ask("/services", quantiles="true").text
    told = ask("/services", format="json").json()["services"][1]

    assert 'data-late="quantiles"' in first
    assert (first.count("..."), "2.00 ms" in first) == (2 * 3, True)  # a service, processes
    cells = [re.findall(r'<td class="n">(.*?)</td>', page) for page in (then, whole)]
    assert cells[0] == cells[1]
    assert "data-late" not in whole + then
    assert told["p99_ns"] == pytest.approx(3_000_000, rel=0.012)


def test_of_very_many_processes_those_heard_last_are_shown_and_the_data_have_all(
    ask, monkeypatch
):
    monkeypatch.setattr(services, "PROCESSES", 2)

    page = ask("/services").text
    rows = list(csv.reader(io.StringIO(ask("/services", format="csv").text)))

    shown = page.partition("<h2>Processes</h2>")[2]
    hosts = re.findall(r"<td>(c\d)</td>\s*<td class=\"n\">(\d)</td>", shown)
    assert hosts == [("c3", "4"), ("c1", "1")]
    assert "of 3 these 2 were heard last" in shown
    assert [row[2] for row in rows[1:] if row[2]] == ["4", "1", "2"]


def test_where_many_were_heard_at_once_none_who_was_heard_later_is_left_out(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(services, "PROCESSES", 3)
    heard = [("api", 1, -60), ("api", 2, -60), ("api", 3, -60), ("work", 4, -5)]
    batches = [
        Batch(Resource(name, "c1", pid), (reading("sold", Kind.COUNTER, 1, at_s),))
        for name, pid, at_s in heard
    ]
    with asking(tmp_path, batches, clock=Clock(wall_ns=lambda: NOW)) as ask:
        page = ask("/services").text

    shown = page.partition("<h2>Processes</h2>")[2]
    assert re.findall(r"<td>c1</td>\s*<td class=\"n\">(\d)</td>", shown) == ["1", "2", "4"]


def test_a_process_is_alive_while_its_silence_is_shorter_than_three_intervals(ask):
    orders = ask("/services", format="json").json()["services"][1]

    told = [
        (one["pid"], one["alive"], one["silent_ns"] // S, one["interval_ns"] // S)
        for one in orders["processes"]
    ]
    assert told == [(1, True, 5, 10), (2, False, 320, 10)]


@pytest.mark.parametrize("every_s", [290, 400, 600, 1800, 3600, 3620])
@pytest.mark.parametrize("intervals", [0.5, 0.95, 2.8])
def test_that_is_so_of_who_speaks_seldom_too(tmp_path, every_s, intervals):
    """Beside one that speaks often, and looked at for less time than one interval takes."""
    silent_s = int(every_s * intervals)
    batches = [
        Batch(Resource("seldom", "h1", 1), told(-silent_s - number * every_s))
        for number in (1, 0)
    ] + [Batch(Resource("often", "h1", 2), told(at_s)) for at_s in (-15, -5)]

    with asking(tmp_path, batches, clock=Clock(wall_ns=lambda: NOW)) as ask:
        answer = ask("/services", since="3h", format="json").json()["services"]
        if silent_s < 900:
            shorter = ask("/services", since="15m", format="json").json()["services"]
            assert shorter[1]["processes"][0]["alive"]

    found = answer[1]["processes"][0]
    assert (found["alive"], found["interval_ns"]) == (True, every_s * S)


def test_whoever_spoke_often_is_gone_though_others_speak_seldom(tmp_path):
    batches = [
        Batch(Resource("gone", "h1", 1), told(at_s)) for at_s in (-3650, -3640, -3630)
    ] + [Batch(Resource("seldom", "h1", 2), told(at_s)) for at_s in (-5400, -1800)]

    with asking(tmp_path, batches, clock=Clock(wall_ns=lambda: NOW)) as ask:
        answer = ask("/services", since="3h", format="json").json()["services"]

    assert [(one["service"], one["alive"]) for one in answer] == [("gone", 0), ("seldom", 1)]


def test_a_halt_of_hours_is_no_interval(tmp_path):
    batches = [Batch(Resource("a", "h1", 1), told(at_s)) for at_s in (-9000, -600)]

    with asking(tmp_path, batches, clock=Clock(wall_ns=lambda: NOW)) as ask:
        (answer,) = ask("/services", since="3h", format="json").json()["services"]

    assert (answer["alive"], answer["processes"][0]["interval_ns"]) == (0, None)


def test_whoever_sends_only_spans_is_a_service_too(ask):
    answer = ask("/services", format="json").json()["services"]

    assert [(one["service"], one["alive"]) for one in answer] == [("=tracer", 1), ("orders", 1)]


def test_a_longer_time_that_goes_on_begins_with_full_five_minutes(tmp_path):
    clock = Clock(wall_ns=lambda: NOW + 123 * S)

    with asking(tmp_path, BATCHES, clock=clock) as ask:
        begun = [
            ask("/services", since=since, format="json").json()["since_ns"] - NOW
            for since in ("1h", "15m")
        ]
        page = ask("/services", since="1h").text

    assert begun == [-3600 * S, (123 - 900) * S]
    assert "from 2027-01-15 07:00:00 UTC" in page


def test_hostile_names_stay_text_on_the_page_and_in_the_sheet(ask):
    page = ask("/services", since="2h")
    sheet = list(csv.reader(io.StringIO(ask("/services", since="2h", format="csv").text)))

    assert page.status_code == 200
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;?" in page.text
    assert "<script>alert" not in page.text
    assert "\u202e" not in page.text
    assert {row[0] for row in sheet[1:]} == {"'=tracer", "orders", HOSTILE}


def test_a_time_without_anything_says_how_a_service_is_measured(ask):
    answer = ask("/services", since="1s", until="now")

    assert "nilometer run --export" in answer.text


def test_the_page_says_what_it_shows_and_how_to_show_just_that_for_ever(ask):
    answer = ask("/services", since="15m")

    assert "last 15 minutes" in answer.text
    assert "since=2027-01-15T07%3A45%3A00.000000000Z" in answer.text
    assert "until=2027-01-15T08%3A00%3A00.000000000Z" in answer.text
