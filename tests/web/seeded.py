"""What the browser tests look at: an hour of two services, with names that mean harm.

`write(store)` makes the tables; further data is in the modules of those who look at it.
"""

from __future__ import annotations

from nilometer.clock import wall_ns
from nilometer.model import (
    Batch,
    Distribution,
    Event,
    Kind,
    Reading,
    Resource,
    SpanKind,
    SpanRecord,
    Status,
)
from nilometer.store.lake import Lake

S = 10**9
HOSTILE = "<img src=x onerror=alert(1)>\"'><script>alert(2)</script>{{7*7}}\u202e"
TRACE = bytes(range(1, 17))
TRACE_ID = TRACE.hex()
FAILED = bytes(range(2, 18))
REQUEST = "req-6b2f1c1e-0000-4000-8000-000000000001"
MINUTES = 30


def write(store):
    """The tables at `store`, as they would be now; returns the time they end at."""
    now = wall_ns()
    Lake(store, durability="os").append(batches(now))
    return now


def batches(now):
    return [
        *(batch for minute in range(MINUTES) for batch in minute_of(now, minute)),
        Batch(Resource("orders", "c1", 41, version="1.1"), timed(now - 1500 * S, 3), ()),
        Batch(Resource(HOSTILE, HOSTILE, 7, version=HOSTILE), hostile(now), strange(now)),
        Batch(
            Resource("orders", "c1", 42, version="1.2"), seldom(now), spans(now), events(now)
        ),
    ]


def minute_of(now, minute):
    """What both services told in a minute so long ago."""
    at = now - minute * 60 * S
    yield Batch(Resource("orders", "c1", 42, version="1.2"), timed(at, 20 + minute % 5), ())
    yield Batch(Resource("stock", "c2", 43, version="3"), timed(at, 7), ())


def reading(name, kind, value, at, unit="1", **dimensions):
    pairs = tuple(sorted((key.replace("__", "."), text) for key, text in dimensions.items()))
    return Reading(name, kind, pairs, value, at - 10 * S, at, unit, f"What {name} is about.")


def timed(at, requests):
    """Requests of two routes, a few in vain, statements, and what measuring cost."""
    route = {"http__route": "/orders/{id}", "http__request__method": "GET"}
    spread = Distribution.of([(3 + n % 11) * 1_000_000 for n in range(requests)])
    return (
        reading("http.server.request", Kind.DISTRIBUTION, spread, at, "ns", **route),
        reading(
            "http.server.responses",
            Kind.COUNTER,
            requests - 1,
            at,
            "{response}",
            http__response__status_class="2xx",
        ),
        reading(
            "http.server.responses",
            Kind.COUNTER,
            1,
            at,
            "{response}",
            http__response__status_class="5xx",
        ),
        reading("http.server.in_flight", Kind.GAUGE, requests % 4, at, "{request}"),
        reading("nilometer.overhead", Kind.COUNTER, requests * 900, at, "ns", part="recording"),
        reading("nilometer.overhead", Kind.COUNTER, 400_000, at, "ns", part="export"),
    )


def seldom(now):
    """The request of TRACE, as a service tells it that reports once a minute."""
    told = reading(
        "http.server.request.duration", Kind.DISTRIBUTION, Distribution.of([0.25]), now, "s"
    )
    return (told._replace(started_ns=now - 60 * S),)


def hostile(now):
    at = now - 20 * S
    return (
        reading(HOSTILE, Kind.COUNTER, 3, at, HOSTILE, **{HOSTILE: HOSTILE}),
        reading("nilometer.lost", Kind.COUNTER, 5, at, what=HOSTILE, reason=HOSTILE),
        reading("nilometer.lost", Kind.COUNTER, 9, at, what="spans", reason="ring_full"),
    )


def span(trace, number, parent, name, start_ms, end_ms, now, **told):
    begun = now - 60 * S
    return SpanRecord(
        trace,
        number.to_bytes(8, "big"),
        parent.to_bytes(8, "big") if parent else b"",
        name,
        told.pop("kind", SpanKind.INTERNAL),
        begun + start_ms * 10**6,
        begun + end_ms * 10**6,
        told.pop("attributes", {}),
        **told,
    )


def spans(now):
    """A request with a statement that is repeated forty times, and one that failed."""
    select = {"db.system.name": "sqlite", "db.query.text": "SELECT * FROM lines WHERE id = ?"}
    server = {"http.route": "/orders/{id}", "request_id": REQUEST}
    repeated = (
        span(TRACE, 10 + n, 2, "SELECT", 20 + 4 * n, 23 + 4 * n, now, attributes=select)
        for n in range(40)
    )
    return (
        span(
            TRACE,
            1,
            0,
            "GET /orders/{id}",
            0,
            250,
            now,
            kind=SpanKind.SERVER,
            attributes=server,
        ),
        span(TRACE, 2, 1, "load the order", 10, 200, now),
        *repeated,
        span(TRACE, 60, 1, "ask the stock", 205, 240, now, kind=SpanKind.CLIENT),
        span(
            FAILED,
            1,
            0,
            "POST /orders",
            300,
            340,
            now,
            kind=SpanKind.SERVER,
            status=Status.ERROR,
            status_message="ValueError: nothing is left",
            attributes={"request_id": REQUEST},
        ),
    )


def strange(now):
    """A trace whose every word means harm."""
    return (
        span(
            bytes(range(3, 19)),
            1,
            0,
            HOSTILE,
            400,
            450,
            now,
            status=Status.ERROR,
            status_message=HOSTILE,
            attributes={HOSTILE: HOSTILE, "db.query.text": HOSTILE, "request_id": HOSTILE},
            events=(Event(HOSTILE, now - 59 * S, {HOSTILE: HOSTILE}),),
        ),
    )


def events(now):
    return (
        Event(
            "log",
            now - 59 * S,
            {"request_id": REQUEST, "note": HOSTILE},
            trace_id=TRACE,
            span_id=(2).to_bytes(8, "big"),
            severity=13,
            body=f"stock is low {HOSTILE}",
        ),
    )
