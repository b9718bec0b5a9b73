"""Laws of the pages about requests and changes in a real browser: answers by clicking."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from nilometer.clock import wall_ns
from nilometer.model import Batch, Resource, SpanKind, SpanRecord
from nilometer.model.run import Count
from nilometer.store.lake import Lake
from nilometer.store.runs import History
from tests.collector import Collector
from tests.gate.test_attribution import shop_run
from tests.notified import REQUEST, SERVER, cloud, notified
from tests.web.browser import NARROW, WIDE, faults, is_wider_than_the_screen, tab
from tests.web.seeded import HOSTILE

pytestmark = pytest.mark.real

S = 10**9
SELECT = "mysql:Com_select"
ODD = "two\nlines\u200b\u202e of it"
PENDING = "<p data-pending>being judged just now</p>"
LOOKS = [("light", WIDE), ("dark", WIDE), ("light", NARROW)]
PATHS = [
    "/requests",
    "/requests?view=operations",
    "/requests?view=failures",
    f"/requests/{REQUEST}",
    f"/resources/{SERVER}",
    "/changes",
    "/changes/runs?suite=shop",
    "/changes/run?suite=shop",
    "/changes/counters?suite=shop",
    f"/changes/counter?suite=shop&counter={SELECT}",
]


def write(store):
    """Notifications and a span of one request; 25 runs and one that costs more."""
    now = wall_ns() // S * S - 60 * S
    request = SpanRecord(
        *(bytes(range(16)), b"rootroot", b"", "POST /servers", SpanKind.SERVER),
        *(now, now + 9 * S, {"request_id": REQUEST}),
    )
    hostile = {"instance_id": HOSTILE, "exception": HOSTILE}
    Lake(store, durability="os").append(
        [
            *cloud(now),
            Batch(Resource("api", "ctl"), spans=(request,)),
            notified("x.error", hostile, now, request=HOSTILE, project=HOSTILE),
        ]
    )
    history = History(store, durability="os")
    for at in range(26):
        one = shop_run(at, 80 if at == 25 else 40)
        part = Count("mysql", "statement.calls", at // 25 * 40, (("digest", HOSTILE),))
        history.append(one._replace(counts=(*one.counts, part)))
    for at in range(26):
        history.append(shop_run(at, 80 if at == 25 else 40)._replace(suite=ODD))
    history.append(shop_run(0, 40)._replace(suite=HOSTILE, revision=HOSTILE, branch=HOSTILE))
    history.close()


@pytest.fixture(scope="module")
def seeded(tmp_path_factory):
    """A collector of its own, as a test here accepts something."""
    folder = tmp_path_factory.mktemp("changes")
    write(folder / "store")
    with Collector(folder, statsd="off") as collector:
        yield collector


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("scheme", "viewport"), LOOKS, ids=["light", "dark", "narrow"])
def test_a_page_is_accessible_and_fits_the_screen(browser, seeded, path, scheme, viewport):
    with tab(browser, seeded.url, scheme=scheme, viewport=viewport) as page:
        page.goto(path)
        expect(page.locator("[data-pending]")).to_have_count(0)
        found = faults(page)
        is_wider = is_wider_than_the_screen(page)

    assert (found, is_wider) == ([], False)


@pytest.mark.parametrize("path", ["/requests", "/requests?view=failures", "/changes"])
def test_hostile_names_are_text(page, path):
    page.goto(path)

    expect(page.get_by_text(HOSTILE[:-1]).first).to_be_visible()


def test_from_the_requests_to_what_failed_in_one_and_to_its_trace(page):
    page.goto("/")
    page.get_by_role("link", name="Requests", exact=True).click()
    page.get_by_role("link", name=REQUEST).click()

    expect(page.get_by_text("No disk left")).to_be_visible()
    expect(page.get_by_role("row", name="compute.instance.create").first).to_be_visible()
    leads = page.get_by_role("link", name="POST /servers").get_attribute("href")

    assert leads == f"/traces/{bytes(range(16)).hex()}"


def test_one_field_finds_a_resource(page):
    page.goto("/requests")
    page.get_by_label("Request or resource id").fill(SERVER)
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", level=1)).to_contain_text(SERVER)


def test_a_form_where_no_counter_is_ticked_accepts_none(browser, seeded):
    with tab(browser, seeded.url, refused=(422,)) as page:
        page.goto("/changes/run?suite=shop&run=r25")
        for box in page.get_by_role("checkbox").all():
            box.uncheck()
        page.get_by_label("Why").fill("none of these")
        page.get_by_role("button", name="Accept").click()

        expect(page.get_by_text("no counter is ticked")).to_be_visible()


def test_a_page_that_waits_for_a_verdict_asks_again_after_a_refusal(browser, seeded):
    with tab(browser, seeded.url, refused=(503,)) as page:
        said = iter(["pending", "busy"])

        def late(route):
            told = next(said, "")
            if told == "pending":
                whole = route.fetch()
                part = re.sub(r"(<[^>]* data-judged[^>]*>)", rf"\1{PENDING}", whole.text())
                route.fulfill(response=whole, body=part)
            elif told == "busy":
                route.fulfill(status=503, body="busy")
            else:
                route.continue_()

        page.route("**/changes/run?*", late)
        page.goto("/changes/run?suite=shop&run=r24")

        expect(page.get_by_text("being judged just now")).to_have_count(0)
        assert next(said, "none") == "none"


def test_from_the_changes_to_the_line_of_code_that_costs_more_and_back_by_accepting_it(page):
    page.goto("/changes")
    row = page.get_by_role("row").filter(has_text="shop").filter(has_text="warn")
    expect(row).to_contain_text(f"{SELECT} +40 (+5.0 %)")
    row.get_by_role("link", name="r25").click()
    expect(page.get_by_text("shop/orders.py:17", exact=True).first).to_be_visible()
    page.get_by_label("Why").fill("orders show what was paid")
    page.get_by_label("Who").fill("ann")
    page.get_by_role("button", name="Accept").click()

    expect(
        page.get_by_text("no earlier run shows the level that was accepted").first
    ).to_be_visible()
    page.get_by_role("link", name=SELECT).first.click()
    expect(page.get_by_text("orders show what was paid")).to_be_visible()
    expect(page.get_by_text("by ann")).to_be_visible()


def test_nothing_is_accepted_without_a_reason(page):
    page.goto(f"/changes/counter?suite=shop&counter={SELECT}")
    page.get_by_text("Accept a step").click()
    page.get_by_role("button", name="Accept").click()

    assert page.evaluate("document.querySelector('.reason').matches(':invalid')")
    assert page.url.endswith(f"/changes/counter?suite=shop&counter={SELECT}")


def test_a_form_accepts_in_the_suite_that_is_shown_whatever_letters_its_name_has(page):
    page.goto("/changes")
    page.get_by_role("link", name="lines?? of it").click()
    page.get_by_role("link", name="r25").first.click()
    page.get_by_label("Why").fill("it is meant")
    page.get_by_role("button", name="Accept").click()

    expect(
        page.get_by_text("no earlier run shows the level that was accepted").first
    ).to_be_visible()


BROKEN = """() => {
  const broken = [];
  for (const cell of document.querySelectorAll('.happened td:nth-child(6)')) {
    const walk = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
      for (const word of walk.currentNode.data.matchAll(/\\S+/g)) {
        const range = document.createRange();
        range.setStart(walk.currentNode, word.index);
        range.setEnd(walk.currentNode, word.index + word[0].length);
        if (range.getClientRects().length > 1) broken.push(word[0]);
      }
    }
  }
  return broken;
}"""


@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
def test_no_word_of_a_state_is_broken(browser, seeded, viewport):
    with tab(browser, seeded.url, viewport=viewport) as page:
        page.goto(f"/requests/{REQUEST}")
        states = page.locator(".happened td:nth-child(6)").all_inner_texts()
        broken = page.evaluate(BROKEN)

    assert any("building" in one for one in states)
    assert broken == []
