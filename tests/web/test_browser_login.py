"""Laws of logging in with a real browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.collector import Collector
from tests.web import seeded
from tests.web.browser import NARROW, faults, is_wider_than_the_screen, tab

pytestmark = pytest.mark.real

TOKEN = "a-token-of-sixteen-or-more"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guarded")
    seeded.write(folder / "store")
    tokens = folder / "tokens"
    tokens.touch(mode=0o600)
    tokens.write_text(TOKEN + "\n")
    with Collector(folder, statsd="off", token_file=tokens) as collector:
        yield collector


def test_a_token_is_brought_once_and_one_is_where_one_wanted_to_be(browser, guarded):
    with tab(browser, guarded.url, refused=(401,)) as page:
        page.goto("/services?since=2h")
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_contain_text("does not open")
        page.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Services", exact=True)).to_be_visible()
        arrived = page.url
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_label("Token")).to_be_visible()
        page.goto("/doctor")
        left = page.url

    assert arrived == f"{guarded.url}/services?since=2h"
    assert left == f"{guarded.url}/login?to=%2Fdoctor"
    assert TOKEN not in guarded.output()


def test_the_login_page_is_accessible_and_fits_a_phone(browser, guarded):
    with tab(browser, guarded.url, viewport=NARROW) as page:
        page.goto("/login")
        found = faults(page)
        is_wider = is_wider_than_the_screen(page)

    assert (found, is_wider) == ([], False)


def test_no_script_sees_the_cookie(browser, guarded):
    with tab(browser, guarded.url) as page:
        page.goto("/login")
        page.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Services", exact=True)).to_be_visible()
        seen = page.evaluate("document.cookie")

    assert seen == ""
