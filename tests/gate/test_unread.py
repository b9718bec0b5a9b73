"""What could not be read of a backend is unknown, with its reason, and the rest is judged."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nilometer.gate.duet import duet
from nilometer.gate.verdict import Outcome, judge
from nilometer.store.columns import table_of
from nilometer.store.run_rows import part_of, runs_of
from tests.gate.histories import run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from nilometer.model.run import Run

FIGURES = {"idx_scan": 400.0, "statement.calls": 2000.0, "statement.rows": 900.0}
OTHERS = {"idx_scan": 400.0}
WHY = "statements are not counted: CREATE EXTENSION pg_stat_statements"


def told(number: int, figures: Mapping[str, float | None], *notes: str, **more: Any) -> Run:
    """A run that read these counters, and `idle`, which did not move, and no others."""
    one = run(number, figures, backend="postgresql", **more)
    names = tuple(sorted([*figures, "idle"]))
    read = one.backends[0]._replace(counters=names, notes=notes)
    return one._replace(backends=(read,))


HISTORY = [told(at, FIGURES) for at in range(25)]


def test_what_was_not_read_is_unknown_and_not_less() -> None:
    said = judge(told(25, OTHERS, WHY), HISTORY)

    assert (said.outcome, said.findings, said.improved) == (Outcome.UNKNOWN, (), ())
    assert said.because == (
        f"postgresql:statement.calls, postgresql:statement.rows: it was not read: {WHY}"
    )


def test_what_was_read_and_did_not_move_is_zero() -> None:
    still = told(25, OTHERS)
    names = tuple(sorted(FIGURES))
    read = still.backends[0]._replace(counters=names)

    said = judge(still._replace(backends=(read,)), HISTORY)

    assert said.outcome is Outcome.PASS
    assert {(one.key.counter, one.now) for one in said.improved} == {
        ("statement.calls", 0.0),
        ("statement.rows", 0.0),
    }


def test_other_counters_are_judged_as_if_it_had_been_read() -> None:
    more = {"idx_scan": 440.0}

    without, whole = (
        judge(told(25, given, *notes), HISTORY)
        for given, notes in ((more, (WHY,)), (FIGURES | more, ()))
    )

    assert without.outcome is Outcome.WARN
    assert without.findings == tuple(
        replace(one, standing=without.findings[0].standing) for one in whole.findings
    )
    assert any("statement.calls" in note and WHY in note for note in without.notes)


def test_a_run_that_did_not_read_it_says_nothing_of_later_ones() -> None:
    history = [*HISTORY[:20], told(20, OTHERS, WHY), *HISTORY[21:]]

    said = judge(told(25, FIGURES), history)
    more = judge(told(25, FIGURES | {"statement.calls": 2100.0}), history)

    assert (said.outcome, said.findings) == (Outcome.PASS, ())
    assert [one.key.counter for one in more.findings] == ["statement.calls"]
    assert more.findings[0].standing.is_admitted


def test_what_earlier_runs_lack_is_said_of_counters_that_gate_and_of_no_others() -> None:
    """Of one that mostly drifts there is a figure now and then; nobody misses it."""
    lacking = [told(at, FIGURES | ({"idx_scan": None} if at == 7 else {})) for at in range(25)]
    odd = [told(at, FIGURES | {"odd": 0.0 if at % 3 else None}) for at in range(25)]

    assert [judge(told(25, FIGURES | {"odd": 0.0}), odd).notes] == [()]
    assert judge(told(25, FIGURES), lacking).notes == (
        "run r7 is passed over for what it has no figure of: postgresql:idx_scan",
    )


def test_a_counter_that_went_back_is_unknown_and_not_less() -> None:
    said = judge(told(25, FIGURES | {"statement.rows": -5.0}), HISTORY)
    history = [*HISTORY[:20], told(20, FIGURES | {"statement.rows": -5.0}), *HISTORY[21:]]
    later = judge(told(25, FIGURES), history)

    assert (said.outcome, said.findings, said.improved) == (Outcome.UNKNOWN, (), ())
    assert said.because == (
        "postgresql:statement.rows: -5.0 is less than nothing, and a counter only grows"
    )
    assert (later.outcome, later.improved) == (Outcome.PASS, ())


def test_a_counter_that_moved_by_more_than_was_read_is_unknown_and_no_alarm() -> None:
    last = told(25, FIGURES)
    rows = last.counts[-1]
    counts = (*last.counts[:-1], rows._replace(delta=2**62, raw=901))

    said = judge(last._replace(counts=counts), HISTORY)

    assert (said.outcome, said.findings) == (Outcome.UNKNOWN, ())
    assert said.because == (
        f"postgresql:statement.rows: {2**62} is more than what was read, 901"
    )


def test_a_run_whose_work_is_less_than_nothing_is_unknown() -> None:
    said = judge(told(25, FIGURES, work=-7), HISTORY)

    assert said.outcome is Outcome.UNKNOWN
    assert said.because == "corrupt in the history: its work is -7"


def test_a_note_that_earlier_runs_had_too_is_not_given_as_the_reason() -> None:
    usual = "the statements of other users are counted without their text"
    history = [told(at, FIGURES, usual) for at in range(25)]

    said = judge(told(25, OTHERS, usual, WHY), history)

    assert said.because.endswith(f"it was not read: {WHY}")


def test_by_turns_what_one_run_did_not_read_is_unknown() -> None:
    pairs = [(told(2 * at, FIGURES), told(2 * at + 1, FIGURES)) for at in range(7)]
    pairs[3] = (pairs[3][0], told(7, OTHERS, WHY))

    said = duet(pairs)

    assert (said.outcome, said.improved) == (Outcome.UNKNOWN, ())
    assert "statement.calls" in said.because
    assert "it was not read" in said.because


def test_a_history_from_before_it_was_recorded_is_read_as_ever() -> None:
    """Its rows of backends have no attributes: what has no figure did not move."""
    old = [run(at, FIGURES, backend="postgresql") for at in range(25)]
    rows = [row for one in old for row in table_of("runs", [part_of(one)], 1).to_pylist()]

    again = runs_of(rows)

    assert [one.backends[0].counters for one in again] == [None] * 25
    assert judge(told(25, FIGURES), again).outcome is Outcome.PASS
    less = judge(run(25, OTHERS, backend="postgresql"), again)
    assert {one.key.counter for one in less.improved} == {"statement.calls", "statement.rows"}
