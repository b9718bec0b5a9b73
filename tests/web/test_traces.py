"""Laws of the pages of traces: what they find, what they say of one, and against another."""

from __future__ import annotations

import csv
import io
import re
from itertools import pairwise

import pytest

from nilometer.api import traces
from nilometer.model import Batch, Event, Resource
from tests.web.pages import asking
from tests.web.seeded import HOSTILE
from tests.web.traced import (
    EVIL,
    FAILED,
    LARGE,
    LINES,
    LOST,
    NOW,
    PAGES,
    REQUEST,
    SLOW,
    USUAL,
    S,
    batches,
    hexed,
    span,
)

SLOW_PAGE = f"/traces/{hexed(SLOW)}"


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    with asking(tmp_path_factory.mktemp("store"), batches()) as ask:
        yield ask


def told(ask, path, **parameters):
    answer = ask(path, format="json", **parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def found(ask, **parameters):
    return [row["id"] for row in told(ask, "/traces", **parameters)["traces"]]


# --- The list ------------------------------------------------------------------------------


def test_traces_are_listed_the_latest_first(ask):
    ids = found(ask)

    assert ids[:2] == [hexed(SLOW), hexed(FAILED)]
    assert sorted(ids) == sorted(map(hexed, [*USUAL, SLOW, FAILED, LARGE, EVIL, LOST]))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"service": "report"}, [LARGE]),
        ({"name": "keep the order", "error": "true"}, [FAILED]),
        ({"request_id": REQUEST}, [SLOW]),
        ({"attribute": "code.line.number=63"}, [SLOW]),
        ({"attribute": ["http.response.status_code=500", "http.route=/orders"]}, [FAILED]),
        ({"min_duration": "70ms", "max_duration": "100ms"}, [SLOW]),
        pytest.param(
            {"since": str((NOW - 120 * S) // S), "service": "orders", "error": "false"},
            [SLOW],
            id="since",
        ),
    ],
)
def test_they_are_found_by_all_that_is_given(ask, asked, expected):
    assert found(ask, **asked) == [hexed(trace) for trace in expected]


def test_an_id_leads_to_its_trace(ask):
    answer = ask("/traces", trace=hexed(SLOW))

    assert (answer.status_code, answer.headers["location"]) == (303, SLOW_PAGE)


def test_bars_count_every_trace_once_whatever_durations_are_chosen(ask):
    every = told(ask, "/traces")["durations"]
    chosen = told(ask, "/traces", min_duration="70ms", max_duration="100ms")["durations"]

    assert sum(bar["traces"] for bar in every) == len(found(ask))
    assert sum(bar["failed"] for bar in every) == 2
    assert chosen == every
    assert all(one["until_ns"] == two["from_ns"] for one, two in pairwise(every))


def test_a_bar_leads_to_its_traces_and_once_chosen_back_to_all(ask):
    page = ask("/traces").text
    link = next(
        href for href in re.findall(r'href="([^"]+)" title="70.0 ms to 100 ms: 1 trace"', page)
    ).replace("&amp;", "&")

    chosen = ask(link)

    assert hexed(SLOW) in chosen.text
    assert hexed(FAILED) not in chosen.text
    assert re.search(r'href="/traces" title="70.0 ms to 100 ms: 1 trace"', chosen.text)


def test_the_list_is_a_sheet_too(ask):
    answer = ask("/traces", service="report", format="csv")

    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert (row["root"], row["spans"], row["duration_ns"]) == (
        "report",
        str(1 + PAGES * (1 + LINES)),
        str(PAGES * 10**7),
    )


def test_the_spans_of_a_trace_are_the_same_in_json_and_csv(ask):
    sheet = list(csv.DictReader(io.StringIO(ask(SLOW_PAGE, format="csv").text)))

    spans = ask(SLOW_PAGE, format="json").json()["spans"]
    assert [{key: str(value) for key, value in one.items()} for one in spans] == sheet
    assert len(sheet) > 1


def test_what_a_trace_can_be_compared_with_is_a_sheet_too(ask):
    answer = ask(f"{SLOW_PAGE}/against", format="csv")

    offered = ask(f"{SLOW_PAGE}/against", format="json").json()["traces"]
    ids = [row["id"] for row in csv.DictReader(io.StringIO(answer.text))]
    assert ids == [one["id"] for one in offered]
    assert ids


def test_where_there_is_nothing_the_page_says_what_to_do(ask):
    answer = ask("/traces", service="nobody")

    assert answer.status_code == 200
    assert "nilometer trace new" in answer.text


