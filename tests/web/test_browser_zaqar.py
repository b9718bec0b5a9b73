"""What runs, why a request took its time, and on what: of a Zaqar from PyPI, in a browser.

Zaqar, MariaDB, Redis and the collector are those of `make demo-zaqar`; its own client sends a
message in a trace.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest
from playwright.sync_api import expect

from examples.servers.databases import folder
from examples.zaqar import demo
from examples.zaqar.deployment import deployed
from examples.zaqar.report import SPANS_MIN
from nilometer.cli.processes import Processes
from tests.web.browser import NARROW, WIDE, faults, is_wider_than_the_screen, tab

pytestmark = [pytest.mark.real, pytest.mark.slow]

POSTS = 20
READY = "#waterfall[data-ready]"


class Measured(NamedTuple):
    """A collector that a Zaqar reports to, and the trace of the client's message."""

    url: str
    trace_id: str


@pytest.fixture(scope="module")
def seeded():
    """A Zaqar that runs and was asked."""
    with (
        folder() as place,
        Processes(place) as processes,
        deployed(place, processes) as deployment,
    ):
        zaqar = deployment.begin(processes, "zaqar", flags=deployment.traced())
        zaqar.process.wait_until_ready()
        deployment.furnish(zaqar)
        for _ in range(POSTS):
            zaqar.post()
        trace_id = demo.send(deployment, zaqar)
        deployment.spans(trace_id, at_least=SPANS_MIN)
        yield Measured(deployment.collector, trace_id)


def test_a_zaqar_is_alive_and_what_it_did_is_told(page):
    page.goto("/")

    row = page.locator("#services tbody tr", has_text="zaqar").first
    expect(row).to_contain_text("1 alive")
    # Those, and whether it is ready, a pool, a queue, the client's.
    expect(row).to_contain_text(re.compile(rf"\b{POSTS // 10}\d requests"))


def test_from_the_list_to_the_statement_in_the_store_that_a_message_waited_for(page):
    page.goto("/")
    page.get_by_role("link", name="Traces", exact=True).click()
    page.get_by_role("link", name="tell of an order").click()
    expect(page.locator(READY)).to_be_visible()

    for name in ("POST /v2/queues/{queue_name}/messages", "pooling.message.post", "EVALSHA"):
        expect(page.locator(".fall", has_text=name).first).to_be_visible()
    page.locator(".fall", has_text="SELECT").first.click()

    expect(page.locator("#span")).to_contain_text("FROM")
    expect(page.locator("#span")).to_contain_text("mysql")


def test_what_its_time_went_to_is_drawn_by_store(page):
    page.goto("/")
    page.get_by_role("navigation").get_by_role("link", name="Metrics").click()
    page.get_by_role("link", name="db.client.operation", exact=True).click()
    expect(page.locator("#charts canvas").first).to_be_visible()

    page.get_by_role("checkbox", name="db.system.name").check()
    page.locator(".explore").get_by_role("button", name="Show").click()

    expect(page.locator("table", has_text="mysql").first).to_contain_text("redis")


@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
def test_pages_of_a_zaqar_can_be_read_by_everybody(browser, seeded, viewport):
    trace = f"/traces/{seeded.trace_id}"
    paths = ("/services", "/doctor", "/metrics", "/traces", trace, f"{trace}/flame")
    found = {}
    with tab(browser, seeded.url, viewport=viewport) as page:
        for path in paths:
            page.goto(path)
            found[path] = faults(page), is_wider_than_the_screen(page)

    assert found == dict.fromkeys(paths, ([], False))
