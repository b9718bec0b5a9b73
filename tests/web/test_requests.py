"""Laws of the pages about requests: the facts that REST tells, each a link to the next one."""

from __future__ import annotations

import csv
import io
import re
import threading
from html import unescape

import pytest

from nilometer.clock import wall_ns
from nilometer.model import Batch, Resource, SpanKind, SpanRecord, Status
from nilometer.model.units import duration, moment
from nilometer.web import happened, paint, requests
from tests import asked
from tests.notified import (
    IMAGE,
    NETWORK,
    REQUEST,
    SECOND,
    SERVER,
    THIRD,
    cloud,
    instance,
    notified,
)
from tests.web.pages import asking

S = 10**9
NOW = wall_ns() // S * S - 60 * S
HOSTILE = "<script>alert(1)</script>"
SPAN = SpanRecord(
    *(bytes(range(16)), b"rootroot", b"", "POST /servers", SpanKind.SERVER),
    *(NOW, NOW + 9 * S, {"request_id": REQUEST}),
    status=Status.ERROR,
    status_message="boom",
)
BATCHES = [*cloud(NOW), Batch(Resource("api", "ctl"), spans=(SPAN,))]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("requests") / "store"


@pytest.fixture(scope="module")
def ask(store):
    with asking(store, BATCHES) as ask:
        assert ask("/requests").status_code == 200  # threads that ask live from here on
        yield ask


def told(ask, path, **parameters):
    answer = ask(path, format="json", **parameters)
    assert answer.status_code == 200
    return answer.json()


@pytest.mark.parametrize(
    ("page", "rest", "parameters"),
    [
        ("/requests", "requests", {}),
        ("/requests", "requests", {"failed": "true"}),
        ("/requests", "requests", {"service": "scheduler"}),
        (f"/requests/{REQUEST}", f"requests/{REQUEST}", {}),
        (f"/resources/{SERVER}", f"resources/{SERVER}", {}),
    ],
)
def test_a_page_tells_what_rest_tells(ask, store, page, rest, parameters):
    with asked.asking(store, []) as answer:
        expected = answer(f"/api/v1/{rest}", **parameters).json()

    found = told(ask, page, **parameters)

    assert {key: found[key] for key in expected} == expected


def test_operations_have_their_times_and_requests_those_of_their_tenants(ask, store):
    shares = {"p50": "0.5", "p95": "0.95", "p99": "0.99"}
    with asked.asking(store, []) as answer:
        quantiles = list(shares.values())
        timings = answer("/api/v1/timings", quantile=quantiles).json()["timings"]
        kpi = answer("/api/v1/kpi", quantile=quantiles).json()["kpi"]

    found = told(ask, "/requests", view="operations")

    for one in (*timings, *kpi):
        one["quantiles"] = {name: one["quantiles"][share] for name, share in shares.items()}
    assert (found["timings"], found["kpi"]) == (timings, kpi)


def test_failures_are_the_notifications_of_what_failed(ask):
    (failed,) = told(ask, "/requests", view="failures")["happenings"]

    assert (failed["name"], failed["text"]) == ("compute.instance.create.error", "No disk left")
    assert "No disk left" in ask("/requests", view="failures").text


def test_a_request_leads_to_its_traces_and_its_resources(ask):
    page = ask(f"/requests/{REQUEST}").text

    assert f'href="/traces/{SPAN.trace_id.hex()}"' in page
    assert f'href="/resources/{SERVER}"' in page
    assert f'href="/requests/{REQUEST}"' in ask(f"/resources/{SERVER}").text


def test_ends_whose_start_nobody_told_are_counted_as_such(tmp_path):
    ended = notified("volume.create.end", instance(), NOW)
    with asking(tmp_path / "store", [ended]) as ask:
        page = ask("/requests", view="operations").text
        sheet = ask("/requests", view="operations", format="csv").text

    names = ("of", "operation", "count", "min_ns", "unfinished", "end_only")
    rows = csv.DictReader(io.StringIO(sheet))
    assert [[row[name] for name in names] for row in rows] == [
        ["timings", "volume.create", "0", "", "0", "1"],
        ["kpi", "volume.create", "0", "", "", "1"],
    ]
    assert "Not begun" in page
    ends = r'volume\.create</a>.*?<td class="n">0</td><td class="n">1</td></tr>'
    assert re.search(ends, page, re.DOTALL)