@pytest.mark.parametrize(
    ("asked", "parameter"),
    [
        ({"min_duration": "5"}, "min_duration"),
        ({"min_duration": "5s", "max_duration": "5s"}, "max_duration"),
        ({"attribute": "no-equals-sign"}, "attribute"),
        ({"trace": "xyz"}, "trace"),
        ({"sevice": "orders"}, "sevice"),
    ],
)
def test_what_cannot_be_asked_is_refused_as_rest_does(ask, asked, parameter):
    answer = ask("/traces", format="json", **asked)

    assert (answer.status_code, answer.json()["parameter"]) == (422, parameter)


# --- One trace -----------------------------------------------------------------------------


def test_what_stands_out_is_said_first_what_took_most_before_the_rest(ask):
    remarks = told(ask, SLOW_PAGE)["remarks"]

    kinds = [(one["kind"], round(one["share"], 2)) for one in remarks]
    assert kinds == [("repeat", 0.39), ("wait", 0.39), ("wait", 0.36)]
    assert remarks[0]["words"].startswith(
        "40 times the same under POST /orders: SELECT name FROM articles WHERE id = ?"
    )


def test_of_failures_the_innermost_is_told_with_its_reason(ask):
    (error, *_) = told(ask, f"/traces/{hexed(FAILED)}")["remarks"]

    assert (error["kind"], error["words"]) == ("error", "UPDATE failed: database is locked")


def test_spans_without_their_parent_are_told(ask):
    remarks = told(ask, f"/traces/{hexed(LOST)}")["remarks"]

    assert [one["kind"] for one in remarks][-1] == "missing"
    assert "the parent of 2 spans is not here" in remarks[-1]["words"]


def test_operations_and_statements_have_count_total_least_average_most_and_waiting(ask):
    page = told(ask, SLOW_PAGE)

    (select,) = [one for one in page["statements"] if one["service"] == "orders"]
    assert {key: select[key] for key in ("statement", "count", "total_ns", "avg_ns")} == {
        "statement": "SELECT name FROM articles WHERE id = ?",
        "count": 40,
        "total_ns": 32_000_000,
        "avg_ns": 800_000,
    }
    assert sum(one["waited_ns"] for one in page["operations"]) == page["duration_ns"]
    assert sum(one["count"] for one in page["operations"]) == page["span_count"]


def test_rows_are_all_spans_in_the_order_of_the_tree_with_what_was_waited_for(ask):
    rows = ask(f"{SLOW_PAGE}/rows").json()

    depths = [row[0] for row in rows["rows"]]
    names = [rows["names"][row[1]] for row in rows["rows"]]
    assert (len(rows["rows"]), depths[:4]) == (46 - 1, [0, 1, 2, 3])
    assert names[:5] == ["POST /orders", "POST", "POST /reserve", "UPDATE", "SELECT"]
    assert sum(took for _, _, took in rows["path"]) == rows["duration_ns"]
    assert [len(places) for places in rows["folds"]] == [40]


def test_ten_thousand_spans_are_a_small_page_and_compact_rows(ask):
    page, rows = ask(f"/traces/{hexed(LARGE)}"), ask(f"/traces/{hexed(LARGE)}/rows")

    assert len(rows.json()["rows"]) == 1 + PAGES * (1 + LINES)
    assert len(page.content) < 500_000
    assert len(rows.content) < 1_500_000


def test_many_logs_with_long_attributes_are_a_small_page_and_whole_in_its_data(tmp_path):
    statement = {"db.query.text": "SELECT orders.id AS orders_id FROM orders WHERE a = ? " * 8}
    spans = [span(SLOW, 1, 0, "POST /orders", 0, 9000, NOW - 60 * S)]
    spans += [
        span(SLOW, n, 1, f"step {n}", n, n + 1, NOW - 60 * S, attributes=statement)
        for n in range(2, 900)
    ]
    told_where = {f"code.part.{n}": "/srv/app/shop/orders/pricing.py" * 9 for n in range(9)}
    attributes = {**told_where, "exception.type": "OperationalError", "exception.message": "no"}
    logs = tuple(
        Event("log", NOW - 60 * S + n, attributes, SLOW, b"", 17, "it failed: " * 200)
        for n in range(200)
    )
    with asking(tmp_path, [Batch(Resource("api"), (), tuple(spans), logs)]) as ask:
        page, data = ask(SLOW_PAGE), told(ask, SLOW_PAGE)

    assert len(page.content) < 500_000
    assert page.text.count("OperationalError") == 200
    assert [one["attributes"] for one in data["events"]] == [attributes] * 200


