"""Why was this request slow? Answered by clicking, as somebody new does, and by keyboard."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect

from nilometer.clock import wall_ns
from nilometer.model import Batch, Resource, SpanKind, SpanRecord
from nilometer.store.lake import Lake
from tests.collector import Collector
from tests.web.browser import NARROW, WIDE, faults, is_wider_than_the_screen, tab
from tests.web.seeded import HOSTILE
from tests.web.traced import EVIL, LARGE, LINES, PAGES, SLOW, batches, hexed

pytestmark = pytest.mark.real

SLOW_PAGE = f"/traces/{hexed(SLOW)}"
LARGE_PAGE = f"/traces/{hexed(LARGE)}"
PATHS = [
    "/traces",
    "/traces?service=nobody",
    SLOW_PAGE,
    f"{SLOW_PAGE}/flame",
    f"{SLOW_PAGE}/against",
    f"{SLOW_PAGE}/against/median",
    f"/traces/{hexed(EVIL)}",
]
LOOKS = [("light", WIDE), ("dark", WIDE), ("light", NARROW)]
READY = "#waterfall[data-ready]"
CHOSEN = ".fall[aria-selected=true] .called"


@pytest.fixture(scope="module")
def seeded(tmp_path_factory):
    """A collector whose tables hold the traces of `traced`."""
    folder = tmp_path_factory.mktemp("traced")
    Lake(folder / "store", durability="os").append(batches())
    with Collector(folder, statsd="off") as collector:
        yield collector


def test_the_last_bar_s_tick_stays_on_a_phone_s_screen(browser, tmp_path):
    now = wall_ns()
    lasted_ms = [3, 5, 8, 12, 20, 20, 30, 45, 80, 120, 300, 800]
    spans = [
        SpanRecord(
            *(number.to_bytes(16, "big"), b"12345678", b"", "GET", SpanKind.SERVER),
            *(now - 60 * 10**9, now - 60 * 10**9 + lasted * 10**6, {}),
        )
        for number, lasted in enumerate(lasted_ms, 1)
    ]
    lake = Lake(tmp_path / "store", durability="os")
    lake.append([Batch(Resource("orders", "c1", 42), spans=tuple(spans))])
    with (
        Collector(tmp_path, statsd="off") as collector,
        tab(browser, collector.url, viewport=NARROW, has_touch=True, is_mobile=True) as page,
    ):
        page.goto("/traces")

        assert page.locator(".bars li:last-child .tick").is_visible()
        assert not is_wider_than_the_screen(page)


@pytest.fixture
def waterfall(page):
    """The page of the slow request, drawn."""
    page.goto(SLOW_PAGE)
    expect(page.locator(READY)).to_be_visible()
    return page


def asked(page):
    return {key: values[0] for key, values in parse_qs(urlsplit(page.url).query).items()}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("scheme", "viewport"), LOOKS, ids=["light", "dark", "narrow"])
def test_a_page_of_traces_is_accessible_and_fits_the_screen(
    browser, seeded, path, scheme, viewport
):
    with tab(browser, seeded.url, scheme=scheme, viewport=viewport) as page:
        page.goto(path)
        if page.locator("#waterfall").count():
            expect(page.locator(READY)).to_be_visible()
        found = faults(page)
        is_wider = is_wider_than_the_screen(page)

    assert (found, is_wider) == ([], False)


def test_from_the_list_to_the_repeated_statement_that_made_a_request_slow(page):
    page.goto("/")
    page.get_by_role("link", name="Traces", exact=True).click()
    page.get_by_role("link", name="70.0 ms to 100 ms: 1 trace").click()
    page.get_by_role("link", name="POST /orders").click()
    expect(page.locator(READY)).to_be_visible()

    page.locator(".remarks .repeat a").click()

    expect(page.locator("#span")).to_contain_text("SELECT name FROM articles WHERE id = 0")
    expect(page.locator("#span")).to_contain_text("shop/orders.py:63 in names")
    expect(page.locator(".fall .times")).to_contain_text("40")


def test_on_a_phone_the_search_is_folded_and_opens_by_a_touch(browser, seeded):
    with tab(browser, seeded.url, viewport=NARROW) as page:
        page.goto("/traces?error=false")
        search = page.get_by_role("search")
        expect(search).to_be_hidden()
        assert page.locator("#durations h2").bounding_box()["y"] < NARROW["height"]

        page.get_by_text("Search: error false").click()
        search.get_by_label("operation", exact=True).fill("POST /orders")
        search.get_by_role("button", name="Search").click()

        expect(page.locator("#found tbody tr").first).to_be_visible()
        assert asked(page)["name"] == "POST /orders"


def test_on_a_wide_screen_the_search_is_there_without_a_click(page):
    page.goto("/traces")

    expect(page.get_by_role("search").get_by_label("operation", exact=True)).to_be_visible()


def test_the_list_of_traces_renews_itself(page):
    page.goto("/traces")
    page.evaluate("document.querySelector('#found caption').textContent = 'old'")

    expect(page.locator("#found caption")).not_to_have_text("old")


def test_what_is_dragged_across_chooses_the_traces_of_all_those_bars(page):
    page.goto("/traces")
    first = page.get_by_role("link", name="15.0 ms to 20.0 ms").bounding_box()
    last = page.get_by_role("link", name="20.0 ms to 30.0 ms").bounding_box()

    page.mouse.move(first["x"] + 2, first["y"] + 5)
    page.mouse.down()
    page.mouse.move(last["x"] + last["width"] / 2, last["y"] + 5, steps=4)
    with page.expect_navigation():
        page.mouse.up()

    assert asked(page) == {"min_duration": "15ms", "max_duration": "30ms"}
    expect(page.locator("#found tbody tr")).to_have_count(6)


def test_the_keyboard_moves_opens_shuts_and_reads(waterfall):
    page = waterfall
    page.locator(".falls").focus()
    expect(page.locator(CHOSEN)).to_have_text("POST /orders")

    page.keyboard.press("ArrowDown")
    expect(page.locator(CHOSEN)).to_have_text("POST")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".fall")).to_have_count(4)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator(CHOSEN)).to_have_text("POST /reserve")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")

    expect(page.locator("#span")).to_be_focused()
    expect(page.locator("#span")).to_contain_text("UPDATE stock SET pieces = ?")
    page.keyboard.press("Escape")
    expect(page.locator(".falls")).to_be_focused()


def test_the_address_says_what_is_shown_and_shows_it_again(waterfall, browser, seeded):
    page = waterfall
    page.get_by_label("find").fill("articles")
    page.get_by_label("show").select_option("path")
    page.locator(".fall", has_text="SELECT").nth(3).click()
    expect(page.locator("#span")).to_contain_text("id = 3")

    told = asked(page)
    assert told == {"span": f"{103:016x}", "find": "articles", "show": "path"}
    with tab(browser, seeded.url) as other:
        other.goto(page.url)
        expect(other.locator(READY)).to_be_visible()
        expect(other.locator("#span")).to_contain_text("id = 3")
        expect(other.locator(".falls")).to_have_attribute("aria-rowcount", str(1 + 1 + 40))
        expect(other.locator(CHOSEN)).to_have_text("SELECT")


def test_what_is_shut_and_zoomed_to_is_in_the_address_too(waterfall, browser, seeded):
    page = waterfall
    page.locator(".fall", has_text="POST /reserve").locator(".twist").click()
    page.get_by_role("button", name="Zoom to the span").click()

    with tab(browser, seeded.url) as other:
        other.goto(page.url)
        expect(other.locator(READY)).to_be_visible()
        expect(other.locator(".fall", has_text="UPDATE")).to_have_count(0)
        expect(other.locator(".axis span").first).to_have_text("2.00 ms")


def test_repeats_are_one_row_until_one_opens_it(waterfall):
    page = waterfall
    rows = page.locator(".fall", has_text="SELECT")
    expect(rows).to_have_count(1)

    rows.locator(".twist").click()
    expect(page.locator(".falls")).to_have_attribute("aria-rowcount", str(1 + 6 + 40))
    page.get_by_label("repeats as one").uncheck()

    expect(page.locator(".falls")).to_have_attribute("aria-rowcount", str(1 + 5 + 40))


def test_of_ten_thousand_spans_only_those_one_sees_are_in_the_page(page):
    page.goto(LARGE_PAGE)
    expect(page.locator(READY)).to_be_visible()
    spans = 1 + PAGES * (1 + LINES)

    page.get_by_label("repeats as one").uncheck()
    expect(page.locator(".falls")).to_have_attribute("aria-rowcount", str(1 + spans))
    assert page.locator(".fall").count() < 100
    page.locator(".falls").focus()
    page.keyboard.press("End")

    expect(page.locator(CHOSEN)).to_have_text(("read", "write", "count")[(LINES - 1) % 3])
    assert page.locator(".fall").count() < 100
    expect(page.locator("#span")).to_contain_text("90.0 us, from 1000 ms on")


def test_without_scripts_the_spans_are_a_table_and_links_choose_one(browser, seeded):
    with browser.new_context(base_url=seeded.url, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(SLOW_PAGE)
        page.locator(".fallen").get_by_role("link", name="UPDATE").click()

        expect(page.locator("#span")).to_contain_text("UPDATE stock SET pieces = ?")
        expect(page.locator(".fallen tbody tr")).to_have_count(45)


def test_a_frame_is_chosen_by_a_click_and_left_again(page):
    page.goto(f"{SLOW_PAGE}/flame")
    expect(page.locator("svg.flame > a")).to_have_count(6)

    page.get_by_role("link", name="POST /reserve").first.click()
    expect(page.locator("svg.flame > a")).to_have_count(2)
    page.get_by_role("link", name="The whole trace").click()

    expect(page.locator("svg.flame > a")).to_have_count(6)


def test_a_request_is_compared_with_the_usual_in_two_clicks(waterfall):
    page = waterfall
    page.get_by_role("link", name="Compare").click()
    page.get_by_role("link", name="With the median of 6").click()

    first = page.locator("table", has_text="itself here").locator("tbody tr").first
    expect(first).to_contain_text("SELECT name FROM articles")
    expect(first).to_contain_text("+32.0 ms")
    expect(page.get_by_role("heading", name="What made the difference")).to_be_visible()


def test_a_trace_is_a_file_for_other_tools(waterfall):
    with waterfall.expect_download() as download:
        waterfall.get_by_role("link", name="Chrome trace (Perfetto)").click()

    assert download.value.suggested_filename == f"trace-{hexed(SLOW)[:12]}.chrome.json"


def test_hostile_names_are_text_in_the_waterfall(page):
    page.goto(f"/traces/{hexed(EVIL)}")
    expect(page.locator(READY)).to_be_visible()

    expect(page.locator(".fall .called")).to_have_text(HOSTILE[:-1] + "?")
    assert page.locator("main img, main script").count() == 0
