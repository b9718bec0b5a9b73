"""What two snapshots say about what happened between them, and when they say nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.counters.delta import Delta, delta
from tests.counters.snapshots import snapshot_of

NAMES = st.sampled_from(["a", "b", "c", "level", "calls"])
VALUES = st.dictionaries(NAMES, st.integers(-(2**64), 2**64) | st.floats())


def test_what_moved_is_the_difference_of_the_snapshots() -> None:
    part = ("calls", (("digest", "SELECT ?"),))

    moves = delta(snapshot_of({"a": 5, part: 2}), snapshot_of({"a": 9, part: 7}))

    assert moves == Delta({("a", ()): 4, part: 5}, {})


def test_a_gauge_may_fall_and_a_counter_may_not() -> None:
    moves = delta(snapshot_of({"a": 9, "level": 9}), snapshot_of({"a": 5, "level": 5}))

    assert moves == Delta(
        {("level", ()): -4}, {("a", ()): "it went back from 9 to 5: reset, or wrapped"}
    )


def test_a_counter_shown_from_its_first_move_on_has_moved_by_its_value() -> None:
    new = ("calls", (("digest", "SELECT ?"),))

    moves = delta(snapshot_of({"calls": 1}), snapshot_of({"calls": 8, new: 7, "a": 7}))
    whole = delta(snapshot_of({}, whole=True), snapshot_of({"calls": 7, "a": 7}))

    unknown = {("a", ()): "new: it was not there in the first snapshot"}
    assert moves == Delta({("calls", ()): 7, new: 7}, unknown)
    assert whole == Delta({("calls", ()): 7}, unknown)


def test_what_a_first_read_that_failed_in_part_lacks_is_unknown_and_not_zero() -> None:
    new = ("calls", (("digest", "SELECT ?"),))

    moves = delta(snapshot_of({"a": 1}), snapshot_of({"a": 1, "calls": 5041, new: 5041}))

    assert moves.moved == {("a", ()): 0}
    assert moves.unknown.keys() == {("calls", ()), new}


def test_a_counter_that_vanished_is_named() -> None:
    moves = delta(snapshot_of({"a": 1}), snapshot_of({}))

    assert moves == Delta({}, {("a", ()): "vanished: it was there in the first snapshot only"})


def test_a_counter_that_began_anew_by_itself_is_not_subtracted() -> None:
    lost = {("reply", ()): "1 queue of this scope was deleted"}

    moves = delta(
        snapshot_of({"reply": 3, "a": 1}), snapshot_of({"reply": 9, "a": 2}, incarnations=lost)
    )

    assert moves == Delta(
        {("a", ()): 1},
        {("reply", ()): "not one count throughout: 1 queue of this scope was deleted"},
    )


def test_a_part_that_is_new_counts_from_zero_where_its_siblings_are_still_counted() -> None:
    old, new = (("calls", (("digest", text),)) for text in ("SELECT ?", "INSERT ?"))
    since = {old: "counted since 10:00"}

    went_on = delta(
        snapshot_of({old: 3}, incarnations=since),
        snapshot_of({old: 4, new: 7}, incarnations={**since, new: since[old]}),
    )
    anew = dict.fromkeys((old, new), "counted since 11:00")
    truncated = delta(
        snapshot_of({old: 3}, incarnations=since),
        snapshot_of({old: 4, new: 7}, incarnations=anew),
    )

    assert went_on == Delta({old: 1, new: 7}, {})
    assert truncated == Delta(
        {}, dict.fromkeys((old, new), "not one count throughout: counted since 11:00")
    )


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_not_subtracted(odd: float) -> None:
    moves = delta(snapshot_of({"a": 1}), snapshot_of({"a": odd}))

    assert moves == Delta({}, {("a", ()): f"not a number: 1 before, {odd} after"})


@pytest.mark.parametrize(
    ("differing", "because"),
    [
        (
            {"incarnation": "start-2"},
            "restarted, or its figures were reset, meanwhile: start-1 before, start-2 after",
        ),
        ({"version": "11.4"}, "upgraded meanwhile: 10.11 before, 11.4 after"),
        (
            {"instance": "db2:3306"},
            "another server: mysql at db:3306 before, mysql at db2:3306 after",
        ),
    ],
)
def test_servers_that_are_not_the_same_are_not_compared(
    differing: dict[str, str], because: str
) -> None:
    moves = delta(snapshot_of({"a": 1}), snapshot_of({"a": 9}, **differing))

    assert moves == Delta({}, {}, because)


@given(VALUES, VALUES)
def test_every_counter_either_moved_or_says_why_it_is_not_known(one: dict, two: dict) -> None:
    moves = delta(snapshot_of(one), snapshot_of(two))

    assert moves.moved.keys() | moves.unknown.keys() == {(n, ()) for n in one.keys() | two}
    assert not moves.moved.keys() & moves.unknown.keys()
    assert all(v >= 0 for (name, _), v in moves.moved.items() if name != "level")


@given(VALUES)
def test_two_equal_snapshots_moved_by_nothing(values: dict) -> None:
    moves = delta(snapshot_of(values), snapshot_of(values))

    assert set(moves.moved.values()) <= {0}


def test_a_part_of_another_thing_of_its_name_is_unknown_whatever_it_has_by_now() -> None:
    part, kept = (("calls", (("table", name),)) for name in "ab")
    before, after = (
        snapshot_of({part: 5 * n, kept: n}, ids={("table", "a"): str(n), ("table", "b"): "9"})
        for n in (1, 2)
    )

    moves = delta(before, after)

    assert moves.moved == {kept: 1}
    assert moves.unknown == {part: "table 'a' was made anew meanwhile, under the same name"}


def test_statements_in_a_database_that_was_made_anew_are_known_to_who_read_both() -> None:
    """They outlive it; who has not seen the earlier one cannot tell which of them ran in it."""
    database = ("db", "a")
    part = ("calls", (database, ("query", "SELECT a")))
    before, after = (snapshot_of({part: 5 * n}, ids={database: str(n)}) for n in (1, 2))

    known, unknown = delta(before, after), delta(before, after, one_reader=False)

    assert known == Delta({part: 5}, {})
    assert unknown == Delta({}, {part: "db 'a' was made anew meanwhile, under the same name"})


@pytest.mark.parametrize("now", [{("db", "a"): "2"}, {}])
def test_what_a_database_left_is_not_taken_for_what_ran_since_by_who_did_not_know_it(
    now: dict,
) -> None:
    query = ("query", "SELECT a")
    part, nameless, kept = (("calls", (("db", name), query)) for name in ("a", "", "b"))
    before = snapshot_of({part: 5, kept: 1}, ids={("db", "a"): "1"})
    after = snapshot_of({part: 9, nameless: 5, kept: 3}, ids=now)

    moves = delta(before, after, one_reader=False)

    assert moves.unknown[nameless] == "it holds what db 'a' left, which went or was made anew"
    assert moves.moved[kept] == 2
