"""Traces for tests of their pages: orders that ask another service, a slow one with a statement
for each of forty articles, one that failed, one with ten thousand spans, a hostile one."""

from __future__ import annotations

from nilometer.clock import wall_ns
from nilometer.model import Batch, Event, Resource, SpanKind, SpanRecord, Status
from tests.web.seeded import HOSTILE

S = 10**9
MS = 10**6
NOW = wall_ns()
ORDERS = Resource("orders", "c1", 42, version="1.2")
STOCK = Resource("stock", "c2", 43)
USUAL = tuple(bytes([10 + n] * 16) for n in range(5))
SLOW, FAILED, LARGE, EVIL = (bytes([n] * 16) for n in (30, 31, 32, 33))
LOST = bytes([34] * 16)
REQUEST = "req-slow"
PAGES, LINES = 100, 99


def hexed(trace):
    return trace.hex()


def span(trace, number, parent, name, start, end, at, **told):
    """A span; times in milliseconds after `at`, which is in nanoseconds."""
    return SpanRecord(
        trace,
        number.to_bytes(8, "big"),
        parent.to_bytes(8, "big") if parent else b"",
        name,
        told.pop("kind", SpanKind.INTERNAL),
        at + int(start * MS),
        at + int(end * MS),
        told.pop("attributes", {}),
        **told,
    )


def order(trace, at, *, articles=0, write_ms=10.0, error=""):
    """One order: the stock service is asked, articles are read one by one, all is kept."""
    asked = 6 + write_ms
    kept = asked + 2 + articles
    caller = {
        "code.file.path": "shop/orders.py",
        "code.line.number": 63,
        "code.function.name": "names",
    }
    failed = {"status": Status.ERROR, "status_message": error} if error else {}
    server = {
        "http.route": "/orders",
        "http.response.status_code": 500 if error else 201,
        "request_id": REQUEST if trace == SLOW else f"req-{trace.hex()[:4]}",
    }
    own = [
        span(
            trace,
            1,
            0,
            "POST /orders",
            0,
            kept + 5,
            at,
            kind=SpanKind.SERVER,
            attributes=server,
            **failed,
        ),
        span(trace, 2, 1, "POST", 1, asked, at, kind=SpanKind.CLIENT),
        *(
            span(
                trace,
                100 + n,
                1,
                "SELECT",
                asked + 1 + n,
                asked + 1.8 + n,
                at,
                kind=SpanKind.CLIENT,
                attributes={
                    "db.query.text": f"SELECT name FROM articles WHERE id = {n}",
                    **caller,
                },
            )
            for n in range(articles)
        ),
        span(trace, 3, 1, "keep the order", kept, kept + 4, at),
    ]
    write = {"db.query.text": "UPDATE stock SET pieces = ? WHERE sku = ?"}
    theirs = [
        span(trace, 4, 2, "POST /reserve", 2, asked - 1, at, kind=SpanKind.SERVER),
        span(trace, 5, 4, "UPDATE", 4, 4 + write_ms, at, attributes=write, **failed),
    ]
    return [Batch(ORDERS, (), tuple(own)), Batch(STOCK, (), tuple(theirs))]


def report():
    """Ten thousand spans: a hundred pages of as many lines."""
    at, number, spans = NOW - 300 * S, 1, []
    for page in range(PAGES):
        number += 1
        parent = number
        spans.append(span(LARGE, parent, 1, f"page {page}", page * 10, page * 10 + 9.9, at))
        for line in range(LINES):
            number += 1
            begun = page * 10 + line * 0.1
            name = ("read", "write", "count")[line % 3]
            spans.append(span(LARGE, number, parent, name, begun, begun + 0.09, at))
    return [
        Batch(
            Resource("report", "c9", 9),
            (),
            (span(LARGE, 1, 0, "report", 0, PAGES * 10, at), *spans),
        )
    ]


def evil():
    at = NOW - 200 * S
    told = {
        "status": Status.ERROR,
        "status_message": HOSTILE,
        "attributes": {HOSTILE: HOSTILE, "db.query.text": HOSTILE, "request_id": HOSTILE},
        "events": (Event(HOSTILE, at, {HOSTILE: HOSTILE}),),
    }
    log = Event(HOSTILE, at, {HOSTILE: HOSTILE}, EVIL, (1).to_bytes(8, "big"), 17, HOSTILE)
    return [
        Batch(
            Resource(HOSTILE, HOSTILE, 7),
            (),
            (span(EVIL, 1, 0, HOSTILE, 0, 5, at, **told),),
            (log,),
        )
    ]


def lost():
    """A trace whose root never came."""
    at = NOW - 250 * S
    return [
        Batch(
            ORDERS,
            (),
            (
                span(LOST, 2, 1, "first half", 0, 10, at),
                span(LOST, 3, 1, "second half", 20, 30, at),
            ),
        )
    ]


def batches():
    log = Event(
        "log",
        NOW - 60 * S + 7 * MS,
        {"logger": "shop.orders"},
        SLOW,
        (1).to_bytes(8, "big"),
        13,
        "the stock is slow",
    )
    return [
        *(
            one
            for n, trace in enumerate(USUAL)
            for one in order(trace, NOW - (400 + n) * S, write_ms=10 + n)
        ),
        *order(SLOW, NOW - 60 * S, articles=40, write_ms=30),
        Batch(ORDERS, (), (), (log,)),
        *order(FAILED, NOW - 120 * S, error="database is locked"),
        *report(),
        *evil(),
        *lost(),
    ]