def test_a_thousand_traces_by_a_long_attribute_are_a_small_page(tmp_path):
    agent = (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Edg"
    )
    spans = [
        span(
            n.to_bytes(16, "big"),
            1,
            0,
            "GET /orders",
            -n,
            1 - n,
            NOW - S,
            attributes={"a": agent},
        )
        for n in range(1, 1002)
    ]
    asked_for = {"attribute": f"a={agent}"}
    with asking(tmp_path, [Batch(Resource("api"), (), tuple(spans))]) as ask:
        few, many = (ask("/traces", **asked_for, limit=limit) for limit in (50, 1000))

    assert len(many.content) < 500_000
    assert many.text.count('<td class="when">') == 1000
    assert ["only api" in page.text for page in (few, many)] == [True, False]


def test_a_trace_with_more_spans_than_are_read_says_so_on_each_page(tmp_path, monkeypatch):
    spans = [span(SLOW, n, n > 1, "op", n, n + 1, NOW - 9 * S) for n in range(1, 5)]
    said = "those that started first; the trace has more"
    pages = [SLOW_PAGE, f"{SLOW_PAGE}/flame", f"{SLOW_PAGE}/against"]
    for most, more in ((4, False), (3, True)):
        monkeypatch.setattr(traces, "SPANS_MAX", most)
        with asking(tmp_path / str(most), [Batch(Resource("s"), (), tuple(spans))]) as ask:
            told_so = [said in ask(page).text for page in pages]
            assert told(ask, SLOW_PAGE)["more"] is more
        assert told_so == [more] * 3


def test_texts_of_a_megabyte_make_no_page_that_large(tmp_path):
    long = "long " * 200_000
    large = {f"a{n}": long for n in range(3)} | {"db.query.text": long}
    spans = [
        span(SLOW, n, n > 1, f"{n} {long}", 0, 9, NOW - 9 * S, attributes=large)
        for n in range(1, 4)
    ]
    log = Event(long, NOW - 9 * S, {"a": long}, SLOW, b"", 9, long)
    with asking(tmp_path, [Batch(Resource(long[:900]), (), tuple(spans), (log,))]) as ask:
        pages = [
            SLOW_PAGE,
            f"{SLOW_PAGE}/rows",
            f"{SLOW_PAGE}/flame",
            "/traces",
            f"{SLOW_PAGE}/against",
        ]
        sizes = [len(ask(page).content) for page in pages]
        whole = ask(f"{SLOW_PAGE}/spans/{1:016x}", format="json").json()

    assert max(sizes) < 500_000
    assert whole["statement"] == long


def test_a_span_tells_its_caller_statement_attributes_and_times(ask):
    span = told(ask, f"{SLOW_PAGE}/spans/{100:016x}")

    assert span["caller"] == "shop/orders.py:63 in names"
    assert span["statement"] == "SELECT name FROM articles WHERE id = 0"
    assert (span["waited_ns"], span["self_ns"]) == (800_000, 800_000)


def test_a_span_is_a_sheet_too(ask):
    answer = ask(f"{SLOW_PAGE}/spans/{100:016x}", format="csv")

    rows = dict(list(csv.reader(io.StringIO(answer.text)))[1:])
    assert rows["statement"] == "SELECT name FROM articles WHERE id = 0"
    assert [what for what in rows if what.startswith("attributes.")]
    assert rows["waited_ns"] == "800000"


def test_logs_and_events_of_the_request_are_beside_its_spans(ask):
    page = ask(SLOW_PAGE)

    (log,) = told(ask, SLOW_PAGE)["events"]
    assert (log["text"], log["span_id"], log["offset_ns"]) == (
        "the stock is slow",
        f"{1:016x}",
        7_000_000,
    )
    assert f'href="/requests/{REQUEST}"' in page.text


def test_without_a_script_the_spans_are_a_table_that_can_be_searched(ask):
    page = ask(SLOW_PAGE, find="articles", show="path").text

    assert len(re.findall(r'<th scope="row" style="padding-left', page)) == 40


def test_the_chosen_span_is_in_the_page_of_its_address(ask):
    page = ask(SLOW_PAGE, span=f"{5:016x}").text

    aside = page[page.index("<aside") : page.index("</aside>")]
    assert "UPDATE stock SET pieces = ? WHERE sku = ?" in aside


