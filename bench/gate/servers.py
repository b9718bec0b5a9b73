"""`make bench-gate`: false alarms and changes seen, on a real MariaDB and PostgreSQL.

Each run is bracketed as `nilometer measure` does it, and judged by those before it as
`nilometer gate check` does it. Runs without a change that alarm are false alarms; of runs with
5 % more selects, and of runs with rows five bytes wider, every one should alarm. What alarms is
not added to the history, as nobody accepts it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psycopg
import pymysql

from bench.gate import workload
from examples.servers.databases import MariaDB, PostgreSQL, folder
from nilometer.clock import Clock
from nilometer.counters.backend import connect
from nilometer.counters.bracket import Bracket
from nilometer.counters.gather import Gatherer
from nilometer.gate.verdict import Outcome, judge
from nilometer.model.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nilometer.gate.verdict import Verdict

LEARN: Final = 20  # from so many runs on the gate warns
IDLE_S: Final = 0.2
CHANGED: Final = ("n1", "wide")


class Server(NamedTuple):
    """A database: how the workload gets in, and where its counters are."""

    name: str
    connect: Callable[[], Any]
    url: str


class Score(NamedTuple):
    """What became of the runs at one server: `seen` by kind of change, with the evidence."""

    name: str
    unchanged: int
    false_alarms: tuple[str, ...]
    seen: dict[str, tuple[int, int]]
    seconds: float


def measured(server: Server, kind: str, number: int) -> Run:
    """One bracketed run of the workload."""
    clock = Clock()
    backend = connect(server.url, origin="bench")
    gatherer = Gatherer([backend], clock)
    bracket = Bracket(gatherer, clock, idle_s=IDLE_S)
    try:
        bracket.open()
        began_ns = clock.wall_ns()
        workload.run(server.connect, kind)
        backends, counts = bracket.close()
    finally:
        gatherer.close()
    return Run(
        f"{server.name}-{number}-{kind}",
        server.name,
        began_ns,
        clock.wall_ns(),
        counts=counts,
        backends=backends,
        test_set="fixed",
        work=workload.ROUNDS,
    )


def score(server: Server, unchanged: int, changed: int) -> Score:
    """Learn, then judge so many runs without a change and so many of each change."""
    began = time.monotonic()
    workload.prepare(server.connect)
    history: list[Run] = []
    false_alarms: list[str] = []
    for number in range(LEARN + unchanged):
        run = measured(server, "base", number)
        verdict = judge(run, history)
        if number < LEARN or not is_alarm(verdict):
            history.append(run)
        else:
            false_alarms.append(verdict.because)
        tell(f"{server.name}: run {number + 1} of {LEARN + unchanged}", verdict)
    seen = {}
    for kind in CHANGED:
        verdicts = [judge(measured(server, kind, n), history) for n in range(changed)]
        for verdict in verdicts:
            tell(f"{server.name}: {kind}", verdict)
        seen[kind] = sum(map(is_alarm, verdicts)), changed
    took_s = time.monotonic() - began
    return Score(server.name, unchanged, tuple(false_alarms), seen, took_s)


def is_alarm(verdict: Verdict) -> bool:
    """Whether somebody would be bothered."""
    return verdict.outcome in (Outcome.WARN, Outcome.FAIL)


def tell(what: str, verdict: Verdict) -> None:
    """A line of progress."""
    sys.stderr.write(f"{what}: {verdict.outcome.value}, {verdict.because[:120]}\n")


def mariadb(server: MariaDB) -> Server:
    """The workload's way into MariaDB."""

    def opened() -> Any:
        return pymysql.connect(
            host="127.0.0.1", port=server.port, user=server.user, database="bench"
        )

    root = pymysql.connect(host="127.0.0.1", port=server.port, user=server.user)
    with root, root.cursor() as cursor:
        cursor.execute("CREATE DATABASE bench")
    return Server("MariaDB", opened, server.url)


def postgresql(server: PostgreSQL) -> Server:
    """The workload's way into PostgreSQL, which counts statements, as docs/counters.md asks."""
    where = server.url
    with psycopg.connect(where) as root:
        root.execute("CREATE EXTENSION pg_stat_statements")
    return Server("PostgreSQL", lambda: psycopg.connect(where), where)


def main(words: Sequence[str] | None = None) -> int:
    """Score both servers and print a table; 1 if they do not reach what is promised."""
    parser = argparse.ArgumentParser("bench-gate", description=__doc__)
    parser.add_argument(
        "--unchanged", type=int, default=100, help="runs without a change (100)"
    )
    parser.add_argument("--changed", type=int, default=10, help="runs of each change (10)")
    parser.add_argument("--json", metavar="FILE", help="keep the figures")
    given = parser.parse_args(words)
    scores = []
    with folder() as place:
        for name in ("mariadb", "postgresql"):
            (place / name).mkdir(mode=0o755)
        with MariaDB(place / "mariadb") as server:
            scores.append(score(mariadb(server), given.unchanged, given.changed))
        with PostgreSQL(place / "postgresql", version=15) as other:
            scores.append(score(postgresql(other), given.unchanged, given.changed))
    print("| server | runs without a change | false alarms | 5 % more selects | wider rows |")
    print("|---|---|---|---|---|")
    for one in scores:
        seen = " | ".join(f"{found} of {runs}" for found, runs in one.seen.values())
        print(f"| {one.name} | {one.unchanged} | {len(one.false_alarms)} | {seen} |")
    if given.json:
        Path(given.json).write_text(json.dumps([one._asdict() for one in scores], indent=1))
    return 0 if all(map(is_as_promised, scores)) else 1


def is_as_promised(one: Score) -> bool:
    """At most one false alarm in a hundred runs, none in fewer, and every change seen."""
    is_quiet = 100 * len(one.false_alarms) <= one.unchanged
    return is_quiet and all(found == runs for found, runs in one.seen.values())


if __name__ == "__main__":
    sys.exit(main())
