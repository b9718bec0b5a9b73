"""The gate on labelled series: what was promised, on the half that chose nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.gate.alike import alarmed
from bench.gate.rivals import BENCHER, t_quantile
from bench.gate.score import Score, matched, mean_f1, score
from bench.gate.series import Labelled, counters, made_up, sap, sap_with_steps
from bench.gate.single_run import (
    detections,
    false_alarms,
    is_visible,
    null_points,
    ours,
    sap_steps,
)
from nilometer.gate.steps import steps

places = st.lists(st.integers(0, 200), max_size=6, unique=True).map(sorted)


def found_in(series: list[Labelled], half: int) -> list[tuple[Labelled, list[int]]]:
    return [
        (one, [step.index for step in steps(one.values)]) for one in series if one.half == half
    ]


# --- What the issue asks, on half 1 ----------------------------------------------------------


@pytest.mark.parametrize("half", [0, 1])
def test_the_labelled_regressions_are_found_and_nothing_else(half: int) -> None:
    """3 of 15 series have one in half 0, and 2 of 10 in half 1."""
    reached = score(found_in(sap(), half))

    assert reached == [Score(15, 12, 0, 3, 0, 0), Score(10, 8, 0, 2, 0, 0)][half]


def test_on_real_series_with_steps_put_in_f1_is_0_90_and_no_unchanged_series_alarms() -> None:
    reached = score(found_in(sap_with_steps(range(20)), half=1))

    assert (round(reached.f1, 2), reached.alarmed) == (0.90, 0)
    assert reached.unchanged > 50


def test_on_series_made_up_f1_is_0_97_and_one_unchanged_series_in_a_hundred_alarms() -> None:
    reached = score(found_in(made_up(range(1, 60, 2)), half=1))

    assert reached.f1 >= 0.965
    assert reached.alarmed <= reached.unchanged / 100


@pytest.mark.parametrize("likeness", ["0.5", "0.8", "0.9"])
def test_of_unchanged_series_that_wander_fewer_than_one_in_ten_alarm(likeness: str) -> None:
    assert alarmed(f"AR(1), {likeness}", range(1, 400, 2)) < 0.1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_at_most_one_in_two_thousand_unchanged_runs_alarms_and_is_confirmed() -> None:
    rates = false_alarms(ours, [*null_points(sap())])

    assert rates.points > 13_000
    assert rates.confirmed <= 0.0005


@pytest.mark.parametrize(
    ("largest", "half", "confirmed"),
    [(0.5, 0, 84), (0.5, 1, 88), (0.05, 0, 83), (0.05, 1, 98)],
)
def test_as_many_steps_are_confirmed_as_are_told_of_each_half(largest, half, confirmed) -> None:
    """Three series of half 0 have a noise of 10 % and more."""
    points = [p for p in sap_steps(range(40), (0.05, largest)) if p.half == half]

    rates = detections(ours, [point for point in points if is_visible(point)])

    assert rates.points > 150
    assert round(100 * rates.confirmed) == confirmed


@pytest.mark.parametrize("largest", [0.5, 0.05])
def test_of_both_halves_together_85_steps_in_100_are_confirmed(largest) -> None:
    points = [p for p in sap_steps(range(40), (0.05, largest)) if is_visible(p)]

    assert detections(ours, points).confirmed >= 0.85


# --- The instruments of this ------------------------------------------------------------------


def test_the_data_are_those_described() -> None:
    series = sap()

    assert (len(series), sum(len(one.values) for one in series)) == (25, 14_189)
    assert sorted(one.steps[0] for one in series if one.steps) == [54, 88, 98, 117, 155]
    assert [len(counters("mariadb")[v]["Com_select"]) for v in ("base1", "wide4")] == [30, 10]
    assert counters("mariadb")["n1_4"]["Com_select"][0] / 800 == pytest.approx(1.05, abs=0.01)


def test_the_same_seed_makes_the_same_series() -> None:
    assert made_up([3]) == made_up([3])
    assert sap_with_steps([3]) == sap_with_steps([3])


@given(places, places)
def test_matching_is_symmetric_and_serves_each_once(a, b) -> None:
    assert matched(a, b) <= min(len(a), len(b))
    assert matched(a, a) == len(a)


def test_what_is_near_a_label_is_found_and_what_is_not_is_both_false_and_missed() -> None:
    one = Labelled("x", "", 0, [], (50, 100), (150,))

    assert score([(one, [55, 106, 149])]) == Score(1, 0, 0, 1, 1, 1)
    assert mean_f1([(one._replace(unsure=()), [55, 106])]) == pytest.approx(2 / 3)


def test_a_bound_of_each_published_rule_is_as_published() -> None:
    runs = [98.0, 99.0, 100.0, 101.0, 102.0] * 6

    assert {name: round(rule(runs), 2) for name, rule in BENCHER.items()} == {
        "percentage 5 %": 105.0,
        "percentage 10 %": 110.0,
        "z_score 0.977": 102.87,
        "t_test 0.977": 103.05,
        "t_test 0.99": 103.6,
        "iqr 3": 106.0,
        "delta_iqr 3": 100.06,
    }
    assert BENCHER["delta_iqr 3"]([100, 110] * 30) == pytest.approx(
        105 * (1 + 3 * (0.1 + 1 / 11))
    )
    assert t_quantile(0.975, 30) == pytest.approx(2.0423, abs=1e-4)