@pytest.mark.parametrize(
    ("path", "asked", "status"),
    [
        (f"/traces/{'0' * 31}1", {}, 404),
        (f"/traces/{'0' * 31}1/rows", {}, 404),
        (f"/traces/{'0' * 31}1/flame", {}, 404),
        (f"/traces/{'0' * 31}1/against/median", {}, 404),
        (f"{SLOW_PAGE}/spans/ff", {}, 422),
        (SLOW_PAGE, {"span": "ff"}, 422),
        (SLOW_PAGE, {"show": "some"}, 422),
        (SLOW_PAGE, {"fold": "perhaps"}, 422),
        (f"{SLOW_PAGE}/flame", {"by": "weight"}, 422),
        (f"{SLOW_PAGE}/flame", {"at": "0.x"}, 422),
        (f"{SLOW_PAGE}/against/{hexed(SLOW)}", {}, 422),
        (f"{SLOW_PAGE}/against/nonsense", {}, 422),
        (f"{SLOW_PAGE}/against/median", {"show": "some"}, 422),
        (f"/traces/{hexed(LARGE)}/against/median", {}, 404),
    ],
)
def test_what_is_not_there_is_refused_as_a_page(ask, path, asked, status):
    answer = ask(path, **asked)

    assert answer.status_code == status
    assert "text/html" in answer.headers["content-type"]


# --- Flame ---------------------------------------------------------------------------------


def test_a_flame_is_as_wide_as_the_request_or_as_all_that_spans_took(ask):
    waited = told(ask, f"{SLOW_PAGE}/flame")["frames"]
    total = told(ask, f"{SLOW_PAGE}/flame", by="total")["frames"]

    assert [one["name"] for one in waited[:2]] == ["POST /orders", "POST"]
    assert waited[0]["width_ns"] == told(ask, SLOW_PAGE)["duration_ns"]
    (selects,) = [one for one in total if one["name"] == "SELECT"]
    assert (selects["count"], selects["self_ns"]) == (40, 32_000_000)


def test_a_frame_of_a_flame_can_be_the_whole_width(ask):
    frames = told(ask, f"{SLOW_PAGE}/flame", at="0.0")["frames"]

    assert [one["name"] for one in frames] == ["POST", "POST /reserve", "UPDATE"]


# --- Against another -----------------------------------------------------------------------


def test_others_of_the_same_operation_are_offered(ask):
    offered = told(ask, f"{SLOW_PAGE}/against")["traces"]

    assert [one["id"] for one in offered] == [hexed(FAILED), *map(hexed, USUAL)]


def test_against_the_median_what_only_this_one_did_stands_out(ask):
    page = told(ask, f"{SLOW_PAGE}/against/median")

    first, second = page["changes"][:2]
    assert (first["name"], first["count_here"], first["count_there"]) == ("SELECT", 40, 0)
    assert (second["name"], second["longer_ns"]) == ("UPDATE", 19_000_000)
    assert page["there"]["traces"] == 6


def test_against_another_every_span_is_matched_or_only_in_one(ask):
    page = told(ask, f"{SLOW_PAGE}/against/{hexed(USUAL[0])}")

    alone = [one for one in page["spans"] if one["there_ns"] is None]
    matched = {one["name"]: one["longer_ns"] for one in page["spans"] if one["there_ns"]}
    assert [one["name"] for one in alone] == ["SELECT"] * 40
    assert matched["UPDATE"] == 20_000_000
    assert matched["keep the order"] == 0


def test_only_what_differs_is_shown_with_what_it_stands_below(ask):
    page = ask(f"{SLOW_PAGE}/against/{hexed(USUAL[0])}").text
    every = ask(f"{SLOW_PAGE}/against/{hexed(USUAL[0])}", show="all").text

    pairs = page[page.index("Span by span") :]
    assert ("POST /reserve" in pairs, "keep the order" in pairs) == (True, False)
    assert "keep the order" in every[every.index("Span by span") :]


# --- Every one of them ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/traces",
        f"/traces/{hexed(EVIL)}",
        f"/traces/{hexed(EVIL)}/flame",
        f"/traces/{hexed(EVIL)}/against",
        f"/traces/{hexed(EVIL)}/spans/{1:016x}",
    ],
)
def test_hostile_names_are_text(ask, path):
    page = ask(path).text

    assert "<img src=x" not in page
    assert "<script>alert" not in page
    assert "&lt;img src=x onerror" in page
    assert HOSTILE[-1] not in page


@pytest.mark.parametrize(
    "place",
    ["/traces", SLOW_PAGE, f"{SLOW_PAGE}/flame", f"/traces/{hexed(EVIL)}/spans/{1:016x}"],
)
def test_sheets_have_no_formulas(ask, place):
    answer = ask(place, format="csv")

    cells = [cell for row in csv.reader(io.StringIO(answer.text)) for cell in row]
    assert answer.headers["content-type"].startswith("text/csv")
    assert [cell for cell in cells if cell and cell[0] in "=+@"] == []
