"""A store as a busy collector's after a day: ten million readings and a million spans.

Made by the store's own appends and maintenance, as the collector does it, and kept in a folder
to be asked again. Times count back from when it was made; `ended_ns` says when that was.
"""

from __future__ import annotations

import json
import random
import time
from typing import TYPE_CHECKING, NamedTuple

from rich.progress import track

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
from nilometer.store.lake import Lake
from nilometer.wire.notifications import event_of, opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

S = 10**9
INTERVAL_S = 10
ROWS_PER_APPEND = 50_000  # what a group commit takes together at most
SERVICES, PROCESSES = 10, 2
SERIES = 50  # of each process: a thousand in all
SPANS_PER_TRACE = 10
SPANS_S = 6 * 3600  # the spans are of the last six hours
NOTIFICATIONS = 20_000
MAINTENANCES_MAX = 200
NAME = "seeded.json"

DRAWN = 300  # distributions, taken again and again: to make ten million would take hours


class Seeded(NamedTuple):
    """A store, how much is in it, and when it was made."""

    store: str
    readings: int
    spans: int
    ended_ns: int


def seeded(folder: Path, readings: int, spans: int) -> Seeded:
    """The store in that folder, made if it is not there yet, or of another size."""
    told = folder / NAME
    if told.exists():
        found = Seeded(**json.loads(told.read_text()))
        if (found.readings, found.spans) == (readings, spans):
            return found
        raise SystemExit(f"{folder} holds another size; name another --folder, or remove it")
    random.seed(7)
    made = Seeded(str(folder / "store"), readings, spans, time.time_ns())
    lake = Lake(made.store, durability="os")
    *merged, recent, latest = _readings(made)
    for append in track(merged, "readings"):
        lake.append(_of_time(*append))
    for number in track(range(0, spans, ROWS_PER_APPEND), "spans"):
        lake.append(_traces(made, number, min(ROWS_PER_APPEND, spans - number)))
    lake.append(_notified(made.ended_ns))
    for _ in track(range(MAINTENANCES_MAX), "maintenance, till nothing is left to do"):
        if not any(lake.maintain()):
            break
    for append in (recent, latest):  # too few to be rolled up: so the last minutes always are
        lake.append(_of_time(*append))
    told.write_text(json.dumps(made._asdict()))
    return made


# --- Readings ---------------------------------------------------------------------------------


def _readings(made: Seeded) -> Iterator[tuple[int, int]]:
    """For each append the last of its intervals, and how many of them it has; oldest first."""
    per_interval = SERVICES * PROCESSES * SERIES
    whole = made.readings // per_interval
    each = ROWS_PER_APPEND // per_interval
    for first in range(whole, 0, -each):
        yield made.ended_ns - max(0, first - each) * INTERVAL_S * S, min(each, first)


_VALUES = [
    Distribution.of([int(random.lognormvariate(mu, 0.5)) for _ in range(60)])
    for mu in (12, 14, 15, 16)
    for _ in range(DRAWN // 4)
]


def _kinds() -> list[tuple[str, Kind, str, tuple[tuple[str, str], ...]]]:
    """The series of a process: requests by route, statements, counters and gauges."""
    timer, counter, gauge = Kind.DISTRIBUTION, Kind.COUNTER, Kind.GAUGE
    get = ("http.request.method", "GET")
    made = [
        ("http.server.request", timer, "ns", (get, ("http.route", f"/r/{n}")))
        for n in range(16)
    ]
    made += [
        ("http.server.responses", counter, "{response}", (("http.response.status_class", c),))
        for c in ("2xx", "4xx", "5xx")
    ]
    made += [
        ("db.client.operation", timer, "ns", (("db.operation.name", operation),))
        for operation in ("SELECT", "INSERT", "UPDATE", "DELETE", "COMMIT")
    ]
    made.append(("http.server.in_flight", gauge, "{request}", ()))
    made += [
        ("nilometer.overhead", counter, "ns", (("part", part),))
        for part in ("recording", "export")
    ]
    left = SERIES - len(made)
    return made + [(f"work.step.{n:02}", counter, "1", ()) for n in range(left)]


def _of_time(last_ns: int, intervals: int) -> list[Batch]:
    kinds = _kinds()
    batches = []
    for service in range(SERVICES):
        for process in range(PROCESSES):
            resource = Resource(
                f"service{service}",
                f"host{process}",
                100 + process,
                version=f"1.{process}",
            )
            readings = tuple(
                Reading(name, kind, where, _value(kind), at - INTERVAL_S * S, at, unit)
                for at in range(
                    last_ns - (intervals - 1) * INTERVAL_S * S, last_ns + 1, INTERVAL_S * S
                )
                for name, kind, unit, where in kinds
            )
            batches.append(Batch(resource, readings))
    return batches


def _value(kind: Kind) -> int | Distribution:
    return random.choice(_VALUES) if kind is Kind.DISTRIBUTION else random.randrange(1, 1000)


# --- Spans and notifications ------------------------------------------------------------------


def _traces(made: Seeded, number: int, count: int) -> list[Batch]:
    """Traces one after the other, from six hours ago till now, in turns by service."""
    by_service: dict[int, list[SpanRecord]] = {}
    for first in range(number, number + count, SPANS_PER_TRACE):
        ago_s = SPANS_S * (1 - first / made.spans)
        at = made.ended_ns - int(ago_s * S) - 2 * S
        by_service.setdefault(first // SPANS_PER_TRACE % SERVICES, []).extend(_trace(first, at))
    return [
        Batch(Resource(f"service{service}", "host0", 100, version="1.0"), (), tuple(spans))
        for service, spans in by_service.items()
    ]


def _trace(number: int, at: int) -> list[SpanRecord]:
    trace = random.randbytes(16)
    took = int(random.lognormvariate(17, 0.8))
    route = f"/r/{number // SPANS_PER_TRACE % 16}"
    status = Status.ERROR if random.random() < 0.01 else Status.UNSET
    told = {"http.request.method": "GET", "http.route": route, "request_id": f"req-{number:08}"}
    root = random.randbytes(8)
    statement = {"db.system.name": "mysql", "db.query.text": "SELECT * FROM boots WHERE id = ?"}
    ends = (trace, root, b"", f"GET {route}", SpanKind.SERVER, at, at + took, told, status)
    return [
        SpanRecord(*ends),
        *(
            SpanRecord(
                trace,
                random.randbytes(8),
                root,
                "SELECT boots",
                SpanKind.CLIENT,
                at + took * child // SPANS_PER_TRACE,
                at + took * (child + 1) // SPANS_PER_TRACE,
                statement,
            )
            for child in range(SPANS_PER_TRACE - 1)
        ),
    ]


def _notified(ended_ns: int) -> list[Batch]:
    """What nova would tell of instances that are made, in a day."""
    batches = []
    for number in range(NOTIFICATIONS):
        at_s = ended_ns / S - 86_400 * (1 - number / NOTIFICATIONS)
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at_s))
        message = {
            "message_id": f"{number:032x}",
            "publisher_id": f"compute.node-{number % 10}",
            "event_type": f"compute.instance.create.{('start', 'end')[number % 2]}",
            "priority": "INFO",
            "payload": {
                "instance_id": f"{number // 2:032x}",
                "tenant_id": f"{number % 50:032x}",
            },
            "timestamp": f"{at}.000000",
            "_context_request_id": f"req-{number // 2:032x}",
        }
        body = json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(message)})
        found = event_of(opened(body.encode()), exchange="nova", topic="notifications")
        batches.append(Batch(found.resource, events=(found.event,)))
    return batches
