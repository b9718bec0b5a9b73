"""How questions grow with the tables: ``python -m bench.growth`` asks at one, then at ten days.

A day's ten million readings and ten million spans are made as a collector makes them (which
takes a while, and is kept in `--folder`); then the day is put in nine times more, each a day
earlier, its files with other times and trace ids but in the same order. A collector is asked by
REST for traces and for the statistics of a timer, none of them asked before.
"""

from __future__ import annotations

import argparse
import json
import random
from datetime import timedelta
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.collector import Collector
from bench.seeded import S, Seeded, seeded
from nilometer.store.places import Place
from nilometer.store.stored import StoredTable
from nilometer.store.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from deltalake.transaction import AddAction

    from nilometer.store.stored import DataFile

FOLDER = Path(__file__).parent.parent / ".cache" / "growth"
DAY_NS = 86_400 * S
DAYS = 10
TRACES = 60  # asked for, of all days
TIMES = 10
SERVICES = 10
TRACE_MS_MAX, STATISTICS_MS_MAX = 50, 100
TIMER = "http.server.request"
GROWN = "grown.json"


class Asked(NamedTuple):
    """A question, how long each of its answers took, and how long the median may."""

    name: str
    ms: list[float]
    ms_max: float | None = None


# --- nine days more ---------------------------------------------------------------------------


def grow(made: Seeded, days: int) -> None:
    """Put the store's day in again for each of the days before it."""
    told = _told(made)
    place = Place.of(made.store)
    tables = {
        name: StoredTable(place.inside(name), TABLES[name], durable=False)
        for name in ("spans", "readings", "rollups")
    }
    newest = {
        name: [file for file in table.files() if _is_of_first_day(file, made)]
        for name, table in tables.items()
    }
    for day in track(range(has_grown(made), days), "days more"):
        _put(tables, newest, day)
        told.write_text(json.dumps({"days": day + 1}))


def has_grown(made: Seeded) -> int:
    """How many days are in the store by now."""
    told = _told(made)
    return int(json.loads(told.read_text())["days"]) if told.exists() else 1


def _told(made: Seeded) -> Path:
    return Path(made.store).parent / GROWN


def _is_of_first_day(file: DataFile, made: Seeded) -> bool:
    ended_ns = file.greatest.get("ended_ns") or file.greatest.get("started_ns")
    return ended_ns is None or ended_ns > made.ended_ns - DAY_NS


def _put(tables: dict[str, StoredTable], newest: dict[str, list[DataFile]], day: int) -> None:
    renamed: dict[str, str] = {}
    for name in ("spans", "readings", "rollups"):  # a roll-up tells which file it is of
        written: list[AddAction] = []
        for file in newest[name]:
            rows = _earlier(_rows(tables[name], file), day, renamed)
            pieces = (piece for piece in rows.to_batches(tables[name].table.row_group))
            date = file.date - timedelta(days=day)
            tables[name].write(date, pieces, written, data_change=True)
            renamed[file.path] = written[-1].path
        tables[name].commit(written)


def _rows(table: StoredTable, file: DataFile) -> pa.Table:
    path = table.place.path
    assert path is not None
    return pq.ParquetFile(path / file.path).read()


def _earlier(rows: pa.Table, day: int, renamed: dict[str, str]) -> pa.Table:
    """The rows that many days before, with ids of their own: their last digit is another."""
    made: dict[str, Callable[[pa.ChunkedArray], Any]] = {
        "started_ns": lambda column: pc.subtract(column, day * DAY_NS),
        "ended_ns": lambda column: pc.subtract(column, day * DAY_NS),
        "delivery": lambda column: pc.bit_wise_xor(column, day),
        "trace_id": lambda column: pc.utf8_replace_slice(column, 30, 32, f"{day:02x}"),
        "file": lambda column: pa.array([renamed[path] for path in column.to_pylist()]),
    }
    for name, change in made.items():
        if name in rows.column_names:
            at = rows.column_names.index(name)
            rows = rows.set_column(at, rows.schema.field(at), change(rows.column(name)))
    return rows