def test_operations_of_many_notifications_come_after_the_first_page(ask, monkeypatch):
    whole = ask("/requests", view="operations").text
    monkeypatch.setattr(paint, "NOTIFICATIONS", 1)

    first = ask("/requests", view="operations").text
    then = ask("/requests", view="operations", wait="true").text

    assert ["data-late" in page for page in (first, then, whole)] == [True, False, False]
    assert ["<table>" in page for page in (first, then, whole)] == [False, True, True]
    assert told(ask, "/requests", view="operations")["timings"]


def test_a_request_s_operations_are_its_attempts_with_their_outcomes(ask):
    found = told(ask, f"/requests/{REQUEST}")["operations"]

    assert [(one["operation"], one["duration_ns"], one["outcome"]) for one in found] == [
        ("scheduler.select_destinations", S // 2, "ended"),
        ("compute.instance.create", None, "failed"),
        ("compute.instance.create", 4 * S, "ended"),
    ]


@pytest.mark.parametrize(
    ("told", "leads"),
    [
        (REQUEST, f"/requests/{REQUEST}"),
        (f" {NETWORK} ", f"/resources/{NETWORK}"),
        (IMAGE, f"/resources/{IMAGE}"),
        ("unheard/of", "/requests/unheard%2Fof"),
    ],
)
def test_one_field_finds_requests_and_resources(ask, told, leads):
    answer = ask("/requests", id=told)

    assert (answer.status_code, answer.headers["location"]) == (303, leads)


@pytest.mark.parametrize(
    ("path", "parameters", "status", "said"),
    [
        ("/requests/nobody", {}, 404, "nothing is known of &#39;nobody&#39;"),
        ("/requests/a/b", {}, 404, "a/b"),
        ("/resources/", {}, 404, "write the id"),
        (f"/requests/{REQUEST}", {"until": "2020-01-01", "since": "2019-01-01"}, 404, "time"),
        ("/requests", {"view": "operatons"}, 422, "did you mean &#39;operations&#39;"),
        ("/requests", {"limit": "0"}, 422, "limit"),
        ("/requests", {"projct": "x"}, 422, "did you mean &#39;project&#39;"),
        ("/requests", {"format": "xml"}, 422, "html, json, csv"),
    ],
)
def test_what_cannot_be_shown_says_what_to_do(ask, path, parameters, status, said):
    answer = ask(path, **parameters)

    assert answer.status_code == status
    assert said in answer.text


def test_an_empty_store_says_where_requests_come_from(tmp_path):
    with asking(tmp_path / "store") as ask:
        pages = [ask("/requests", view=view).text for view in ("requests", "operations")]

    assert "nilometer serve --notifications" in pages[0]
    assert "No notification tells of an operation" in pages[1]


def test_a_sheet_has_a_line_for_each_request(ask):
    rows = list(csv.DictReader(io.StringIO(ask("/requests", format="csv").text)))

    assert [(one["id"], one["errors"]) for one in rows] == [
        (THIRD, "0"),
        (SECOND, "0"),
        (REQUEST, "1"),
    ]


def test_a_request_with_many_long_lines_is_a_small_page_and_whole_in_its_data(tmp_path):
    long = "it failed, and here is where: " * 300
    payload = {**instance(), "exception": long, "state": long}
    batches = [
        notified("compute.instance.create.error", payload, NOW + n * S, publisher=long)
        for n in range(400)
    ]
    with asking(tmp_path / "store", batches) as ask:
        pages = [ask(path) for path in (f"/requests/{REQUEST}", f"/resources/{SERVER}")]
        failures = ask("/requests", view="failures")
        asked_for_more = ask(f"/requests/{REQUEST}", limit=1000)
        sheet = ask(f"/requests/{REQUEST}", format="csv", limit=1000)

    assert all(len(one.content) < 500_000 for one in (*pages, failures, asked_for_more))
    rows = list(csv.DictReader(io.StringIO(sheet.text)))
    assert (len(rows), len(rows[0]["text"]) > 600) == (400, True)


def test_lines_that_take_many_bytes_a_letter_are_a_small_page_too(tmp_path):
    texts = ["注文の保存に失敗しました。" * 80, '{"a": "<b>"}' * 100]
    batches = [
        notified("volume.create.error", {**instance(), "exception": texts[n % 2]}, NOW + n * S)
        for n in range(happened.LIMIT)
    ]
    with asking(tmp_path / "store", batches) as ask:
        page = ask(f"/requests/{REQUEST}")

    assert len(page.content) < 500_000
    assert page.text.count('<td class="told">注文の保存') == happened.LIMIT / 2


def test_a_thousand_failures_are_a_small_page_that_leads_to_all_as_csv(tmp_path):
    payload = {**instance(), "exception": "Traceback: " + 200 * "line, "}
    of = "compute.instance.create.error"
    batches = [notified(of, payload, NOW - n * S, request=f"req-{n}") for n in range(1001)]
    with asking(tmp_path / "store", batches) as ask:
        first = ask("/requests", view="failures").text
        (place,) = leading(first, "show up to 300")
        page = ask(place)
        longest = ask("/requests", view="failures", limit="1000")
        (place,) = leading(page.text, "take up to 1,000 as CSV")
        sheet = list(csv.DictReader(io.StringIO(ask(place).text)))

    assert all(len(one.content) < 500_000 for one in (page, longest))
    assert [one.text.count('<th scope="row"') for one in (page, longest)] == [300, 300]
    assert len(leading(longest.text, "take up to 1,000 as CSV")) == 1
    assert len(sheet) == 1000


def test_of_a_long_text_the_end_is_shown_too(tmp_path):
    payload = {**instance(), "exception": "Traceback: " + 80 * "a frame, " + "no valid host"}
    batch = notified("compute.instance.create.error", payload, NOW)
    with asking(tmp_path / "store", [batch]) as ask:
        pages = [ask(f"/requests/{REQUEST}").text, ask("/requests", view="failures").text]

    assert all("Traceback: " in page and "no valid host" in page for page in pages)


def test_what_is_not_on_the_page_of_a_request_is_on_the_one_before(ask, monkeypatch):
    monkeypatch.setattr(happened, "LIMIT", 4)
    every = told(ask, f"/requests/{REQUEST}", limit=1000)["happenings"]

    page = ask(f"/requests/{REQUEST}").text
    pages = [page]
    while further := re.search(r'<a href="([^"]+)">those before</a>', pages[-1]):
        pages.append(ask(unescape(further[1])).text)
    back = re.search(r'<a href="([^"]+)">those after</a>', pages[1])

    shown = [re.findall(r'<th scope="row".*?class="whole".*?>(.*?)<', one) for one in pages]
    operations = len(shown[0]) - 4
    rows = [row for one in reversed(shown) for row in one[operations:]]
    assert rows == [one["name"] or one["kind"] for one in every]
    assert len({re.search(r"<dt>Began</dt>.*", one)[0] for one in pages}) == 1
    assert ask(unescape(back[1])).text == page


def many(number, failed=()):
    """So many attempts, two hours ago, of one request for one resource."""
    first = NOW - 7200 * S
    return [
        notified(
            f"volume.create.{'error' if n in failed else 'end'}", instance(), first + n * S
        )
        for n in range(number)
    ]


@pytest.fixture(scope="module")
def ask_of_many(tmp_path_factory):
    batches = many(happened.LIMIT + 1, failed=(0,))
    with asking(tmp_path_factory.mktemp("many") / "store", batches) as ask:
        yield ask


SOME_OF_IT = [{}, {"skip": "200"}, {"limit": "50"}]


def leading(page, word):
    """Where the links of that word lead."""
    return [unescape(found) for found in re.findall(rf'href="([^"]+)"[^>]*>{word}</a>', page)]


@pytest.mark.parametrize("path", [f"/requests/{REQUEST}", f"/resources/{SERVER}"])
@pytest.mark.parametrize("asked_for", SOME_OF_IT)
def test_the_data_of_more_lines_than_a_page_shows_say_what_the_page_says(
    ask_of_many, path, asked_for
):
    page = ask_of_many(path, **asked_for).text
    data = ask_of_many(leading(page, "JSON")[0]).json()
    sheet = list(csv.DictReader(io.StringIO(ask_of_many(leading(page, "CSV")[0]).text)))

    (began,) = re.findall(r"<dt>Began</dt><dd>(.*?) UTC</dd>", page)
    (failed,) = re.findall(r"<dt>Failed</dt><dd.*?>(.*?)</dd>", page)
    shown = re.findall(r'<td class="when">(.*?)</td>\n<td class="n.*?">(.*?)</td>', page)
    lines = [(moment(one["at_ns"]), gap(one["gap_ns"])) for one in data["happenings"]]
    assert (began, failed) == (moment(data["started_ns"]), str(data["errors"]))
    assert (failed, shown) == ("1", lines[-len(shown) :])
    assert f"{data['lines']} lines" in page
    assert len(lines) == min(
        int(asked_for.get("limit", 301)), 301 - int(asked_for.get("skip", 0))
    )
    assert f"of {len(data['operations'])} the latest" in page
    assert [one["at"] for one in sheet] == [one["at"] for one in data["happenings"]]


def gap(gap_ns):
    return "" if gap_ns is None else duration(gap_ns)


def test_all_of_it_is_where_a_page_says_that_it_is(ask_of_many):
    page = ask_of_many(f"/requests/{REQUEST}", skip="200", limit="50").text

    data = ask_of_many(leading(page, "all as JSON")[0]).json()
    sheet = ask_of_many(leading(page, "all as CSV")[0]).text

    every = happened.LIMIT + 1
    assert [len(data["operations"]), len(data["happenings"])] == [every, every]
    assert len(list(csv.DictReader(io.StringIO(sheet)))) == every


def test_before_all_lines_there_is_a_way_back_to_the_first_of_them(ask_of_many):
    page = ask_of_many(f"/requests/{REQUEST}", skip="9000").text

    assert "none is before the 301 that there are" in page
    (back,) = leading(page, "those after")
    assert "1 to 300 of 301" in ask_of_many(back).text


def test_what_is_before_the_most_that_is_looked_at_is_on_a_page_of_an_earlier_time(
    ask_of_many, monkeypatch
):
    monkeypatch.setattr(happened, "LIMIT_MAX", 200)
    latest = ask_of_many(f"/requests/{REQUEST}").text

    (place,) = leading(latest, "an earlier time")
    earlier = ask_of_many(place).text

    assert "200 lines: the latest" in latest
    assert told(ask_of_many, f"/requests/{REQUEST}")["more"]
    assert "102 lines" in earlier


def test_rows_are_made_only_of_lines_that_are_shown_and_never_on_the_event_loop(
    ask_of_many, monkeypatch
):
    made, made_rows = [], happened.rows_of

    def watched(found, before=None):
        made.append((len(found), threading.current_thread() is threading.main_thread()))
        return made_rows(found, before)

    monkeypatch.setattr(happened, "rows_of", watched)

    ask_of_many(f"/requests/{REQUEST}")
    ask_of_many(f"/requests/{REQUEST}", format="json")

    assert made == [(happened.LIMIT, False), (happened.LIMIT + 1, False)]


def test_of_very_many_tenants_those_with_most_requests_are_shown(ask, monkeypatch):
    monkeypatch.setattr(requests, "TENANTS", 1)

    page = ask("/requests", view="operations").text
    data = told(ask, "/requests", view="operations")

    tables = re.findall(r"<tbody>(.*?)</tbody>", page, re.DOTALL)
    assert [table.count("<tr>") for table in tables] == [1, 1]
    assert f"of {len(data['timings'])} these 1 were most often" in page
    most = max(data["timings"], key=lambda one: one["count"] + one["failed"])
    assert f">{most['operation']}</a>" in tables[0]


def test_hostile_names_and_texts_stay_text(tmp_path):
    payload = {"instance_id": HOSTILE, "exception": HOSTILE, "state": HOSTILE}
    names = {"request": HOSTILE, "project": HOSTILE, "publisher": f"{HOSTILE}.{HOSTILE}"}
    batch = notified(f"{HOSTILE}.error", payload, NOW, **names)
    with asking(tmp_path / "store", [batch]) as ask:
        views = [
            ask("/requests", view=view).text for view in ("requests", "operations", "failures")
        ]
        views += [ask(f"/requests/{HOSTILE}").text, ask(f"/resources/{HOSTILE}").text]
        sheet = ask("/requests", view="failures", format="csv")

    assert all("&lt;script&gt;" in page for page in views)
    assert not any(HOSTILE in page for page in views)
    assert sheet.headers["content-type"].startswith("text/csv")
