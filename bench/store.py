"""What the tables cost: ``python -m bench.store`` appends, commits and asks, and says how long.

Small commits are measured in turns with bare ones of deltalake, so that a busy machine disturbs
all alike. CPU is of all threads together, DuckDB's too; it may exceed the time that went by.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
from deltalake import write_deltalake
from rich.console import Console
from rich.table import Table

from nilometer.model import Batch, Distribution, Kind, Reading, Resource, SpanKind, SpanRecord
from nilometer.store.lake import Lake
from nilometer.store.query import Reader

if TYPE_CHECKING:
    from collections.abc import Callable

S = 10**9
COMMITS = 60
SPANS_PER_TRACE = 10
ROWS_PER_APPEND = 50_000  # what a group commit takes together at most
MILLION = 1_000_000
TIMER = "http.server.request"
ROUTES = [(("http.request.method", "GET"), ("http.route", f"/r/{n}")) for n in range(20)]
PROCESSES = 50
QUESTIONS = 5


class Took(NamedTuple):
    """Milliseconds that went by, and those of CPU in all our threads."""

    wall_ms: float
    cpu_ms: float


def took(act: Callable[[], object]) -> Took:
    wall, cpu = time.perf_counter(), time.process_time()
    act()
    return Took((time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3)


def typical(many: list[Took]) -> Took:
    return Took(median(each.wall_ms for each in many), median(each.cpu_ms for each in many))


def spans(count: int, now: int) -> tuple[SpanRecord, ...]:
    """Traces of ten spans with three attributes each."""
    made = []
    for number in range(count):
        if number % SPANS_PER_TRACE == 0:
            trace = os.urandom(16)
        told = {"http.request.method": "GET", "http.route": f"/r/{number % 7}", "size": number}
        at = now + number
        ids = trace, os.urandom(8), os.urandom(8)
        made.append(SpanRecord(*ids, f"op {number % 20}", SpanKind.SERVER, at, at + S, told))
    return tuple(made)


def readings(number: int, now: int, values: list[Distribution]) -> list[Batch]:
    """Every ten seconds one reading of each route from each process."""
    count = ROWS_PER_APPEND // PROCESSES // len(ROUTES)
    ends = [now - n * 10 * S for n in range(number * count, (number + 1) * count)]
    return [
        Batch(
            Resource("bench", "here", process),
            tuple(
                Reading(
                    TIMER, Kind.DISTRIBUTION, d, random.choice(values), at - 10 * S, at, "ns"
                )
                for at in ends
                for d in ROUTES
            ),
        )
        for process in range(PROCESSES)
    ]


def small_commits(place: Path) -> dict[str, Took]:
    """Commits of 100 spans, and of a row to each of three tables, next to bare ones."""
    lakes = {each: Lake(place / each, durability=each) for each in ("disk", "os")}
    row = pa.table({"a": range(100)})
    found: dict[str, list[Took]] = {}
    for _ in range(COMMITS):
        now = time.time_ns()
        some = Batch(Resource("bench"), (), spans(100, now))
        acts = {"deltalake alone": lambda: write_deltalake(place / "bare", row, mode="append")}
        for each, lake in lakes.items():
            acts[f"spans, {each}"] = partial(lake.append, [some])
        for name, act in acts.items():
            found.setdefault(name, []).append(took(act))
    return {f"commit 100 rows: {name}": typical(many) for name, many in found.items()}


def fill(lake: Lake, make: Callable[[int], list[Batch]]) -> Took:
    """Append a million rows, as many at a time as a group commit takes."""
    prepared = (make(number) for number in range(MILLION // ROWS_PER_APPEND))
    appends = [took(partial(lake.append, batches)) for batches in prepared]
    return Took(*map(sum, zip(*appends, strict=True)))


def answers(reader: Reader) -> dict[str, Took]:
    """Questions that have been asked before, as a page asks them again and again."""
    trace = reader.find_traces(limit=1)[0].id
    ask = partial(reader.statistics, TIMER)
    shares = partial(ask, quantiles=(0.5, 0.95, 0.99))
    questions = {
        "a trace among 1M spans": lambda: reader.trace(trace),
        "statistics of 1M readings": ask,
        "the same with quantiles": shares,
        "by minute and route": partial(shares, period_ns=60 * S, group_by=["http.route"]),
    }
    for question in questions.values():
        question()
    return {n: typical([took(q) for _ in range(QUESTIONS)]) for n, q in questions.items()}


def main() -> None:
    now = time.time_ns()
    drawn = [[int(random.lognormvariate(14, 0.11)) for _ in range(200)] for _ in range(300)]
    values = [Distribution.of(each) for each in drawn]
    with tempfile.TemporaryDirectory() as folder:
        shown = small_commits(Path(folder))
        lake, reader = Lake(Path(folder) / "store"), Reader(Path(folder) / "store")
        service = Resource("bench", "here", 1)
        shown["append 1M spans"] = fill(
            lake, lambda n: [Batch(service, (), spans(ROWS_PER_APPEND, now - n * S))]
        )
        shown["append 1M readings"] = fill(lake, lambda n: readings(n, now, values))
        shown["maintain"] = took(lake.maintain)
        shown |= answers(reader)
    table = Table("what", "ms", "ms of CPU")
    for name, found in shown.items():
        table.add_row(name, f"{found.wall_ms:,.1f}", f"{found.cpu_ms:,.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
