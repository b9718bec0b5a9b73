"""What a server does by itself is not put down to a run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from bench.gate.series import DATA
from nilometer.counters.mysql_facts import EXACT as MYSQL_EXACT
from nilometer.counters.postgresql import by_verb
from nilometer.counters.postgresql_facts import EXACT, TABLE, fact_of
from nilometer.gate.bystanders import BYSTANDERS, OWN_WORK
from nilometer.gate.duet import duet
from nilometer.gate.rank import learn
from nilometer.gate.stability import Stability
from nilometer.gate.verdict import Outcome, judge
from tests.gate.histories import run, runs

if TYPE_CHECKING:
    from nilometer.model.run import Run

FIGURES = {
    "blks_hit": 4200,
    "blks_read": 4,
    "idx_scan": 920,
    "idx_tup_fetch": 920,
    "n_tup_ins": 400,
    "statement.calls": 2120,
    "tup_fetched": 1215,
    "tup_inserted": 400,
    "tup_returned": 1585,
    "xact_commit": 406,
}
# What one look of an autovacuum worker at the database added to a run of two seconds.
LOOK = {"tup_returned": 1057, "tup_fetched": 120, "blks_hit": 310, "blks_read": 6}
LEARN = 20


def recorded(series: str, kind: str, start: int = 0) -> list[Run]:
    """PostgreSQL 15 on a fixed workload, with and without its `pg_stat_statements`."""
    file = DATA / "counters" / "postgresql" / "fixed_workload.json"
    moved: dict[str, list[float | None]] = json.loads(file.read_text())[series][kind]
    number = len(moved["idx_scan"])
    found = []
    for at in range(number):
        one = run(start + at, {n: v[at] for n, v in moved.items()}, backend="postgresql")
        counts = tuple(c._replace(kind=fact_of(c.counter).kind) for c in one.counts)
        found.append(one._replace(counts=counts))
    return found


def learned(series: str) -> tuple[list[Run], list[Run]]:
    """The history, as nobody accepts an alarm, and the runs that alarmed."""
    base = recorded(series, "base")
    history, alarmed = base[:LEARN], []
    for one in base[LEARN:]:
        verdict = judge(one, history)
        (alarmed if verdict.outcome is Outcome.WARN else history).append(one)
    return history, alarmed


@pytest.mark.parametrize(
    ("series", "false"),
    [("statements", []), ("statements by verb", []), ("no statements", ["r30"])],
)
def test_of_80_unchanged_runs_of_postgresql_at_most_one_alarms(series, false) -> None:
    _, alarmed = learned(series)

    assert [one.id for one in alarmed] == false


@pytest.mark.parametrize("series", ["statements", "statements by verb", "no statements"])
@pytest.mark.parametrize("kind", ["n1", "wide"])
def test_more_selects_and_wider_rows_are_caught_without_the_server_s_own(series, kind) -> None:
    history, _ = learned(series)

    said = [judge(one, history) for one in recorded(series, kind, start=200)]

    assert {one.outcome for one in said} == {Outcome.WARN}


@pytest.mark.parametrize("backend", ["postgresql", "postgresql@db1:5432"])
def test_autovacuum_looking_in_is_no_change_of_the_run(backend: str) -> None:
    history = runs(30, FIGURES, backend=backend)
    looked_in = {name: value + LOOK.get(name, 0) for name, value in FIGURES.items()}

    said = judge(run(30, looked_in, backend=backend), history)
    more = judge(run(30, looked_in | {"idx_scan": 960}, backend=backend), history)

    assert (said.outcome, said.findings) == (Outcome.PASS, ())
    assert [one.key.counter for one in more.findings] == ["idx_scan"]


@pytest.mark.parametrize(
    ("counter", "usual", "once"), [("statement.wal_fpi", 935, 953), ("wal_buffers_full", 6, 28)]
)
def test_pages_that_the_server_logs_and_buffers_that_it_fills_alarm_nobody(
    counter: str, usual: int, once: int
) -> None:
    """Of a suite that makes its database in each run, from a template that was tidied since."""
    history = runs(25, FIGURES | {counter: usual}, backend="postgresql")

    said = judge(run(25, FIGURES | {counter: once}, backend="postgresql"), history)

    assert (said.outcome, said.findings) == (Outcome.PASS, ())


@pytest.mark.parametrize(
    ("counter", "instead"),
    [
        ("xact_commit", "statement.calls"),
        ("tup_inserted", "n_tup_ins"),
    ],
)
def test_where_nothing_else_tells_it_a_figure_takes_part(counter: str, instead: str) -> None:
    history = runs(30, FIGURES, backend="postgresql")
    moved = FIGURES | {counter: 500}

    without = runs(30, {n: v for n, v in FIGURES.items() if n != instead}, backend="postgresql")
    moved_without = {name: value for name, value in moved.items() if name != instead}

    known = judge(run(30, moved, backend="postgresql"), history)
    unknown = judge(run(30, moved_without, backend="postgresql"), without)

    assert known.findings == ()
    assert [one.key.counter for one in unknown.findings] == [counter]


def test_a_figure_takes_part_where_what_tells_it_is_unknown_in_most_runs() -> None:
    """As of a test-suite that makes its tables anew in nearly each run."""
    unknown = FIGURES | {"n_tup_ins": None}
    history = [
        run(at, FIGURES if at in {0, 22} else unknown, backend="postgresql") for at in range(25)
    ]

    same = judge(run(25, unknown, backend="postgresql"), history)
    more = judge(run(25, unknown | {"tup_inserted": 500}, backend="postgresql"), history)

    assert (same.outcome, same.findings) == (Outcome.PASS, ())
    assert [one.key.counter for one in more.findings] == ["tup_inserted"]


def test_what_innodb_does_by_itself_hides_no_select_and_is_put_down_to_no_run() -> None:
    """Figures of a MariaDB 10.11 that was started anew for each run, as pipelines do."""
    selects = {"Com_select": 30, "Bytes_received": 2199, "Handler_commit": 60}
    still = {"Innodb_buffer_pool_write_requests": 270, "Innodb_lsn_current": 10600}
    purged = {"Innodb_buffer_pool_write_requests": 405, "Innodb_lsn_current": 13079}
    history = [run(at, selects | (purged if at in (0, 5) else still)) for at in range(6)]

    more = judge(run(6, selects | still | {"Com_select": 40}), history)
    same = judge(run(6, selects | still | {"Innodb_lsn_current": 13189}), history[1:5] * 2)

    assert [one.key.counter for one in more.findings] == ["Com_select"]
    assert more.rate == 1 / 7
    assert (same.findings, same.improved) == ((), ())


def test_transactions_of_innodb_s_own_alarm_nobody() -> None:
    """Figures of runs of a second, and of one of eleven: by then tables had statistics."""
    usual = {"Com_insert": 160, "Innodb_max_trx_id": 160}

    slower = judge(run(30, usual | {"Innodb_max_trx_id": 320}), runs(30, usual))

    assert (slower.outcome, slower.findings) == (Outcome.PASS, ())


def test_threads_that_a_server_makes_after_a_pause_alarm_nobody() -> None:
    """Figures of a suite with eight connections at once: before, theirs were still there."""
    usual = {"Com_select": 160, "Connections": 9, "Threads_created": 0}

    after_a_pause = judge(run(30, usual | {"Threads_created": 8}), runs(30, usual))
    more = judge(run(30, usual | {"Threads_created": 9, "Connections": 18}), runs(30, usual))

    assert (after_a_pause.outcome, after_a_pause.findings) == (Outcome.PASS, ())
    assert [one.key.counter for one in more.findings] == ["Connections"]


def test_what_one_run_could_not_read_changes_nothing_for_other_counters() -> None:
    history = runs(30, FIGURES, backend="postgresql")
    moved = FIGURES | {"xact_commit": 500, "statement.calls": None}

    said = judge(run(30, moved, backend="postgresql"), history)

    assert said.findings == ()
    assert said.outcome is Outcome.UNKNOWN
    assert said.because.startswith("postgresql:statement.calls: ")


def test_what_is_learned_says_why_it_takes_no_part() -> None:
    found = learn(runs(30, FIGURES, backend="postgresql"))

    assert found is not None
    told = {one.key.counter: one.standing for one in found.predictors}
    assert told["tup_returned"].because == "the server moves it by itself, too"
    assert told["xact_commit"].because == (
        "the server moves it by itself, too; statement.calls tells it of the run alone"
    )
    assert told["blks_hit"].stability is Stability.EXCLUDED
    assert told["idx_scan"].stability is Stability.EXACT


def test_nothing_is_left_out_that_a_fixed_workload_moves_exactly() -> None:
    left_out = BYSTANDERS["postgresql"]

    there_are = {*TABLE, *(total for name in TABLE for total in by_verb(name))}
    assert set(left_out) | {told for told in left_out.values() if told} <= there_are
    assert not set(left_out) & EXACT
    assert not [name for name in EXACT if name.startswith(OWN_WORK["postgresql"])]
    assert not [name for name in MYSQL_EXACT if name.startswith(OWN_WORK["mysql"])]


def test_what_the_command_itself_reads_and_writes_alarms_nobody() -> None:
    """A cache that lies in one tree and not in the other would, of one and the same version."""
    history = runs(30, {"syscr": 1683.0, "wchar": 102.0}, backend="command")
    more = run(31, {"syscr": 1687.0, "wchar": 547.0}, backend="command")

    verdict = judge(more, history)

    assert verdict.findings == ()
    assert verdict.outcome in (Outcome.PASS, Outcome.UNKNOWN)


def test_nor_does_it_where_two_versions_are_measured_by_turns() -> None:
    base = {"syscr": 1683.0}
    pairs = [
        (
            run(2 * n, base, backend="command"),
            run(2 * n + 1, {"syscr": 1687.0}, backend="command"),
        )
        for n in range(7)
    ]

    assert duet(pairs).findings == ()
