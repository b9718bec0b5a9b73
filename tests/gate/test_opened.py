"""A server that opens its tables anew moves more than the run asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nilometer.gate.course import course_of
from nilometer.gate.rank import see
from nilometer.gate.verdict import Outcome, judge
from nilometer.model.run import Accepted
from tests.gate.histories import SECOND, run, runs

if TYPE_CHECKING:
    from nilometer.model.run import Run

USUAL = {
    "Com_select": 120,
    "Handler_read_key": 26,
    "Opened_table_definitions": 2,
    "Opened_tables": 2,
    "Table_locks_immediate": 40,
    "Table_open_cache_hits": 60,
}
# What a MariaDB 10.11 moved further in the same run, after it was started anew.
ANEW = {
    "Handler_read_key": 98,
    "Opened_table_definitions": 17,
    "Open_table_definitions": 15,
    "Opened_tables": 17,
    "Table_locks_immediate": 76,
    "Table_open_cache_hits": 81,
}
# The same of a run before which all tables had been opened, by a look at what they hold ...
WARM = {
    "Com_select": 13,
    "Handler_read_key": 31,
    "Opened_table_definitions": 4,
    "Opened_tables": 2,
    "Queries": 60,
    "Table_locks_immediate": 12,
    "Table_open_cache_hits": 63,
    "Table_open_cache_misses": 2,
}
LOOKED_AT = {"Handler_read_key": 103, "Table_locks_immediate": 48, "Table_open_cache_hits": 99}
# ... or by a dump, which leaves each open once: joins of one with itself open it once more.
DUMPED = {"Opened_tables": 8, "Table_open_cache_misses": 8, "Table_open_cache_hits": 57}


def test_the_run_after_a_start_or_a_flush_alarms_nobody_and_says_what_is_not_known() -> None:
    said = judge(run(30, USUAL | ANEW), runs(30, USUAL))

    assert (said.outcome, said.findings) == (Outcome.UNKNOWN, ())
    assert "mysql:Handler_read_key" in said.because
    assert "opened tables anew" in said.because


def test_the_run_after_that_one_is_judged_as_ever() -> None:
    history = [*runs(30, USUAL), run(30, USUAL | ANEW)]

    same = judge(run(31, USUAL), history)
    more = judge(run(31, USUAL | {"Handler_read_key": 40}), history)

    assert (same.outcome, same.findings) == (Outcome.PASS, ())
    assert [one.key.counter for one in more.findings] == ["Handler_read_key"]


def test_two_such_runs_in_a_row_alarm_nobody_either() -> None:
    """The runs of a night after the backups of two nights."""
    history = [*runs(30, USUAL), run(30, USUAL | ANEW)]

    said = judge(run(31, USUAL | ANEW), history)

    assert (said.outcome, said.findings) == (Outcome.UNKNOWN, ())


def test_where_each_run_has_its_own_server_a_table_more_is_judged() -> None:
    def of(at: int, figures: dict[str, float | None]) -> Run:
        one = run(at, figures)
        read = one.backends[0]._replace(incarnation=f"started {at}")
        return one._replace(backends=(read,))

    cold = USUAL | ANEW
    more = cold | {"Opened_table_definitions": 18, "Open_table_definitions": 16}

    said = judge(of(30, more | {"Handler_read_key": 140}), [of(at, cold) for at in range(30)])

    assert said.outcome is Outcome.WARN
    assert "Handler_read_key" in {one.key.counter for one in said.findings}


def test_a_table_more_is_what_the_run_costs_and_is_judged() -> None:
    """One that is made anew in each run, as by a suite that makes its schema."""
    more = USUAL | {"Opened_table_definitions": 4, "Handler_read_key": 52}

    first = judge(run(30, more), runs(30, USUAL))
    later = judge(run(33, more), [*runs(30, USUAL), *(run(30 + n, more) for n in range(3))])

    for said in (first, later):
        assert said.outcome is Outcome.WARN
        assert {one.key.counter for one in said.findings} >= {
            "Handler_read_key",
            "Opened_table_definitions",
        }


def test_a_restart_is_one_also_where_tables_came_before_it() -> None:
    """A suite that makes its schema, of more tables since some runs: these stay no news."""
    wider = USUAL | {"Opened_table_definitions": 10, "Handler_read_key": 40}
    again = {
        name: wider[name] + more - USUAL.get(name, 0)
        for name, more in ANEW.items()
        if name in wider
    }
    accepted = [Accepted("shop", "r30", 31 * 60 * SECOND, "four tables more")]
    history = [*runs(30, USUAL), *(run(30 + n, wider) for n in range(6))]

    same = judge(run(36, wider), history, accepted)
    cold = judge(run(36, wider | again | {"Open_table_definitions": 15}), history, accepted)

    assert (same.outcome, same.findings) == (Outcome.PASS, ())
    assert (cold.outcome, cold.findings) == (Outcome.UNKNOWN, ())


def test_a_run_after_a_restart_confirms_no_alarm_of_another() -> None:
    wild = run(30, USUAL | {"Handler_read_key": 66})

    said = judge(wild, runs(30, USUAL), later=[run(31, USUAL | ANEW)], may_fail=True)

    assert said.outcome is Outcome.WARN
    assert said.confirmed == ""


def test_a_course_says_why_such_a_run_has_no_point() -> None:
    history = [*runs(30, USUAL), run(30, USUAL | ANEW), run(31, USUAL)]

    seen = see(history, ())
    assert seen is not None
    found = course_of(seen, "mysql:Handler_read_key", ())

    assert found is not None
    assert "opened tables anew" in found.points[30].because
    assert found.points[31].value == 26


def test_what_statements_asked_for_is_judged_all_the_same() -> None:
    said = judge(run(30, USUAL | ANEW | {"Com_select": 170}), runs(30, USUAL))

    assert said.outcome is Outcome.WARN
    assert [one.key.counter for one in said.findings] == ["Com_select"]


def test_where_one_run_in_six_follows_a_restart_each_says_what_is_not_known() -> None:
    history = [run(at, USUAL | (ANEW if at % 6 == 5 else {})) for at in range(35)]

    said = judge(run(35, USUAL | ANEW), history)

    assert (said.outcome, said.findings) == (Outcome.UNKNOWN, ())
    assert "opened tables anew" in said.because


def test_where_each_run_has_a_server_of_its_own_that_is_what_it_costs() -> None:
    more = judge(run(30, USUAL | ANEW | {"Handler_read_key": 120}), runs(30, USUAL | ANEW))

    assert [one.key.counter for one in more.findings] == ["Handler_read_key"]


def test_where_servers_are_often_new_nobody_is_alarmed_by_one() -> None:
    history = [run(at, USUAL | (ANEW if at % 3 == 0 else {})) for at in range(30)]

    assert judge(run(30, USUAL | ANEW), history).findings == ()


def test_a_restart_is_one_also_where_somebody_looked_at_all_tables_since() -> None:
    history = runs(30, WARM)

    said = judge(run(30, WARM | LOOKED_AT), history)
    after = judge(run(31, WARM), [*history, run(30, WARM | LOOKED_AT)])

    assert (said.outcome, said.findings) == (Outcome.UNKNOWN, ())
    assert "mysql:Handler_read_key" in said.because
    assert "opened tables anew" in said.because
    assert (after.outcome, after.findings) == (Outcome.PASS, ())


def test_that_is_so_of_a_suite_that_makes_no_table() -> None:
    """No run ever opened a definition."""
    made_none = WARM | {"Opened_table_definitions": 0, "Opened_tables": 0}

    said = judge(run(30, made_none | LOOKED_AT), runs(30, made_none))

    assert (said.outcome, said.findings) == (Outcome.UNKNOWN, ())


def test_tables_that_are_opened_once_more_for_a_join_leave_all_else_judged() -> None:
    same = judge(run(30, WARM | DUMPED), runs(30, WARM))
    more = judge(run(30, WARM | DUMPED | {"Handler_read_key": 45}), runs(30, WARM))

    assert (same.outcome, same.findings) == (Outcome.UNKNOWN, ())
    assert same.because.startswith("mysql:Opened_tables, mysql:Table_open_cache_hits")
    assert [one.key.counter for one in more.findings] == ["Handler_read_key"]


@pytest.mark.parametrize(
    "more",
    [
        {"Queries": 61, "Handler_read_key": 103, "Table_locks_immediate": 48},
        {"Opened_table_definitions": 5, "Handler_read_key": 103, "Table_locks_immediate": 48},
        {"Handler_read_key": 103},
        {"Handler_read_key": 103, "Table_locks_immediate": 13},
    ],
    ids=["more was asked", "tables were made", "nothing was locked", "a lock more"],
)
def test_keys_that_are_read_for_another_reason_are_judged(more) -> None:
    said = judge(run(30, WARM | more), runs(30, WARM))

    assert said.outcome is Outcome.WARN
    assert "Handler_read_key" in {one.key.counter for one in said.findings}


def test_where_nobody_knows_what_was_asked_keys_are_judged() -> None:
    untold = {name: value for name, value in WARM.items() if name != "Queries"}

    said = judge(run(30, untold | LOOKED_AT), runs(30, untold))

    assert "Handler_read_key" in {one.key.counter for one in said.findings}


def test_what_is_read_so_in_five_runs_in_a_row_is_what_the_run_costs() -> None:
    history = [*runs(30, WARM), *(run(30 + n, WARM | LOOKED_AT) for n in range(4))]

    fourth = judge(history[-1], history[:-1])
    fifth = judge(run(34, WARM | LOOKED_AT), history)

    assert (fourth.outcome, fourth.findings) == (Outcome.UNKNOWN, ())
    assert "Handler_read_key" in {one.key.counter for one in fifth.findings}


def test_a_restart_is_one_also_where_more_was_asked_since_some_runs() -> None:
    """What somebody looked at meanwhile, after a change that was accepted."""
    wider = WARM | {"Queries": 80, "Handler_read_key": 51, "Opened_table_definitions": 6}
    looked_at = {"Handler_read_key": 123, "Table_locks_immediate": 48}
    accepted = [Accepted("shop", "r30", 31 * 60 * SECOND, "more is asked")]
    history = [*runs(30, WARM), *(run(30 + n, wider) for n in range(6))]

    said = judge(run(36, wider | looked_at), history, accepted)

    assert (said.outcome, said.findings) == (Outcome.UNKNOWN, ())


def test_tables_opened_as_often_as_runs_vary_say_nothing_is_not_known() -> None:
    """By as many connections at once as there happened to be."""
    history = [run(at, WARM | {"Opened_tables": 20 + (at % 8 == 3)}) for at in range(30)]

    said = judge(run(30, WARM | {"Opened_tables": 21}), history)

    assert (said.outcome, said.because.count("anew")) == (Outcome.PASS, 0)


def test_tables_that_are_often_opened_once_more_hide_no_restart() -> None:
    history = [run(at, WARM | (DUMPED if at % 3 == 0 else {})) for at in range(30)]

    said = judge(run(30, WARM | LOOKED_AT), history)

    assert (said.outcome, said.findings) == (Outcome.UNKNOWN, ())


def test_a_restart_is_one_also_in_a_run_that_made_a_table_more_than_most_do() -> None:
    """Of that one nothing stays open."""
    cold = {"Opened_table_definitions": 18, "Open_table_definitions": 15}

    said = judge(run(30, USUAL | ANEW | cold), runs(30, USUAL))

    assert (said.outcome, said.findings) == (Outcome.UNKNOWN, ())


@pytest.mark.parametrize("since", [5, 9, 40])
def test_a_restart_is_one_also_where_runs_had_become_cheaper(since) -> None:
    """A suite that makes fewer tables than it did: it is measured by what it does now."""
    fewer = WARM | {"Opened_table_definitions": 2, "Handler_read_key": 20}
    wide = WARM | {"Opened_table_definitions": 12, "Handler_read_key": 66, "Opened_tables": 12}
    history = [*runs(30, wide), *(run(30 + n, fewer) for n in range(since))]
    accepted = [Accepted("shop", "r30", 31 * 60 * SECOND, "fewer tables")]
    anew = {"Opened_table_definitions": 9, "Open_table_definitions": 7, "Handler_read_key": 62}
    looked_at = {"Handler_read_key": 92, "Table_locks_immediate": 48}

    for more in (anew, looked_at):
        said = judge(run(90, fewer | more), history, accepted)
        assert (said.outcome, said.findings) == (Outcome.UNKNOWN, ())
    keys = judge(run(90, fewer | {"Handler_read_key": 40}), history, accepted)
    assert [one.key.counter for one in keys.findings] == ["Handler_read_key"]


def test_one_run_that_did_less_hides_no_rise_of_the_next() -> None:
    history = [*runs(30, WARM), run(30, WARM | {"Opened_table_definitions": 0})]

    said = judge(run(31, WARM | {"Handler_read_key": 60}), history)

    assert [one.key.counter for one in said.findings] == ["Handler_read_key"]


def test_a_restart_is_one_also_where_a_run_reads_many_keys() -> None:
    """Those that it reads of the tables are too few to be seen, but their locks are not."""
    many = WARM | {"Handler_read_key": 20_000}
    looked_at = {"Handler_read_key": 20_072, "Table_locks_immediate": 48}

    said = judge(run(30, many | looked_at), runs(30, many))
    locks = judge(run(30, many | {"Table_locks_immediate": 48}), runs(30, many))

    assert (said.outcome, said.findings) == (Outcome.UNKNOWN, ())
    assert [one.key.counter for one in locks.findings] == ["Table_locks_immediate"]
