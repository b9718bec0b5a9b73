"""A trace is compared with the nearest of its operation, however many others hold that."""

from __future__ import annotations

import pytest

from nilometer.clock import wall_ns
from nilometer.model import Batch, Resource, SpanKind, SpanRecord
from tests.web.pages import asking

S = 10**9
MS = 10**6
NOW = wall_ns() // S * S - 60 * S
BUSY = 450


def trace_of(kind, number):
    return bytes([kind]) + number.to_bytes(15)


def one(trace_id, at_s, took_ms, name, number=1, parent=b""):
    at_ns = NOW + at_s * S
    kind = SpanKind.SERVER
    span_id = number.to_bytes(8)
    return SpanRecord(trace_id, span_id, parent, name, kind, at_ns, at_ns + took_ms * MS, {})


@pytest.fixture(scope="module", params=[b"", b"nowhere."], ids=["root", "orphan"])
def ask(tmp_path_factory, request):
    above = request.param
    stock = [one(trace_of(1, n), n - 3000, 5, "GET /stock", parent=above) for n in range(10)]
    for n in range(BUSY):
        told = trace_of(2, n)
        stock.append(one(told, n - 3000, 30, "POST /order"))
        stock.append(one(told, n - 3000, 9, "GET /stock", 2, (1).to_bytes(8)))
    steady = [
        one(trace_of(3, n), 3 * n - 3000, 10 if n < 150 else 100, "GET /a", parent=above)
        for n in range(BUSY)
    ]
    batches = [
        Batch(Resource("stock"), spans=tuple(stock)),
        Batch(Resource("a"), spans=tuple(steady)),
    ]
    with asking(tmp_path_factory.mktemp("nearest") / "store", batches) as ask:
        yield ask


def told(ask, trace_id, *path):
    return ask("/".join([f"/traces/{trace_id.hex()}/against", *path]), format="json").json()


def test_others_are_the_nearest_in_time_not_the_latest(ask):
    offered = told(ask, trace_of(3, 5))["traces"]
    median = told(ask, trace_of(3, 5), "median")["there"]

    ids = [row["id"] for row in offered]
    assert ids[:4] == [trace_of(3, n).hex() for n in (6, 4, 7, 3)]
    assert set(ids) == {trace_of(3, n).hex() for n in range(101) if n != 5}
    assert (median["traces"], median["duration_ns"]) == (100, 10 * MS)


def test_traces_that_only_hold_the_operation_hide_none_that_begin_with_it(ask):
    median = told(ask, trace_of(1, 3), "median")["there"]

    assert (median["traces"], median["duration_ns"]) == (9, 5 * MS)
