"""A counter over all runs: levels, steps, what was accepted; a run beside all its bounds."""

from __future__ import annotations

from nilometer.gate.beside import beside_bounds
from nilometer.gate.chosen import choose
from nilometer.gate.course import course_of
from nilometer.gate.rank import learn, see
from nilometer.model.run import Accepted
from tests.gate.histories import run, runs

SELECT = "mysql:Com_select"


def history(*values):
    return [run(at, {"Com_select": value}) for at, value in enumerate(values)]


def course(found, accepted=(), name=SELECT):
    seen = see(found, accepted)
    assert seen is not None
    return course_of(seen, name, accepted)


def test_a_course_has_its_levels_and_the_step_that_alarms() -> None:
    told = course(history(*[100] * 10, *[200] * 6))

    assert told is not None
    assert [(one.start, one.stop, one.level) for one in told.stretches] == [
        (0, 10, 100),
        (10, 16, 200),
    ]
    assert (told.held, [step.index for step in told.steps]) == (10, [10])


def test_an_accepted_step_is_none_that_alarms() -> None:
    accepted = [Accepted("shop", "r10", 1, "twice the work", "ann", (SELECT,))]

    told = course(history(*[100] * 10, *[200] * 6), accepted)

    assert told is not None
    assert (told.held, told.steps, told.accepted) == (None, (), ((10, accepted[0]),))


def test_what_was_accepted_of_another_counter_is_none_of_this_one_s() -> None:
    accepted = [Accepted("shop", "r5", 1, "x", "", ("mysql:other",))]

    told = course(history(*[100] * 10), accepted)

    assert told is not None
    assert told.accepted == ()


def test_a_run_without_a_figure_says_why() -> None:
    found = [*history(*[100] * 9), run(9, {"Com_select": None})]

    told = course(found)

    assert told is not None
    assert [one.value for one in told.points] == [100] * 9 + [None]
    assert told.points[-1].because == "vanished: it was there in the first snapshot"


def test_there_is_no_course_of_a_counter_that_nobody_has() -> None:
    assert course(history(*[100] * 9), name="mysql:Com_selct") is None


def test_a_course_tells_of_its_counter_what_is_learned_of_all() -> None:
    found = history(*[100] * 30)
    learned = learn(found)
    told = course(found)

    assert told is not None
    assert learned is not None
    assert [told.predictor] == [one for one in learned.predictors if str(one.key) == SELECT]


def test_beside_the_bounds_the_furthest_above_its_level_is_first() -> None:
    found = [*runs(25, {"a": 100, "b": 200}), run(25, {"a": 101, "b": 260})]

    told = beside_bounds(choose(found, [], "last", "shop"))

    assert [(one.key.counter, one.now, one.bound and one.bound.upper) for one in told] == [
        ("b", 260, 200),
        ("a", 101, 100),
    ]


def test_a_counter_that_takes_no_part_comes_behind_those_that_do() -> None:
    wild = [run(at, {"steady": 100, "wild": 50 + at % 7 * 30}) for at in range(30)]

    told = beside_bounds(choose(wild, [], "last", "shop"))

    assert [(one.key.counter, one.bound is None) for one in told] == [
        ("steady", False),
        ("wild", True),
    ]


def test_a_run_that_cannot_be_judged_is_beside_nothing() -> None:
    few = runs(4)
    failed = [*runs(25), run(25, {"Com_select": 800}, exit_status=1)]

    assert beside_bounds(choose(few, [], "last", "shop")) == ()
    assert beside_bounds(choose(failed, [], "last", "shop")) == ()
