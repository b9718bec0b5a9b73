"""One statistic per run: how often it alarms without a change, and what it can see."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.gate.history import Key
from nilometer.gate.joint import (
    RATE_MAX,
    SCALES_MIN,
    Column,
    Moved,
    Row,
    chance_of,
    joint,
    listed_of,
)

NUMBERS = st.floats(1, 1e9).map(lambda x: round(x, 3))


def normal(seed: int, runs: int, counters: int, likeness: float) -> list[list[float]]:
    """By run the values of counters that are as alike as asked for."""
    random = Random(seed)
    found = []
    for _ in range(runs):
        shared = random.gauss(0, 1)
        found.append(
            [
                1e6 * (1 + 0.005 * (likeness**0.5 * shared + (1 - likeness) ** 0.5 * own))
                for own in (random.gauss(0, 1) for _ in range(counters))
            ]
        )
    return found


def columns(rows: list[list[float]], now: list[float]) -> list[Column]:
    return [
        Column(Key("b", f"c{i}"), [row[i] for row in rows], value)
        for i, value in enumerate(now)
    ]


def alarms(rows: list[list[float]], *, earlier: int) -> float:
    """How often a run is an alarm for the runs before it, as a rate."""
    judged = range(earlier, len(rows), earlier + 1)  # none of them judges another
    found = [
        joint(columns(rows[at - earlier : at], rows[at]), earlier).is_alarm for at in judged
    ]
    return sum(found) / len(found)


@pytest.mark.parametrize("likeness", [0.0, 0.5, 0.95])
@pytest.mark.parametrize(("earlier", "counters"), [(20, 5), (20, 40), (60, 8)])
def test_one_run_in_n_and_one_alarms_without_a_change_however_many_counters(
    earlier, counters, likeness
) -> None:
    trials = 120
    rows = normal(7, trials * (earlier + 1), counters, likeness)
    stated = 1 / (earlier + 1)

    rate = alarms(rows, earlier=earlier)

    # Three standard deviations of so many trials; by chance above in one of a thousand.
    assert rate <= stated + 3 * (stated * (1 - stated) / trials) ** 0.5


@pytest.mark.parametrize("seed", [1, 2])
def test_runs_that_are_wild_now_and_then_alarm_no_more_often_than_is_stated(seed) -> None:
    """Counters that are still but for one run in 40, in which one in five of them is wild."""
    random = Random(seed)
    rows = []
    for _ in range(200 * 31):
        row = [1000.0] * 30
        if random.random() < 1 / 40:
            row = [one + random.randint(0, 900) * (random.random() < 0.2) for one in row]
        rows.append(row)

    assert alarms(rows, earlier=30) <= RATE_MAX


@given(st.lists(st.lists(NUMBERS, min_size=4, max_size=4), min_size=6, max_size=40))
def test_the_new_run_is_judged_as_any_other_would_be(rows) -> None:
    """By each of the two questions at most the rate that is told, or one, of all runs alarm.

    Whatever the numbers are; what the second question finds counts twice.
    """
    found = 0
    for at, now in enumerate(rows):
        others = [row for i, row in enumerate(rows) if i != at]
        found += joint(columns(others, now), len(others)).is_alarm

    assert found <= max(1, RATE_MAX * len(rows)) + max(1, RATE_MAX / 2 * len(rows))


@given(st.integers(0, 99), st.permutations(range(6)))
def test_the_order_of_counters_changes_nothing(seed, order) -> None:
    *rows, now = normal(seed, 21, 6, 0.3)
    whole = columns(rows, now)

    assert joint([whole[i] for i in order], 20) == joint(whole, 20)


@given(st.integers(0, 99), st.sampled_from([0.25, 2.0, 1024.0]))
def test_a_counter_in_another_unit_says_the_same(seed, factor) -> None:
    *rows, now = normal(seed, 21, 4, 0.0)
    scaled = [[v * factor for v in row] for row in [*rows, now]]

    first, second = joint(columns(rows, now), 20), joint(columns(scaled[:-1], scaled[-1]), 20)

    assert second.statistic == pytest.approx(first.statistic)
    assert (second.is_alarm, second.rate) == (first.is_alarm, first.rate)


def test_a_change_of_an_exact_counter_is_seen_beside_fifty_noisy_ones() -> None:
    *rows, now = [[*row, 800.0] for row in normal(3, 31, 50, 0.0)]
    now[-1] = 840.0

    found = joint(columns(rows, now), 30)

    assert (found.is_alarm, found.leading, found.above) == (True, Key("b", "c50"), 0)
    assert found.rate == 1 / 31
    assert [one.key for one in found.moved] == [Key("b", "c50")]


def test_one_count_more_is_no_news() -> None:
    found = joint([Column(Key("b", "c"), [20.0] * 30, 21.0)], 30)

    assert (found.is_alarm, found.statistic) == (False, 2.0)
    assert found.statistic < SCALES_MIN


def test_a_counter_that_varies_by_more_than_one_percent_never_alarms() -> None:
    random = Random(1)
    values = [random.gauss(1e6, 2e4) for _ in range(31)]

    assert joint([Column(Key("b", "c"), values[:-1], 9e9)], 30).counters == 0


def test_a_counter_that_runs_wild_time_and_again_is_demoted() -> None:
    values = [800.0] * 30
    values[5] = values[12] = values[13] = values[20] = 900.0

    found = joint([Column(Key("b", "c"), values, 9e9)], 30)

    assert (found.is_alarm, found.counters) == (False, 0)


@pytest.mark.parametrize("once", [6.0, 7.0, 8.0])
def test_a_small_count_that_was_once_one_or_two_more_still_tells_that_it_doubled(once) -> None:
    found = joint([Column(Key("b", "c"), [5.0] * 20 + [once] + [5.0] * 9, 10.0)], 30)

    assert (found.is_alarm, found.statistic) == (True, 10.0)


def test_a_small_count_that_is_often_one_or_two_more_tells_nothing() -> None:
    values = [5.0] * 20 + [7.0, 5.0, 6.0, 5.0]

    assert joint([Column(Key("b", "c"), values, 10.0)], 24).counters == 0


def test_one_wild_run_is_counted_in_the_rate_and_does_not_blind() -> None:
    quiet, wild = [800.0] * 30, [40.0] * 29 + [90.0]
    both = [Column(Key("b", "a"), quiet, 840.0), Column(Key("b", "b"), wild, 40.0)]

    found = joint(both, 30)

    assert (found.is_alarm, found.above, found.rate) == (True, 1, 2 / 31)
    assert "one run in 16 is so far out" in found.because


def test_a_run_that_is_less_far_out_than_an_ordinary_one_is_no_alarm() -> None:
    before = [1000.0] * 29 + [1009.0]
    both = [Column(Key("b", "a"), before, 1000.0), Column(Key("b", "b"), [2000.0] * 30, 2017.0)]

    found = joint(both, 30)

    assert (found.statistic, found.ordinary, found.is_alarm) == (4.25, 4.5, False)


@pytest.mark.parametrize("sign", [1, -1])
def test_wild_runs_of_counters_that_vary_hide_no_move_of_one_that_never_did(sign) -> None:
    """As a fresh MariaDB per run shows it: its log is 23 % longer in two runs of six."""
    log = [13070.0, 10596.0, 10595.0, 10595.5, 10596.5, 13075.0]
    same = Column(Key("b", "Com_select"), [30.0] * 6, 30.0 + sign * 10)
    both = [same, Column(Key("b", "log"), [sign * value for value in log], sign * 10596.8)]

    found = joint(both, 6, sign=sign)

    assert (found.is_alarm, [one.key.counter for one in found.moved]) == (True, ["Com_select"])
    assert found.rate == 2 / 7
    assert "of 1 counters that are the same in every run" in found.because


def test_one_that_never_moved_is_judged_by_those_alone_at_twice_the_rate() -> None:
    """In one of n + 1 runs it is the one that is out, whoever else is."""
    random = Random(7)
    alarms = 0
    for _ in range(600):
        same = [100.0] * 21
        same[random.randrange(21)] = 130.0
        wild = [random.choice([40.0] * 9 + [90.0]) for _ in range(21)]
        columns = [
            Column(Key("b", name), values[:-1], values[-1])
            for name, values in (("a", same), ("b", wild))
        ]
        alarms += joint(columns, 20).is_alarm
    assert alarms <= 600 * 2 / 21


def test_as_wild_as_one_run_in_ten_is_no_alarm() -> None:
    wild = [40.0] * 27 + [90.0, 95.0, 99.0]
    varies = [798.0, 800.0, 802.0] * 10
    both = [Column(Key("b", "a"), varies, 840.0), Column(Key("b", "b"), wild, 40.0)]

    found = joint(both, 30)

    assert (found.is_alarm, found.above) == (False, 3)


def drawn_from(levels: st.SearchStrategy[float]) -> st.SearchStrategy[list[float]]:
    return st.lists(levels, min_size=2, max_size=40)


@given(
    st.one_of(
        drawn_from(st.integers(-3, 3).map(float)),
        drawn_from(st.integers(790, 810).map(float)),
        drawn_from(st.floats(999, 1001)),
        drawn_from(st.sampled_from([800.0, 801.0, 840.0, 1600.0])),
        drawn_from(st.floats(-1e300, 1e300)),
    ),
    st.sampled_from([1, -1]),
    st.booleans(),
)
def test_no_run_deviates_more_than_is_said_without_working_it_out(
    every, sign: int, counted: bool
) -> None:
    row = Row(Column(Key("b", "c"), every[:-1], every[-1], is_counted=counted), 0, sign)

    assert all((row.deviation(value) or 0.0) <= row.at_most(value) for value in every)


def test_less_is_found_if_asked_for_and_only_then() -> None:
    column = Column(Key("b", "c"), [800.0] * 30, 700.0)

    assert [joint([column], 30, sign=sign).is_alarm for sign in (1, -1)] == [False, True]


def test_nothing_to_judge_is_no_alarm() -> None:
    found = joint([], 30)

    assert (found.is_alarm, found.leading, found.because) == (
        False,
        None,
        "none of 0 counters is above its level in 30 earlier runs",
    )


def test_values_that_are_missing_take_part_in_nothing() -> None:
    values: list[float | None] = [800.0] * 30
    values[3:9] = [None] * 6

    assert joint([Column(Key("b", "c"), values, 840.0)], 30).is_alarm


@pytest.mark.parametrize(
    ("scales", "freedom", "exact"),
    [(2.0, 10, 0.03669), (3.0, 29, 0.00274), (1.0, 5, 0.18161), (4.0, 60, 0.0000880)],
)
def test_the_chance_is_that_of_students_t(scales, freedom, exact) -> None:
    assert chance_of(scales, freedom) == pytest.approx(exact, rel=0.06)


def test_the_counters_that_moved_are_listed_and_no_others() -> None:
    chances = [1e-9, 1e-6, 0.02, 0.4]
    moved = [Moved(Key("b", f"c{i}"), 10.0 - i, chance) for i, chance in enumerate(chances)]

    assert [one.key.counter for one in listed_of(moved, 50)] == ["c0", "c1"]
