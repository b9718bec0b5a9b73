"""What a fleet of services tells in some days: enough for every question to have much to say.

Names and statements mean harm, spans and readings come twice, some are of one moment, some have
no parent, some end before they start; what counts since a start starts again.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from random import Random

import pyarrow.parquet as pq

from nilometer.analyze.engine import Lot
from nilometer.model import Batch, Distribution, Kind, Resource, SpanKind, Status
from nilometer.store.places import Place
from nilometer.store.stored import DataFile
from tests.analyze.over import table
from tests.analyze.test_cost import random_runs
from tests.store.batches import NOW_NS, S, counted, span

SERVICES = ("shop", "pay'; DROP TABLE spans; --", "100%_!", "naïve 店\0", "", 'a\\b"c')
OPERATIONS = ("get", "O'Brien\\", "%_!", "naïve 店\0", "", "${x} :service $service ? --")
HOUR = 3600 * S
TABLES = ("spans", "readings", "runs")

ATTRIBUTES = (
    {"db.system.name": "mysql", "server.address": "db1"},
    {"db.system": "redis"},
    {"peer.service": 'the "bank"\\'},
    {"messaging.system": "rabbitmq", "net.peer.name": "mq\n2"},
    {"peer.service": 1.5},
    {"peer.service": True},
    {"peer.service": ["a", 'b"', 2, None]},
    {"peer.service": -0.0, "db.statement": 10**17 + 0.5},
    {"peer.service": "", "db.system": "é\u2028\x85"},
    {},
)
SCRAPS = (
    *("select ", "a1", "0xFF", "1.5e-3", "'", "''", "\\", "\\'", ", ", "(", ")", "?", "%s"),
    *("\n", "\r", "\t", "\x0b", "\x85", "\u2028", "\xa0", " ", "é7", "7é", "٣", "_9", "9_"),
    *("%(name)s", "in (1, 2 ,3)", "values (1),\n(2)", '"', "`", "${spark.app.name}", ":by"),
    *("$1", "店", "😀"),
)
NUMBERS = (3, 2**62, 0.1, 1 / 3, 12345678.123456789, -7.25, 1e22 / 3, float("nan"), 5e-10)
LONG = (
    f"select * from t where id in ({', '.join(map(str, range(3000)))})",
    f"select '{'its ' * 3000}'",
    "insert into t values " + ", ".join(f"({n}, 'a')" for n in range(1500)),
    "select '" + "\\\\" * 4900,
)


def batches(seed):
    """All of it, some of it twice, in any order."""
    random = Random(seed)
    told = [*_traces(random), *_busy(random), *_readings(random)]
    told += random.sample(told, len(told) // 5)
    random.shuffle(told)
    return told


def runs(seed):
    """Measured runs, some of them twice."""
    made = random_runs(seed)
    return made + made[:5]


def _resource(random, name):
    return Resource(
        name, "h", random.randrange(2), region=random.choice(["", "eu"]), zone="z",
        version=random.choice(["1.0", "1'1"]),
    )  # fmt: skip


def _traces(random):
    """Trees of several services, with statements; some with the ids of others."""
    for trace in range(1, 60):
        by_service = {}
        for number in range(1, random.randrange(2, 20)):
            parent = random.choice([0, 999, *range(1, number)])
            attributes = dict(random.choice(ATTRIBUTES))
            if random.random() < 0.7:
                said = random.choice([*LONG, "".join(random.choices(SCRAPS, k=12))])
                attributes[random.choice(["db.query.text", "db.statement"])] = said
            one = span(
                number,
                trace=trace % 50,
                parent=parent,
                at_ns=NOW_NS + random.randrange(50),
                took_ns=random.randrange(-5, 100),
                name=random.choice(OPERATIONS),
                kind=random.choice(list(SpanKind)),
                attributes=attributes,
                status=random.choice(list(Status)),
            )
            by_service.setdefault(random.choice(SERVICES), []).append(one)
        for name, spans in by_service.items():
            yield Batch(_resource(random, name), spans=tuple(spans))


def _busy(random):
    """Days of requests to few operations, the same statement again and again, one odd hour."""
    for hour in range(5 * 24):
        spans = [
            span(
                number,
                trace=1000 + hour,
                parent=random.choice([0, 1]) if number > 1 else 0,
                at_ns=NOW_NS // HOUR * HOUR + hour * HOUR + random.randrange(HOUR),
                took_ns=random.choice([7, 7, random.randrange(10 ** random.randrange(1, 9))]),
                name="query" if number > 1 else "GET",
                kind=SpanKind.SERVER if number % 3 else SpanKind.CLIENT,
                attributes={"db.query.text": f"select {number} from t where a = '{number}'"},
                status=Status.ERROR if hour == 77 else Status.OK,
            )
            for number in range(1, 90 if hour == 70 else 15 + random.randrange(4))
        ]
        yield Batch(_resource(random, SERVICES[hour % 3]), spans=tuple(spans))


def _readings(random):
    """Requests by tenant, and pools; cumulative and not, whole numbers and floats."""
    for at in range(1, 80):
        cumulative = at % 2 == 0
        more = {"at_ns": NOW_NS + at * S, "cumulative": cumulative}
        more["started_ns"] = NOW_NS + (at // 20 * 20 if cumulative else at - 1) * S
        found = (*_requests(random, at, more), *_pools(random, at, more))
        yield Batch(_resource(random, random.choice(SERVICES)), found)


def _requests(random, at, more):
    tenant = random.choice(["acme", "d'b\\", "店", "{"])
    named = random.choice(["tenant", "project_id"])
    more = more | {"where": {named: tenant, "http.route": random.choice(['/a"', "/b"])}}
    value = random.choice(NUMBERS)
    timer = Distribution(at % 20 * random.randrange(1, 5), abs(value), None, None)
    unit, name = random.choice(["ns", "s", "By"]), "http.server.request"
    yield counted(timer, name=name, kind=Kind.DISTRIBUTION, unit=unit, **more)
    yield counted(value, name=f"{name}.errors", **more)


def _pools(random, at, more):
    threads = {"pool": random.choice(["p", 'x"; --\0'])}
    for used, name in enumerate(("used", "free", "waiting"), 2):
        value, name = random.choice([used, 2.5, *NUMBERS]), f"thread_pool.{name}"
        yield counted(value, name=name, kind=Kind.GAUGE, at_ns=more["at_ns"], where=threads)
    held = Distribution(at % 20 + 1, 10**9 * at, 0, 10**9)
    more = more | {"kind": Kind.DISTRIBUTION, "unit": "ns"}
    yield counted(held, name="thread_pool.run", where=threads, **more)
    family = "db.client.connection"
    where = {f"{family}.pool.name": "d'b", f"{family}.state": random.choice(["used", "idle"])}
    name = f"{family}.{random.choice(['timeouts', 'count', 'pending_requests'])}"
    value = random.randrange(5)
    yield counted(value, name=name, kind=Kind.GAUGE, at_ns=more["at_ns"], where=where)


class Files:
    """A source of Parquet files, two of each table."""

    def __init__(self, folder: Path, batches=(), runs=()):
        self.skipped = {}
        self.place = Place.of(folder)
        self.files = {}
        for name in TABLES:
            rows = table(name, batches, runs)
            (folder / name).mkdir(parents=True)
            half = rows.num_rows // 2
            pieces = [rows.slice(0, half), rows.slice(half)] if half else [rows]
            for number, piece in enumerate(pieces if rows.num_rows else []):
                file = folder / name / f"{number}.parquet"
                pq.write_table(piece, file)
                told = DataFile(file.name, file.stat().st_size, 0, date(2026, 11, 18), {}, {})
                self.files.setdefault(name, []).append(told)

    def lots(self, table):
        return [Lot(self.place.inside(table), self.files.get(table, []))]
