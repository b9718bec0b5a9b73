"""Names of any length: a page cuts them, and stays as small as it is."""

from __future__ import annotations

import pytest

from nilometer.clock import wall_ns
from nilometer.model import Batch, Resource, SpanKind, SpanRecord, Status
from tests.web.pages import asking

S = 10**9
NOW = wall_ns() // S * S - 60 * S
LONG = 3000 * "<b>"
SPANS = 60
TRACE = bytes(range(16))
PAGE_MAX = 500_000


def span(number):
    above = (number - 1).to_bytes(8) if number > 1 else b""
    return SpanRecord(
        *(TRACE, number.to_bytes(8), above, f"{number}{LONG}", SpanKind.SERVER),
        *(NOW + number, NOW + S, {LONG: LONG, "request_id": LONG}),
        status=Status.ERROR,
        status_message=LONG,
    )


BATCHES = [
    Batch(Resource(f"{n}{LONG}", LONG, version=LONG), spans=(span(n),))
    for n in range(1, SPANS + 1)
]
PATHS = [
    *(f"/traces/{TRACE.hex()}", f"/traces/{TRACE.hex()}/flame", "/traces"),
    *(f"/traces/{TRACE.hex()}/against", "/services", "/doctor"),
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
