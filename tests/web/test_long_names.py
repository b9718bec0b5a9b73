"""Names of any length: a page cuts them, and stays as small as it is."""

from __future__ import annotations

import pytest

from nilometer.clock import wall_ns
from nilometer.model import (
    Batch,
    Distribution,
    Kind,
    Reading,
    Resource,
    SpanKind,
    SpanRecord,
    Status,
)
from tests.web.pages import asking

S = 10**9
NOW = wall_ns() // S * S - 60 * S
LONG = 3000 * "<b>"
SPANS = 60
TRACE = bytes(range(16))
PAGE_MAX = 500_000
TIMER = "/metrics/http.server.request"


def span(number):
    above = (number - 1).to_bytes(8) if number > 1 else b""
    return SpanRecord(
        *(TRACE, number.to_bytes(8), above, f"{number}{LONG}", SpanKind.SERVER),
        *(NOW + number, NOW + S, {LONG: LONG, "request_id": LONG}),
        status=Status.ERROR,
        status_message=LONG,
    )


def readings(number):
    """A timer, and a gauge of a name as long as can be asked for."""
    dimensions = (("http.request.method", "GET"), ("http.route", f"{number}{LONG}"))
    times = Distribution.of([5, 6])
    timer = "http.server.request", Kind.DISTRIBUTION, dimensions, times
    gauge = f"m{number}{4000 * 'm'}", Kind.GAUGE, ((LONG, LONG),), 4
    return tuple(
        Reading(*told, NOW - 10 * S, NOW, unit, LONG)
        for told, unit in ((timer, "ns"), (gauge, LONG))
    )


BATCHES = [
    Batch(Resource(f"{n}{LONG}", LONG, version=LONG), readings(n), (span(n),))
    for n in range(1, SPANS + 1)
]
PATHS = [
    *(f"/traces/{TRACE.hex()}", f"/traces/{TRACE.hex()}/flame", "/traces"),
    *(f"/traces/{TRACE.hex()}/against", "/services", "/doctor"),
    *("/metrics", f"{TIMER}?tables=true", f"{TIMER}?group_by=http.route&tables=true"),
    f"/metrics/m1{4000 * 'm'}?tables=true",
]


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    with asking(tmp_path_factory.mktemp("long") / "store", BATCHES) as ask:
        yield ask


@pytest.mark.parametrize("path", PATHS)
def test_a_page_of_endless_names_is_no_larger_than_others(ask, path):
    answer = ask(path)

    assert answer.status_code == 200
    assert len(answer.content) < PAGE_MAX


def test_what_is_too_long_to_choose_is_counted_and_stays_chosen(ask):
    long = f"1{600 * 'x'}"

    page = ask(TIMER, where=f"http.route={long}").text

    assert f"{SPANS} more, too many or too long to choose from" in page
    assert f'<option value="http.route={long}" selected>' in page
    assert '<option value="http.request.method=GET">GET</option>' in page
