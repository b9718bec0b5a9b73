"""`make demo-scale`: ten million spans, and every question asked of DuckDB and of Spark.

The store is made once, by a seeded generator, and kept in a folder. A Spark cluster of a master
and two workers is started on the loopback, each question is put to DuckDB in this process and
then to the cluster, and printed are both times and whether both answers are equal, row by row.
Ends with 1 if any two differ, or an engine gives none. What was started ends with it.
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, NamedTuple

from rich.console import Console
from rich.table import Table

from examples.scale.made import made
from examples.servers import spark as servers
from nilometer.analyze.asking import Wanted, ask, asked_of
from nilometer.analyze.local import Local
from nilometer.analyze.questions import QUESTIONS
from nilometer.analyze.sources import Tables
from nilometer.analyze.spark import Spark
from nilometer.cli.exits import INTERRUPTED
from nilometer.cli.processes import end_as_by_ctrl_c
from nilometer.errors import NilometerError
from nilometer.store.places import Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from nilometer.analyze.engine import Engine

SPANS: Final = 10_000_000
WORKERS: Final = 2
EXECUTOR_MEMORY: Final = "2g"
WORKER_MEMORY: Final = "3g"

console = Console()


class Answered(NamedTuple):
    """What an engine said and how long it took; None and the reason where it said nothing."""

    rows: pa.Table | None
    took_s: float
    because: str = ""


def main(words: Sequence[str] | None = None) -> int:
    """Run the demonstration; 0 if all answers are equal."""
    parser = argparse.ArgumentParser("demo-scale", description=__doc__)
    parser.add_argument("--spans", type=int, default=SPANS, help="how many, in tens")
    parser.add_argument("--folder", type=Path, help="where the store is kept")
    parser.add_argument("--only", choices=list(QUESTIONS), action="append", metavar="QUESTION")
    given = parser.parse_args(words)
    folder = given.folder or Path("build") / f"scale-{given.spans}"
    end_as_by_ctrl_c()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        store = made(folder.absolute(), given.spans)
        return compare(store, given.spans, given.only or list(QUESTIONS))
    except KeyboardInterrupt:
        return INTERRUPTED


def compare(store: Path, spans: int, names: Sequence[str]) -> int:
    """Ask each question of both engines, and print what came out."""
    table = Table(title=f"{spans:,} spans")
    for head in ("question", "rows", "DuckDB", "Spark", "answers"):
        table.add_column(head, justify="left" if head in ("question", "answers") else "right")
    missed = []
    with cluster() as url, closing(Spark(url, python=servers.PYTHON)) as there:
        with console.status("a session with the cluster begins"):
            started = _answered(there, QUESTIONS["cost"].name, store)
        console.print(
            f"the session with {url} and a first question took {started.took_s:.1f} s"
        )
        for name in names:
            with closing(Local()) as here:
                pair = _answered(here, name, store), _answered(there, name, store)
            verdict = _verdict(*pair)
            if verdict != "equal":
                missed.append(f"{name}: {verdict}")
            rows = "" if pair[0].rows is None else f"{pair[0].rows.num_rows:,}"
            times = [f"{one.took_s:.1f} s" for one in pair]
            table.add_row(name, rows, *times, verdict)
            console.print(f"{name}: DuckDB {times[0]}, Spark {times[1]}: {verdict}")
    console.print(table)
    for line in missed:
        console.print(line, markup=False)
    return 1 if missed else 0


def _answered(engine: Engine, name: str, store: Path) -> Answered:
    question = QUESTIONS[name]
    asked = asked_of(question, Wanted(), {})
    began = time.monotonic()
    with console.status(f"{name}") as status:
        try:
            rows = ask(
                question,
                [Tables(Place.of(store))],
                engine,
                asked,
                lambda told: status.update(f"{name}: {told}"),
            )
        except NilometerError as error:
            return Answered(None, time.monotonic() - began, str(error))
    return Answered(rows, time.monotonic() - began)


def _verdict(here: Answered, there: Answered) -> str:
    for who, one in (("DuckDB", here), ("Spark", there)):
        if one.rows is None:
            return f"{who} gave none: {one.because}"
    assert here.rows is not None
    assert there.rows is not None
    return "equal" if here.rows.equals(there.rows) else "DIFFER"


@contextmanager
def cluster() -> Iterator[str]:
    """A master and its workers, each a process; its URL."""
    with TemporaryDirectory(prefix="nilometer-scale-") as text, ExitStack() as stack:
        folder = Path(text)
        os.environ.update(servers.settings(folder / "conf", executor=EXECUTOR_MEMORY))
        with console.status("a cluster starts"):
            master = stack.enter_context(servers.Master(folder / "master"))
            workers = [
                servers.Worker(folder / f"worker-{n}", master, memory=WORKER_MEMORY)
                for n in range(WORKERS)
            ]
            for worker in workers:
                stack.callback(worker.stop)
            with ThreadPoolExecutor() as pool:
                list(pool.map(lambda worker: worker.start(), workers))
        yield master.url


if __name__ == "__main__":
    raise SystemExit(main())
