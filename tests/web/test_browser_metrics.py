"""Laws of the charts in a real browser: drawn, zoomed, shared, followed, and harmless."""

from __future__ import annotations

from urllib.parse import parse_qs, quote, urlsplit

import pytest
from playwright.sync_api import expect

from tests.web.browser import NARROW, SIDEWAYS, WIDE, faults, is_wider_than_the_screen, tab
from tests.web.seeded import HOSTILE, TRACE_ID

pytestmark = pytest.mark.real

TIMER = "/metrics/http.server.request"
LOOKS = [("light", WIDE), ("dark", WIDE), ("light", NARROW)]
HARM = f"/metrics/{quote(HOSTILE, safe='')}"


def drawn(page, path):
    """The page, when its charts are there; the box that they are in."""
    page.goto(path)
    expect(page.locator("#charts-said")).to_be_hidden()
    charts = page.locator("#charts")
    expect(charts.locator("canvas").first).to_be_visible()
    return charts


def asked(page):
    return parse_qs(urlsplit(page.url).query)


def figures(charts):
    return charts.locator(".bk-Figure")


def drag(page, figure, first, last):
    """Over a figure from one share of its width to another."""
    figure.scroll_into_view_if_needed()
    box = figure.bounding_box()
    middle = box["y"] + box["height"] * 0.4
    page.mouse.move(box["x"] + box["width"] * first, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * (first + last) / 2, middle, steps=4)
    page.mouse.move(box["x"] + box["width"] * last, middle, steps=4)
    page.mouse.up()


@pytest.mark.parametrize(("scheme", "viewport"), LOOKS)
@pytest.mark.parametrize(
    "path", ["/metrics", TIMER, f"{TIMER}?group_by=version&compare=30m&tables=true", HARM]
)
def test_pages_of_metrics_can_be_read_by_everybody(browser, seeded, path, scheme, viewport):
    with tab(browser, seeded.url, scheme=scheme, viewport=viewport) as page:
        if path == "/metrics":
            page.goto(path)
        else:
            drawn(page, path)

        assert faults(page) == []
        assert not is_wider_than_the_screen(page)


def test_a_new_user_finds_a_timer_and_its_charts_by_clicking(page):
    page.goto("/")
    page.get_by_role("link", name="Metrics").click()
    page.get_by_label("search").fill("server.request")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("link", name="http.server.request", exact=True).click()
    page.get_by_label("http.route", exact=True).last.check()
    page.get_by_role("button", name="Show").last.click()

    expect(page.locator("#charts-said")).to_be_hidden()
    expect(page.locator("#whole tbody")).to_contain_text("/orders/{id}")
    assert asked(page)["group_by"] == ["http.route"]


def test_a_time_chosen_with_the_mouse_is_in_the_address_and_in_the_form(page):
    charts = drawn(page, TIMER)
    before = figures(charts).count()

    drag(page, figures(charts).first, 0.4, 0.6)

    expect(page.locator("#zoomed")).to_be_visible()
    told = asked(page)
    assert told["until"] > told["since"]
    expect(page.locator("form.explore input[name=since]")).to_have_value(told["since"][0])
    page.get_by_role("link", name="Show the tables of that time").click()
    expect(page.locator("#charts-said")).to_be_hidden()
    assert asked(page) == told
    expect(figures(page.locator("#charts"))).to_have_count(before)


def test_charts_that_could_not_be_drawn_are_asked_for_again(browser, seeded):
    with tab(browser, seeded.url, refused=(503,)) as page:
        answers = iter([503])

        def once(route):
            status = next(answers, 0)
            if status:
                route.fulfill(status=status, json={"detail": "busy"})
            else:
                route.continue_()

        page.route("**/charts/**", once)
        page.goto(TIMER)

        expect(page.locator("#charts-said")).to_contain_text("busy")
        expect(page.locator("#charts canvas").first).to_be_visible()
        expect(page.locator("#charts-said")).to_be_hidden()


def test_all_charts_show_the_time_that_is_chosen_in_the_small_one(page):
    charts = drawn(page, TIMER)

    drag(page, figures(charts).last, 0.5, 0.7)

    expect(page.locator("#zoomed")).to_be_visible()
    assert {"since", "until"} <= set(asked(page))
    page.get_by_role("button", name="Show all again").click()
    expect(page.locator("#zoomed")).to_be_hidden()
    assert "until" not in asked(page)


