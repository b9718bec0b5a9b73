"""A server that opens its tables anew moves more than the run asked for."""

from __future__ import annotations

from nilometer.gate.verdict import Outcome, judge
from tests.gate.histories import run, runs

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
    "Opened_tables": 17,
    "Table_locks_immediate": 76,
    "Table_open_cache_hits": 81,
}


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


def test_what_statements_asked_for_is_judged_all_the_same() -> None:
    said = judge(run(30, USUAL | ANEW | {"Com_select": 170}), runs(30, USUAL))

    assert said.outcome is Outcome.WARN
    assert [one.key.counter for one in said.findings] == ["Com_select"]


def test_where_each_run_has_a_server_of_its_own_that_is_what_it_costs() -> None:
    more = judge(run(30, USUAL | ANEW | {"Handler_read_key": 120}), runs(30, USUAL | ANEW))

    assert [one.key.counter for one in more.findings] == ["Handler_read_key"]


def test_where_servers_are_often_new_nobody_is_alarmed_by_one() -> None:
    history = [run(at, USUAL | (ANEW if at % 3 == 0 else {})) for at in range(30)]

    assert judge(run(30, USUAL | ANEW), history).findings == ()