# --- questions --------------------------------------------------------------------------------


def questions(made: Seeded, collector: Collector, days: int) -> Iterator[Asked]:
    """Each question, some times, every time about something else."""

    def timed(path: str, **more: object) -> float:
        started = perf_counter()
        collector.ask(f"{path}?{urlencode(more)}" if more else path)
        return (perf_counter() - started) * 1e3

    def during(day: int, **more: object) -> dict[str, object]:
        until = made.ended_ns - day * DAY_NS
        return {"since": until - DAY_NS, "until": until, **more}

    ids = list(some_traces(made, days))
    timed(f"traces/{ids.pop()}")
    yield Asked("a trace by its id", [timed(f"traces/{each}") for each in ids], TRACE_MS_MAX)
    path = f"metrics/{TIMER}/statistics"
    asked = [(day, f"service{n}") for n in range(SERVICES) for day in range(days)][:TIMES]
    timed(path, **during(0))
    yield Asked(
        "a day of a timer, of one service",
        [timed(path, **during(day, where=f"service={service}")) for day, service in asked],
        STATISTICS_MS_MAX,
    )
    yield Asked(
        "a day of a timer, of all services",
        [timed(path, **during(n % days)) for n in range(TIMES)],
        STATISTICS_MS_MAX,
    )
    yield Asked(
        "the same with quantiles",
        [timed(path, **during(n % days, quantile=0.99)) for n in range(TIMES)],
    )
    every = {"since": made.ended_ns - days * DAY_NS, "until": made.ended_ns}
    yield Asked("all days of the timer", [timed(path, **every) for _ in range(TIMES)])


def some_traces(made: Seeded, days: int) -> Iterator[str]:
    """Ids from files of every day, anywhere in them."""
    chance = random.Random(7)
    table = StoredTable(Place.of(made.store).inside("spans"), TABLES["spans"], durable=False)
    files = table.files()
    for number in range(TRACES + 1):
        day = made.ended_ns - number % days * DAY_NS
        of_day = [f for f in files if day - DAY_NS < (f.least.get("started_ns") or 0) <= day]
        file = chance.choice(of_day or files)
        opened = pq.ParquetFile(Path(made.store) / "spans" / file.path)
        group = chance.randrange(opened.num_row_groups)
        yield str(chance.choice(opened.read_row_group(group, ["trace_id"])[0].to_pylist()))


# --- what is told -----------------------------------------------------------------------------


def measure(made: Seeded, days: int) -> list[Asked]:
    """All questions of a collector that was just started."""
    collector = Collector(Path(made.store), alone=False)
    try:
        return list(questions(made, collector, days))
    finally:
        collector.stop()


def shown(found: dict[str, list[Asked]]) -> Table:
    """Medians and greatest beside what is wanted, for each size."""
    table = Table(title="questions by REST, in ms", title_justify="left")
    for head in ("tables", "question", "median", "max", "wanted", ""):
        table.add_column(head, justify="right" if head in {"median", "max"} else "left")
    for size, answers in found.items():
        for each in answers:
            typical = median(each.ms)
            verdict = "" if each.ms_max is None else "missed"
            if each.ms_max is not None and typical <= each.ms_max:
                verdict = "met"
            wanted = "" if each.ms_max is None else f"{each.ms_max:g}"
            figures = (f"{typical:,.1f}", f"{max(each.ms):,.1f}", wanted, verdict)
            table.add_row(size, each.name, *figures)
    return table


def main() -> None:
    """Make what is missing, ask, and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--rows", type=int, default=10_000_000, help="of each table, in a day")
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    made = seeded(given.folder, given.rows, given.rows)
    found = {}
    for days in sorted({max(1, has_grown(made)), given.days}):
        grow(made, days)
        found[f"{days * given.rows:,}"] = measure(made, days)
    Console().print(shown(found))
    if given.json:
        told = {size: [each._asdict() for each in asked] for size, asked in found.items()}
        given.json.write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
