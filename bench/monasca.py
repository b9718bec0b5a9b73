"""Monasca's statistics over a day of 1,000 series at 10 s: ``python -m bench.monasca``.

The tables are filled as the collector's upkeep leaves them: files of a million readings, sorted
and rolled up. A real collector is then asked over HTTP, first with nothing in its memory.
"""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode
from urllib.request import urlopen

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from bench.collector import Collector
from nilometer.clock import wall_ns
from nilometer.model import Batch, Distribution, Kind, Reading, Resource
from nilometer.store.columns import parts, table_of
from nilometer.store.lake import Lake
from nilometer.store.places import Place
from nilometer.store.stored import StoredTable
from nilometer.store.tables import READINGS, WHOLE

if TYPE_CHECKING:
    from collections.abc import Iterator

S = 10**9
DAY_S = 86_400
INTERVAL_S = 10
PROCESSES, ROUTES = 50, 20  # 1,000 series
SAMPLES = 20  # of each timer in an interval
VARIANTS = 50  # intervals whose values differ; then they come again
FILE_ROWS = 1_000_000
NAME = "http.server.request"
ROUNDS = 7
TARGET_MS = 200

QUESTIONS = {
    "all series merged, by five minutes": {"merge_metrics": "True"},
    "the same, begun and ended within five minutes": {"merge_metrics": "True", "off_s": "137"},
    "all series merged, by hour": {"merge_metrics": "True", "period": "3600"},
    "each of the processes, by five minutes": {"group_by": "pid"},
    "the same with p99": {"group_by": "pid", "statistics": "avg,max,p99"},
}
TARGETED = "all series merged, by five minutes"


class Filled(NamedTuple):
    """A day of readings: how many, and when it ended."""

    rows: int
    end_ns: int


def interval() -> pa.Table:
    """What all processes send of one interval."""
    batches = [
        Batch(
            Resource("bench", "here", process),
            tuple(
                Reading(NAME, Kind.DISTRIBUTION, (("route", str(n)),), drawn(), 0, 0, "ns")
                for n in range(ROUTES)
            ),
        )
        for process in range(1, PROCESSES + 1)
    ]
    return table_of("readings", [parts(batch)["readings"] for batch in batches], 0)


def drawn() -> Distribution:
    return Distribution.of([int(random.lognormvariate(14, 0.3)) for _ in range(SAMPLES)])


def intervals(end_ns: int, seconds: int) -> Iterator[pa.Table]:
    """Every interval of the time before the end, a delivery of its own from each process."""
    variants = [interval() for _ in range(VARIANTS)]
    for number in range(seconds // INTERVAL_S):
        rows = variants[number % VARIANTS]
        at = end_ns - seconds * S + number * INTERVAL_S * S + 5 * S
        told = {"started_ns": at - INTERVAL_S * S, "ended_ns": at, "append": at}
        for name, value in told.items():
            place = rows.schema.get_field_index(name)
            column = pa.repeat(pa.scalar(value, WHOLE), rows.num_rows)
            rows = rows.set_column(place, name, column)
        place = rows.schema.get_field_index("delivery")
        yield rows.set_column(place, "delivery", pc.bit_wise_xor(rows["delivery"], number))


def fill(folder: Path, seconds: int = DAY_S, *, clock_ns: int | None = None) -> Filled:
    """Fill the tables and roll them up."""
    end_ns = (clock_ns or wall_ns()) // (300 * S) * 300 * S
    lake = Lake(folder, durability="os")
    readings = StoredTable(Place.of(folder, None).inside("readings"), READINGS, durable=False)
    waiting: list[pa.Table] = []
    rows = 0
    for each in intervals(end_ns, seconds):
        waiting.append(each)
        rows += each.num_rows
        if sum(table.num_rows for table in waiting) >= FILE_ROWS:
            append(readings, waiting)
    append(readings, waiting)
    while lake.maintain().written:
        pass
    return Filled(rows, end_ns)


def append(readings: StoredTable, waiting: list[pa.Table]) -> None:
    if waiting:
        rows = pa.concat_tables(waiting)
        waiting.clear()
        readings.append(rows, pc.divide(rows["ended_ns"], pa.scalar(DAY_S * S, WHOLE)))


def asked(
    collector: Collector, filled: Filled, seconds: int, *, off_s: str = "0", **more: str
) -> float:
    """How long the answer took, in milliseconds; `off_s`: begun and ended so much earlier."""
    end_ns = filled.end_ns - int(off_s) * S
    times = {"start_time": end_ns - seconds * S, "end_time": end_ns}
    told = {
        "name": NAME,
        "statistics": "avg,min,max,count,sum",
        **{
            key: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at // S))
            for key, at in times.items()
        },
        **more,
    }
    url = f"http://127.0.0.1:{collector.port}/v2.0/metrics/statistics?{urlencode(told)}"
    started = time.perf_counter()
    with urlopen(url, timeout=60) as answer:
        answer.read()
    return (time.perf_counter() - started) * 1e3


def measure_statistics(console: Console) -> dict[str, Any]:
    """The answers' times by question, as a table and for JSON."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "store"
        with console.status("a day of readings of 1,000 series"):
            filled = fill(folder)
        found: dict[str, dict[str, float]] = {}
        for question, more in QUESTIONS.items():
            collector = Collector(folder, alone=False)
            with console.status(question):
                first = asked(collector, filled, DAY_S, **more)
                others = [asked(collector, filled, DAY_S, **more) for _ in range(ROUNDS)]
            collector.stop()
            found[question] = {"first_ms": first, "ms": median(others)}
    table = Table(
        title=f"Monasca statistics of a day, {filled.rows:,} readings",
        box=None,
        title_justify="left",
        padding=(0, 1),
    )
    for column in ("question", "first, ms", "then, ms"):
        table.add_column(column, justify="left" if column == "question" else "right")
    for question, told in found.items():
        table.add_row(question, f"{told['first_ms']:,.0f}", f"{told['ms']:,.0f}")
    console.print(table)
    verdict = "met" if found[TARGETED]["ms"] < TARGET_MS else "missed"
    console.print(f"target {TARGET_MS} ms for {TARGETED!r}: {verdict}")
    return {"rows": filled.rows, "target_ms": TARGET_MS, "verdict": verdict, "asked": found}


if __name__ == "__main__":
    measure_statistics(Console(highlight=False))