def test_charts_that_are_renewed_keep_what_was_chosen(page):
    charts = drawn(page, TIMER)
    drag(page, figures(charts).first, 0.4, 0.6)
    expect(page.locator("#zoomed")).to_be_visible()
    told = page.url

    page.wait_for_timeout(6000)

    assert page.url == told
    expect(page.locator("#zoomed")).to_be_visible()


@pytest.mark.slow
def test_charts_are_renewed_while_one_looks_and_not_while_they_are_paused(page):
    drawn(page, TIMER)
    with page.expect_request(lambda request: "plain=true" in request.url):
        pass

    page.get_by_role("button", name="Pause").click()
    page.wait_for_timeout(500)
    later = []
    page.on("request", lambda request: later.append(request.url))
    page.wait_for_timeout(6000)

    assert [url for url in later if "plain=true" in url] == []


def swipe(page, x, y, by):
    """With one finger from that point of the screen so far up, or down."""
    session = page.context.new_cdp_session(page)

    def touch(kind, *points):
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": list(points)})

    touch("touchStart", {"x": x, "y": y})
    for step in range(1, 11):
        touch("touchMove", {"x": x, "y": y - by * step / 10})
    touch("touchEnd")
    session.detach()


@pytest.mark.parametrize(
    ("viewport", "is_mobile"),
    [(NARROW, True), (SIDEWAYS, True), (WIDE, False)],
    ids=["upright", "sideways", "beside a mouse"],
)
def test_a_finger_scrolls_past_every_chart(browser, seeded, viewport, is_mobile):
    touched = {"has_touch": True, "is_mobile": is_mobile}
    with tab(browser, seeded.url, viewport=viewport, **touched) as page:
        if not is_mobile:  # Chromium would have no mouse where it emulates a finger
            mouse = "(of) => real(of.includes('coarse') ? 'not all' : of)"
            page.add_init_script(f"const real = matchMedia; window.matchMedia = {mouse}")
        charts = drawn(page, TIMER)
        for number in range(figures(charts).count()):
            figure = figures(charts).nth(number)
            figure.evaluate("one => one.scrollIntoView({block: 'center'})")
            before, box = page.evaluate("scrollY"), figure.bounding_box()

            swipe(page, box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, -200)

            page.wait_for_timeout(500)
            assert page.evaluate("scrollY") < before - 50
        assert not {"since", "until"} & set(asked(page))


def test_a_cell_of_the_heat_map_leads_to_its_traces(page):
    charts = drawn(page, f"{TIMER}?period=5m")
    heat = figures(charts).nth(figures(charts).count() - 2)
    heat.scroll_into_view_if_needed()
    box = heat.bounding_box()

    for share in range(15, 75):
        page.mouse.click(box["x"] + box["width"] * 0.8, box["y"] + box["height"] * share / 100)
        if "/traces" in page.url:
            break
    page.wait_for_url("**/traces?*")

    told = asked(page)
    ends = (told[key][0] for key in ("min_span", "max_span"))
    least, most = (int(end.removesuffix("ns")) for end in ends)
    assert 0 < least < most
    assert told["since"] < told["until"]


def test_a_cell_leads_to_what_ended_long_before_its_service_reported_it(page):
    drawn(page, "/metrics/http.server.request.duration?period=10s")
    cells = "Bokeh.documents[0].get_model_by_name('cells')"
    assert page.evaluate(f"{cells}.data.count") == [1]

    page.evaluate(f"{cells}.selected.indices = [0]")
    page.wait_for_url("**/traces?*")

    expect(page.locator(f'a[href^="/traces/{TRACE_ID}"]').first).to_be_visible()


def test_the_table_of_cells_leads_to_the_same_by_keyboard(page):
    page.goto(TIMER)
    page.get_by_role("link", name="By period, and by size and time").press("Enter")
    page.locator("#cells a").first.press("Enter")

    page.wait_for_url("**/traces?*")
    assert "min_span" in asked(page)


def test_names_that_mean_harm_are_text_in_charts_and_what_they_tell(page):
    charts = drawn(page, f"{HARM}?group_by={quote(HOSTILE)}")
    box = figures(charts).first.bounding_box()

    for share in range(40, 100, 2):
        page.mouse.move(box["x"] + box["width"] * share / 100, box["y"] + box["height"] * 0.15)

    assert page.locator("img[src=x]").count() == 0
    assert page.evaluate("document.querySelectorAll('mjx-container').length") == 0
