"""A store of two weeks of a shop: traces of ten spans each, with readings and measured runs.

The same seed makes the same rows, whatever day it is. Spans are drawn as whole columns, since
one by one they would take hours; they are written as a collector's appends write them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.progress import track

from nilometer.model import Batch, Distribution, Kind, Reading, Resource
from nilometer.model.run import BackendRead, Count, Run
from nilometer.store.columns import Part, parts, table_of
from nilometer.store.places import Place
from nilometer.store.run_rows import part_of
from nilometer.store.stored import StoredTable
from nilometer.store.tables import TABLES, file_schema

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SEED: Final = 7
US, MS, S = 10**3, 10**6, 10**9
HOUR, DAY = 3600 * S, 24 * 3600 * S
DAYS: Final = 14
BEGIN_NS: Final = 1_793_577_600 * S  # 2026-11-02, a Monday
BAD_HOUR: Final = (BEGIN_NS + 8 * DAY) // HOUR + 14  # in which the bank was slow
EACH: Final = 10  # spans of a trace
TRACES_AT_ONCE: Final = 50_000
SHOPS: Final = 5
LITERALS: Final = 1_000
BY_HOUR: Final = np.array([1] * 6 + [4] * 3 + [8] * 9 + [5] * 4 + [2] * 2)

PARENTS: Final = np.array([-1, 0, 1, 2, 2, 2, 2, 2, 2, 2])
NAMES: Final = ("GET /checkout", "POST shop", "checkout", *("SELECT",) * 5, "pay", "render")
KINDS: Final = ("server", "client", "server", *("client",) * 6, "internal")
OWN_NS: Final = np.array([900, 150, 2_000, *(400,) * 5, 30_000, 5_000]) * US
PAY: Final = 8
QUERIES: Final = range(3, 8)


def made(folder: Path, spans: int) -> Path:
    """The store in that folder, with so many spans; made if it is not there yet."""
    store, told = folder / "store", folder / "made.json"
    if told.exists() and json.loads(told.read_text()) == {"spans": spans, "seed": SEED}:
        return store
    if store.exists():
        raise SystemExit(f"{folder} holds another size; name another --folder, or remove it")
    random = np.random.default_rng(SEED)
    table = _table(store, "spans")
    traces = spans // EACH
    for first in track(range(0, traces, TRACES_AT_ONCE), f"making {spans:,} spans"):
        rows = _traces(random, first, min(TRACES_AT_ONCE, traces - first))
        table.append(rows, pc.divide(rows["started_ns"], DAY))
    _append(store, "readings", [parts(batch)["readings"] for batch in _readings(random)])
    _append(store, "runs", [part_of(run) for run in _runs(random)])
    told.write_text(json.dumps({"spans": spans, "seed": SEED}))
    return store


def _table(store: Path, name: str) -> StoredTable:
    return StoredTable(Place.of(store / name), TABLES[name], durable=False)


def _append(store: Path, name: str, made: Sequence[Part]) -> None:
    rows = table_of(name, made, 1).cast(file_schema(name))
    _table(store, name).append(rows, pc.divide(rows[TABLES[name].time], DAY))


# --- Spans ------------------------------------------------------------------------------------


def _traces(random: np.random.Generator, first: int, count: int) -> pa.Table:
    """So many traces, the first of that number; a column of them is a matrix, a trace a row."""
    hours = random.choice(24, count, p=BY_HOUR / BY_HOUR.sum())
    started = BEGIN_NS + random.integers(0, DAYS, count) * DAY + hours * HOUR
    started += random.integers(0, HOUR, count)
    is_new = started >= BEGIN_NS + DAYS * DAY // 2
    own = (OWN_NS * random.lognormal(0, 0.5, (count, EACH))).astype(np.int64)
    own[:, PAY] += np.where(is_new, own[:, PAY] // 5, 0)  # slower since the new version
    own[:, PAY] *= np.where(started // HOUR == BAD_HOUR, 4, 1)
    below = own[:, 3:].cumsum(axis=1)
    starts = np.empty((count, EACH), np.int64)
    starts[:, 0] = started
    starts[:, 1] = started + own[:, 0] // 2
    starts[:, 2] = starts[:, 1] + own[:, 1] // 2
    starts[:, 3:] = starts[:, 2:3] + own[:, 2:3] // 2 + below - own[:, 3:]
    took = own.copy()
    for number in (2, 1, 0):  # each waits for what is below it
        took[:, number] += below[:, -1] if number == 2 else took[:, number + 1]
    failed = np.zeros((count, EACH), bool)
    failed[:, PAY] = random.random(count) < np.where(is_new, 0.02, 0.01)
    failed[:, :3] |= failed[:, PAY : PAY + 1]
    numbers = np.arange(first, first + count, dtype=np.uint64)
    literals = random.integers(0, LITERALS, (count, EACH))
    return _rows(numbers, starts, took, failed, is_new, literals)


def _rows(
    numbers: np.ndarray,
    starts: np.ndarray,
    took: np.ndarray,
    failed: np.ndarray,
    is_new: np.ndarray,
    literals: np.ndarray,
) -> pa.Table:
    count = len(numbers)
    position = np.tile(np.arange(EACH), count)
    ids = (numbers[:, None] * EACH + np.arange(EACH, dtype=np.uint64) + 1).ravel()
    above = (numbers[:, None] * EACH + PARENTS.clip(0).astype(np.uint64) + 1).ravel()
    shops = np.where(np.arange(EACH) < 2, SHOPS, (numbers % SHOPS)[:, None]).ravel()
    columns = {
        "service": _taken([f"shop-{n}" for n in range(SHOPS)] + ["gateway"], shops),
        "version": _taken(["1.0", "1.1"], np.repeat(is_new, EACH)),
        # A digest spreads ids as random ones are spread.
        "trace_id": _hex(np.repeat(numbers * np.uint64(0x9E3779B97F4A7C15), EACH), 2),
        "span_id": _hex(ids),
        "parent_id": pc.if_else(pa.array(position == 0), "", _hex(above)),
        "name": _taken(NAMES, position),
        "kind": _taken(KINDS, position),
        "status": _taken(["unset", "error"], failed.ravel()),
        "started_ns": pa.array(starts.ravel()),
        "ended_ns": pa.array((starts + took).ravel()),
        "attributes": _attributes(position, literals.ravel()),
        "delivery": pa.array(np.repeat(numbers.astype(np.int64) // 100, EACH)),
        "append": pa.array(np.full(count * EACH, numbers[0], np.int64)),
        "pid": pa.array(np.ones(count * EACH, np.int64)),
    }
    empty = {"resource": "{}", "request_id": None, "events": None, "links": None}
    made = [
        columns[field.name]
        if field.name in columns
        else pa.repeat(pa.scalar(empty.get(field.name, ""), field.type), count * EACH)
        for field in file_schema("spans")
    ]
    return pa.table(made, schema=file_schema("spans"))


def _taken(choice: Sequence[str], which: np.ndarray) -> pa.Array:
    return pa.array(list(choice)).take(pa.array(which.astype(np.int64)))


def _attributes(position: np.ndarray, literals: np.ndarray) -> pa.Array:
    """A statement with a number of its own; who is called; nothing."""
    texts = [
        json.dumps({"db.query.text": f"SELECT price FROM items WHERE id = {n}"})
        for n in range(LITERALS)
    ]
    texts += [json.dumps({"peer.service": "bank"}), "{}"]
    which = np.where(position == PAY, LITERALS, LITERALS + 1)
    return _taken(texts, np.where(np.isin(position, QUERIES), literals, which))


_DIGITS: Final = np.frombuffer("".join(f"{n:02x}" for n in range(256)).encode(), np.uint8)


def _hex(numbers: np.ndarray, times: int = 1) -> pa.Array:
    """Each number in 16 hex digits, so many times over."""
    each = np.tile(numbers.astype(">u8")[:, None], (1, times)).view(np.uint8)
    digits = _DIGITS.reshape(256, 2)[each.reshape(len(numbers), -1)]
    ends = np.arange(len(numbers) + 1, dtype=np.int32) * (16 * times)
    return pa.StringArray.from_buffers(
        len(numbers), pa.py_buffer(ends.tobytes()), pa.py_buffer(digits.tobytes())
    )


# --- Readings and runs ------------------------------------------------------------------------


def _readings(random: np.random.Generator) -> list[Batch]:
    """Requests by tenant and a pool of threads, every ten minutes of two days."""
    batches = []
    for number in range(2 * 24 * 6):
        begin, end = (BEGIN_NS + (number + n) * 600 * S for n in (0, 1))
        for shop in range(SHOPS):
            found = []
            for tenant in ("acme", "globex"):
                values = [int(each) for each in random.lognormal(17, 1, 20)]
                where = (("tenant", tenant),)
                found.append(_timer("http.server.request", values, where, begin, end))
            used = int(random.integers(1, 9))
            where = (("pool", "workers"),)
            for what, value in (("used", used), ("free", 8 - used), ("waiting", used // 8)):
                name = f"thread_pool.{what}"
                found.append(Reading(name, Kind.GAUGE, where, value, begin, end, "1"))
            values = [int(each) for each in random.lognormal(15, 1, 20)]
            found.append(_timer("thread_pool.run", values, where, begin, end))
            resource = Resource(f"shop-{shop}", f"host-{shop}", 7, region="eu", zone="a")
            batches.append(Batch(resource, tuple(found)))
    return batches


def _timer(
    name: str, values: list[int], where: tuple[tuple[str, str], ...], begin: int, end: int
) -> Reading:
    return Reading(name, Kind.DISTRIBUTION, where, Distribution.of(values), begin, end, "ns")


def _runs(random: np.random.Generator) -> list[Run]:
    """A test suite's runs of three revisions, of which the last asks a fifth more."""
    runs = []
    for number in range(60):
        revision = "abc"[number // 20]
        queries = int(random.normal(5_000, 20)) * (6 if revision == "c" else 5) // 5
        begin = BEGIN_NS + number * HOUR
        runs.append(
            Run(
                f"run-{number}",
                "unit",
                begin,
                begin + 60 * S,
                60 * S,
                (Count("mariadb", "Com_select", queries),),
                (BackendRead("mariadb"),),
                work=100,
                revision=revision,
            )
        )
    return runs
