"""One new run beside its level: what alarms, what confirms, and how often that is wrong."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.gate.robust import tolerance_factor
from nilometer.gate.single import Judgement, bounds, confirm, current_level, judge

STILL = [100.0, 101.0, 99.0, 100.0, 100.0, 101.0, 99.0, 100.0] * 5
levels = st.lists(st.floats(-1e6, 1e6), min_size=5, max_size=80)


def test_a_run_beyond_the_bound_is_an_alarm_with_its_reason() -> None:
    assert [judge(STILL, 101), judge(STILL, 103), judge(STILL, 80)] == [
        Judgement(False, "101 is at most 101.853, which 40 runs around 100 explain"),
        Judgement(True, "103 is above 101.853, which 40 runs around 100 explain"),
        Judgement(False, "80 is at most 101.853, which 40 runs around 100 explain"),
    ]


def test_an_exact_count_alarms_at_the_next_count_that_the_floor_allows() -> None:
    """Half a count is the scale, two and a half of them the bound: 1.25 counts."""
    assert [judge([100] * 59, 101).alarm, judge([100] * 59, 102).alarm] == [False, True]
    assert [judge([400] * 59, 402).alarm, judge([400] * 59, 403).alarm] == [False, True]


def test_too_few_runs_are_unknown_and_say_so() -> None:
    said = Judgement(None, "only 4 runs on this level; a bound needs 5 or more")

    assert judge(STILL, float("nan")) == Judgement(None, "a run has no number")
    assert [judge([1, 2, 3, 4], 9), confirm([1, 2, 3, 4], [9] * 5)] == [said, said]
    with pytest.raises(ValueError, match="4 runs have no bound"):
        bounds([1, 2, 3, 4])


def test_an_alarm_is_confirmed_by_three_of_five_that_history_hardly_ever_reaches() -> None:
    assert confirm(STILL, [105, 100, 105, 99, 105]).because == (
        "3 of 5 runs are above 102.039, which 40 runs around 100 explain;"
        " 3 would have been enough"
    )
    assert confirm(STILL, [105, 100, 100, 99, 105]) == Judgement(
        False,
        "of 5 runs 2 above 102.039 (enough: 3), 2 above 101.668 (enough: 4),"
        " 2 above 101.297 (enough: 5), mean 100.541 of at most 101.16:"
        " 40 runs around 100 explain them",
    )


def test_a_shift_too_small_for_three_is_confirmed_by_all_five() -> None:
    runs = [101.5, 101.6, 101.4, 101.5, 101.5]

    assert sum(run > bounds(STILL).votes[3] for run in runs) == 0
    assert confirm(STILL, runs).alarm is True


def test_a_shift_is_confirmed_by_the_mean_of_five_where_no_vote_is_enough() -> None:
    random = Random(5)
    level = [random.gauss(100, 1) for _ in range(100)]

    assert "the mean of 5 runs, 101.883, is above 101.753, which five in a row" in (
        confirm(level, [101.3, 102.4, 101.2, 104.0, 103.0]).because
    )


def test_only_five_runs_confirm() -> None:
    with pytest.raises(ValueError, match="4 runs; an alarm is confirmed or not by 5"):
        confirm(STILL, [105] * 4)


def test_runs_that_jump_between_two_levels_do_not_confirm_each_other() -> None:
    random = Random(1)

    def run() -> float:
        return random.gauss(150 if random.random() < 0.2 else 100, 1)

    level = [run() for _ in range(200)]
    confirmed = sum(bool(confirm(level, [run() for _ in range(5)]).alarm) for _ in range(2000))

    assert confirmed <= 10


def test_a_shift_of_five_scales_is_confirmed_beside_spikes() -> None:
    random = Random(2)

    def run() -> float:
        return random.gauss(140 if random.random() < 0.06 else 100, 1)

    level = [run() for _ in range(200)]
    confirmed = sum(
        bool(confirm(level, [run() + 5 for _ in range(5)]).alarm) for _ in range(200)
    )

    assert confirmed >= 190


@given(levels, st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_a_larger_run_is_an_alarm_if_a_smaller_one_is(level, value, more) -> None:
    assert bool(judge(level, value + more).alarm) >= bool(judge(level, value).alarm)


@given(levels)
def test_more_votes_need_a_lower_bound_and_none_lies_below_the_level(level) -> None:
    found = bounds(level)

    assert found.votes[3] >= found.votes[4] >= found.votes[5] >= found.level
    assert found.single >= found.level


@given(levels, st.sampled_from([0.5, 4.0]))
def test_the_unit_does_not_matter_to_the_alarm(level, unit) -> None:
    level = [v + 0.1 for v in level]  # no whole numbers: these have a floor in counts
    if any(v.is_integer() for v in level):
        return
    one, other = bounds(level), bounds([v * unit for v in level])

    assert other.single == pytest.approx(one.single * unit)


def test_a_young_level_is_judged_with_the_caution_of_its_few_runs() -> None:
    values = [0.99, 1.01, 1.03, 0.97, 1.0]
    found = bounds(values)

    wary = 2.5 / 3 * tolerance_factor(5)
    assert found.single == pytest.approx(1 + wary * found.scale)
    assert bounds(values * 20).single == pytest.approx(1 + 2.5 * found.scale)


def test_the_current_level_begins_at_the_last_step_and_has_no_gaps() -> None:
    history = [5, 5, 5, 5, 5, 5, 5, None, 5, 7, 7, float("nan"), 7, 7, 7, 7, 7]

    assert current_level(history) == [7.0] * 7
    assert current_level([5, 5, None, 5]) == [5.0] * 3
    assert current_level([]) == []
