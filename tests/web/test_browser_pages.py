"""Laws of every page in a real browser: readable by everybody, on any screen, with any data."""

from __future__ import annotations

from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import expect

from tests.web.browser import NARROW, WIDE, faults, is_wider_than_the_screen, tab
from tests.web.seeded import HOSTILE, REQUEST, TRACE_ID

pytestmark = pytest.mark.real

PATHS = [
    *("/services", "/doctor", "/metrics", "/traces", "/requests", "/changes"),
    *("/services?since=1s", "/metrics/http.server.request", f"/traces/{TRACE_ID}"),
    *(f"/traces/{TRACE_ID}/flame", f"/requests/{REQUEST}"),
]
LOOKS = [("light", WIDE), ("dark", WIDE), ("light", NARROW)]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("scheme", "viewport"), LOOKS, ids=["light", "dark", "narrow"])
def test_a_page_is_accessible_and_fits_the_screen(browser, seeded, path, scheme, viewport):
    with tab(browser, seeded.url, scheme=scheme, viewport=viewport) as page:
        page.goto(path)
        found = faults(page)
        is_wider = is_wider_than_the_screen(page)

    assert (found, is_wider) == ([], False)


@pytest.mark.parametrize("path", ["/services?since=nonsense", "/services/no/such"])
@pytest.mark.parametrize(("scheme", "viewport"), LOOKS, ids=["light", "dark", "narrow"])
def test_an_error_is_accessible_and_fits_the_screen(browser, seeded, path, scheme, viewport):
    look = {"scheme": scheme, "viewport": viewport, "refused": (422, 404)}
    with tab(browser, seeded.url, **look) as page:
        page.goto(path)
        found = faults(page)
        is_wider = is_wider_than_the_screen(page)

    assert (found, is_wider) == ([], False)


@pytest.mark.parametrize("path", ["/services", "/doctor", "/metrics", "/traces"])
def test_hostile_names_are_text(page, path):
    page.goto(path)

    assert page.get_by_text(HOSTILE[:-1]).count() > 0


def test_a_form_hands_on_a_name_with_letters_that_nobody_sees_as_it_is(page):
    page.goto(f"/traces?{urlencode({'service': HOSTILE})}")

    page.get_by_role("button", name="Search").click()
    page.wait_for_url("**name=**")

    assert parse_qs(urlsplit(page.url).query)["service"] == [HOSTILE]


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("Services", "663 requests"),
        ("Metrics", "http.server.request"),
        ("Traces", "GET /orders/{id}"),
        ("Changes", "nilometer measure"),
        ("Doctor", "What to do next"),
    ],
)
def test_each_question_is_answered_by_a_click(page, word, answer):
    page.goto("/requests")

    page.get_by_role("navigation").get_by_role("link", name=word).click()

    expect(page.locator("main")).to_contain_text(answer)


def test_everything_can_be_reached_with_the_keyboard(page):
    page.goto("/services")

    page.keyboard.press("Tab")
    first = page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    inside = page.evaluate("document.querySelector('main').contains(document.activeElement)")

    assert (first, inside) == ("Skip to the page", True)


@pytest.mark.parametrize(
    ("path", "part"),
    [("/services", "#services"), ("/metrics/http.server.request?since=1h&until=now", "#whole")],
)
def test_what_takes_longer_comes_by_itself_after_the_page(page, path, part):
    mark = "&" if "?" in path else "?"
    first = page.request.get(f"{path}{mark}quantiles=false").text()

    page.goto(f"{path}{mark}quantiles=false")

    expect(page.locator(f"{part}[data-late]")).to_have_count(0)
    expect(page.locator(part)).not_to_contain_text("...")
    assert "data-late" in first


def test_a_page_renews_itself_until_it_is_paused(page):
    page.goto("/services")
    page.evaluate("document.querySelector('#services caption').textContent = 'old'")
    expect(page.locator("#services caption").first).not_to_have_text("old")

    page.get_by_role("button", name="Pause").click()
    paused = page.get_by_role("button", name="Go on").get_attribute("aria-pressed")

    assert paused == "true"


OLD = "document.querySelector('#services caption').textContent = 'old'"
HELD = "document.activeElement.getAttribute('aria-labelledby')"


def test_a_table_that_was_clicked_into_goes_on_and_stays_where_it_was_scrolled(browser, seeded):
    with tab(browser, seeded.url, viewport=NARROW) as page:
        page.goto("/services")
        expect(page.locator("#services[data-late]")).to_have_count(0)
        page.locator("#services tbody th").first.click()
        clicked = page.evaluate(HELD)
        page.evaluate("document.activeElement.scrollLeft = 40")
        page.evaluate("document.activeElement.kept = true")
        page.evaluate(OLD)
        expect(page.locator("#services caption").first).not_to_have_text("old")
        held = page.evaluate(HELD)
        scrolled = page.evaluate("document.activeElement.scrollLeft")
        kept = page.evaluate("document.activeElement.kept")

    assert (clicked, held) == ("services-caption", "services-caption")
    assert (scrolled, kept) == (40, True)


def test_a_link_that_has_the_focus_has_it_again_in_the_renewed_table(page):
    page.goto("/services")
    expect(page.locator("#services[data-late]")).to_have_count(0)
    page.locator("#services tbody a").nth(1).focus()
    before = page.evaluate("document.activeElement.outerHTML")

    page.evaluate("document.activeElement.old = true")
    page.evaluate(OLD)
    expect(page.locator("#services caption").first).not_to_have_text("old")

    assert page.evaluate("document.activeElement.outerHTML") == before
    assert page.evaluate("document.activeElement.old") is None


def test_what_is_selected_is_left_as_it_is_and_the_page_says_so(page):
    page.goto("/services")
    expect(page.locator("#services[data-late]")).to_have_count(0)
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#services thead'))")
    page.evaluate(OLD)

    expect(page.locator("[data-live-said]")).to_contain_text("Not renewed while")
    assert page.locator("#services caption").first.inner_text() == "old"

    page.evaluate("getSelection().removeAllRanges()")
    expect(page.locator("#services caption").first).not_to_have_text("old")
    expect(page.locator("[data-live-said]")).to_have_text("")


CELLS = """[...document.querySelectorAll('tbody tr')].map(row =>
  new Set([...row.children].map(cell => Math.round(cell.getBoundingClientRect().bottom))).size)
"""


def test_the_line_under_a_row_is_one(page):
    page.goto("/services")
    expect(page.locator("#services[data-late]")).to_have_count(0)
    lines = page.evaluate(CELLS)

    assert len(lines) > 2
    assert set(lines) == {1}
