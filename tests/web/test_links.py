"""A link leads to a page: one that would be refused is no link."""

from __future__ import annotations

import html
import re

import pytest

from nilometer.clock import wall_ns
from nilometer.model import Batch, Kind, Reading, Resource, SpanKind, SpanRecord
from nilometer.web.addresses import to
from tests.notified import instance, notified
from tests.web.pages import asking

S = 10**9
NOW = wall_ns() // S * S - 60 * S
LONG = 5000 * "a"
LINES = "req-two\nlines"
ODD = {"=key": "=value", "a\nb": "\n", "long": LONG, LONG: "x", "request_id": LINES, "": ""}
TRACE = bytes(range(16)).hex()
SPAN = SpanRecord(
    *(bytes(range(16)), b"rootroot", b"", LONG, SpanKind.SERVER, NOW, NOW + S, ODD),
)
READINGS = [
    Reading(name, Kind.COUNTER, (("service", LONG),), 3, NOW, NOW + S, "1")
    for name in (LONG, "two\nlines", "..")
]
BATCHES = [
    Batch(Resource(LONG, "two\nlines"), spans=(SPAN,), readings=tuple(READINGS)),
    notified("z.end", instance(), NOW, request=LINES, project=LONG),
    notified("x.error", instance(server=LONG), NOW, request=LONG, project="two\nlines"),
    notified("y.error", instance(server="two\nlines"), NOW, request="..", project=".."),
]
PAGES = [
    *("/services", "/doctor", "/metrics", "/traces", "/requests"),
    *("/requests?view=operations", "/requests?view=failures", f"/traces/{TRACE}"),
    *(f"/traces/{TRACE}/spans/{SPAN.span_id.hex()}", "/requests/req-two%0Alines"),
    "/resources/two%0Alines",
]


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    with asking(tmp_path_factory.mktemp("links") / "store", BATCHES) as ask:
        yield ask


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_to_a_page(ask, page):
    answer = ask(page)
    there = {html.unescape(one) for one in re.findall(r'href="(/(?!api/)[^"]*)"', answer.text)}

    refused = [one[:200] for one in there if ask(one).status_code >= 400]
    assert (answer.status_code, refused) == (200, [])


def test_a_request_whose_id_has_lines_is_linked_to_from_its_trace(ask):
    assert str(to("requests", LINES)) in ask(f"/traces/{TRACE}").text
