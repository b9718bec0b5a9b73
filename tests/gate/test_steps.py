"""What is a step and what is not: laws of the segmentation on series that are made for them."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.gate.series import NOISES
from nilometer.gate.steps import Step, steps

if TYPE_CHECKING:
    from collections.abc import Sequence

seeds = st.integers(0, 2**32)


def places(values: Sequence[float | None]) -> list[int]:
    return [step.index for step in steps(values)]


def noisy(seed: int, points: int, level: float = 100.0, spread: float = 1.0) -> list[float]:
    random = Random(seed)
    return [random.gauss(level, spread) for _ in range(points)]


@given(st.floats(-1e300, 1e300), st.integers(0, 300))
def test_a_constant_series_has_no_step(level: float, points: int) -> None:
    assert steps([level] * points) == ()


@given(seeds, st.integers(0, 99), st.sampled_from([1e3, -1e3, 1e9, 1e300]))
def test_one_outlier_makes_no_step(seed: int, at: int, wild: float) -> None:
    values = noisy(seed, 100)
    before = steps(values)
    values[at] = wild

    assert before == steps(values) == ()


@given(seeds, st.integers(15, 85), st.sampled_from([-1, 1]))
def test_a_clean_step_of_five_scales_is_found_where_it_is(seed, at, direction) -> None:
    values = [v + direction * 5 * (i >= at) for i, v in enumerate(noisy(seed, 100))]

    (found,) = places(values)

    assert abs(found - at) <= 2


def test_a_step_says_from_where_to_where_and_why() -> None:
    assert steps([10] * 20 + [12] * 30) == (
        Step(
            20,
            "the level moved from 10 to 12 (+20.0%, 4.0 times the noise)"
            " and stayed for 30 runs",
            10.0,
            12.0,
        ),
    )


exact_levels = st.lists(
    st.tuples(st.sampled_from([400, 500, 600, 700, 720, 800, 1400]), st.integers(5, 20)),
    min_size=2,
    max_size=8,
)


@given(exact_levels)
def test_of_a_series_without_noise_every_level_of_five_runs_is_found(levels) -> None:
    """But for one of fewer than twelve runs that was left for the one before."""
    values = [level for level, runs in levels for _ in range(runs)]
    moved = [at for at in range(1, len(values)) if values[at] != values[at - 1]]
    borders = [0, *moved, len(values)]
    gone = [
        at
        for at in range(1, len(borders) - 2)
        if borders[at + 1] - borders[at] < 12
        and 2 * abs(values[borders[at + 1]] - values[borders[at] - 1])
        < min(
            abs(values[borders[at]] - values[borders[at] - 1]),
            abs(values[borders[at + 1]] - values[borders[at]]),
        )
    ]

    assert gone or places(values) == moved


@pytest.mark.parametrize("short", [5, 8, 11])
def test_short_levels_one_after_the_other_are_as_many_steps_where_there_is_no_noise(
    short: int,
) -> None:
    values = [800] * 25 + [700] * short + [600] * short + [500] * short + [400] * 30

    assert places(values) == [25, 25 + short, 25 + 2 * short, 25 + 3 * short]
    assert places([*values[:9], 1600, *values[9:]]) == [
        at + 1 for at in (25, 25 + short, 25 + 2 * short, 25 + 3 * short)
    ]


@pytest.mark.parametrize(("level", "moved"), [(3, 1), (40, 1), (10_000, 100), (0, 1), (0, 9)])
@pytest.mark.parametrize("points", [7, 10, 30])
def test_an_exact_count_that_moves_for_good_has_a_step(level, moved, points) -> None:
    assert places([level] * points + [level + moved] * points) == [points]
    assert places([level + moved] * points + [level] * points) == [points]


def test_an_exact_count_that_moves_by_less_than_the_floor_has_none() -> None:
    """0.2 % is the smallest scale that is believed, and 1.8 scales make a step."""
    assert places([10_000] * 30 + [10_030] * 30) == []


@settings(max_examples=30)
@given(seeds, st.integers(-30, 30))
def test_the_unit_of_the_values_does_not_matter(seed: int, power: int) -> None:
    """Powers of two, which change no digit."""
    values = [v + 4 * (i >= 40) - 6 * (i >= 90) for i, v in enumerate(noisy(seed, 130))]

    assert places([2.0**power * v for v in values]) == places(values)


@settings(max_examples=30)
@given(seeds)
def test_upside_down_the_same_steps_are_found(seed: int) -> None:
    values = [v + 5 * (i >= 40) - 9 * (i >= 90) for i, v in enumerate(noisy(seed, 130))]

    there, below = places(values), places([-v for v in values])

    assert len(there) == len(below) == 2
    assert all(abs(a - b) <= 2 for a, b in zip(there, below, strict=True))


@settings(max_examples=30)
@given(seeds, st.floats(-400, 400))
def test_where_the_noise_is_above_the_floor_the_level_does_not_matter(seed, shift) -> None:
    """With noise of 1 around levels up to 500; the least share of a step is 0.4 %."""
    values = [v + 4 * (i >= 40) - 6 * (i >= 90) for i, v in enumerate(noisy(seed, 130))]

    there, here = places([v + shift for v in values]), places(values)

    assert len(there) == len(here)
    assert all(abs(a - b) <= 1 for a, b in zip(there, here, strict=True))


@settings(max_examples=30)
@given(seeds)
def test_backwards_the_same_steps_are_found(seed: int) -> None:
    values = [v + 5 * (i >= 40) - 9 * (i >= 90) for i, v in enumerate(noisy(seed, 130))]

    there, back = places(values), sorted(130 - at for at in places(values[::-1]))

    assert len(there) == len(back) == 2
    assert all(abs(a - b) <= 2 for a, b in zip(there, back, strict=True))


@given(
    seeds,
    st.lists(
        st.tuples(st.integers(0, 120), st.sampled_from([None, float("nan"), float("inf")])),
        max_size=15,
    ),
)
def test_gaps_are_passed_over_and_counted(seed, gaps) -> None:
    values: list[float | None] = [v + 6 * (i >= 60) for i, v in enumerate(noisy(seed, 120))]
    for at, gap in gaps:
        values.insert(at, gap)
    (found,) = places(values)
    moved = [i for i, v in enumerate(values) if v is not None and abs(v) < 1e9][60]

    assert abs(sum(v is not None and abs(v) < 1e9 for v in values[:found]) - 60) <= 2
    assert abs(found - moved) <= 20


@pytest.mark.parametrize("length", [1, 2, 3, 5, 8])
def test_a_level_that_is_soon_left_for_the_one_before_is_an_excursion(length: int) -> None:
    values = noisy(1, 120)
    values[60 : 60 + length] = [v + 10 for v in values[60 : 60 + length]]

    assert places(values) == []


@pytest.mark.parametrize("length", [2, 6, 10])
def test_the_way_from_one_level_to_another_is_one_step(length: int) -> None:
    for seed in range(10):
        values = [
            v + 8 * max(0, min(1, (i - 60) / length)) for i, v in enumerate(noisy(seed, 130))
        ]
        (found,) = places(values)

        assert 60 <= found <= 60 + length


def test_levels_that_come_and_go_are_no_steps() -> None:
    """Each lasts ten runs as a rule: as builds do, or a machine that has two speeds."""
    random = Random(4)
    level, values = 100, []
    for _ in range(300):
        level = level if random.random() < 0.9 else random.choice([100, 110, 120])
        values.append(random.gauss(level, 1))

    assert places(values) == []


@pytest.mark.parametrize("length", [15, 20, 30])
@pytest.mark.parametrize("sign", [1, -1])
def test_however_many_steps_lead_one_way_each_is_found(length: int, sign: int) -> None:
    random = Random(3)
    levels = [200 + sign * 5 * at for at in range(6)]
    values = [random.gauss(level, 0.5) for level in levels for _ in range(length)]

    assert places(values) == [length * at for at in range(1, 6)]


@pytest.mark.parametrize("length", [3, 8, 11])
@pytest.mark.parametrize("factor", [0, 0.3, 1.3, 2.5])
def test_an_excursion_hides_no_step_that_comes_after_it(factor: float, length: int) -> None:
    hidden = 0
    for seed in range(20):
        values = [v * (1.06 if at >= 60 else 1) for at, v in enumerate(noisy(seed, 100))]
        values[25 : 25 + length] = [factor * v for v in values[25 : 25 + length]]
        hidden += not any(abs(at - 60) <= 5 for at in places(values))

    assert hidden <= 2  # of 20; of 11 runs most were before


def test_a_level_that_lasted_before_it_was_left_is_two_steps() -> None:
    values = noisy(1, 120)
    values[50:80] = [v + 10 for v in values[50:80]]

    assert places(values) == [50, 80]


def test_a_level_is_found_however_noisy_it_is() -> None:
    assert places(noisy(1, 60, 1, 0.001) + noisy(2, 60, 1000, 50)) == [60]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_steady_drift_is_no_step(sign: int) -> None:
    for seed in range(10):
        values = [v + sign * 0.1 * i for i, v in enumerate(noisy(seed, 200))]

        assert places(values) == []
    assert places([sign * i for i in range(200)]) == []


# What is longer than the series, or lasts for half of it, is a step to any eye.
LONG_NOISES = {"bursts", "drift", "periodic", "wave"}


@pytest.mark.parametrize("points", [10, 40, 150])
@pytest.mark.parametrize("kind", NOISES)
def test_noise_of_every_kind_alarms_in_fewer_than_one_series_in_ten(kind, points) -> None:
    points = max(points, 80) if kind in LONG_NOISES else points
    random = Random(f"{kind} {points}")
    alarmed = sum(
        bool(steps([50 + v for v in NOISES[kind](random, points)])) for _ in range(60)
    )

    assert alarmed < 6


@pytest.mark.parametrize("extreme", [1.7e308, 5e-324, 1e-300])
def test_values_at_the_ends_of_what_floats_hold_are_judged(extreme: float) -> None:
    assert places([0.0] * 20 + [extreme] * 20) in ([], [20])
    assert places([-extreme] * 20 + [extreme] * 20) in ([], [20])


def test_a_step_of_large_values_is_told_in_their_own_unit() -> None:
    (step,) = steps([1e300] * 20 + [1.5e300] * 20)

    assert (step.before, step.after) == (1e300, 1.5e300)
    assert step.because.startswith("the level moved from 1e+300 to 1.5e+300 (+50.0%, ")


@given(st.lists(st.none() | st.floats() | st.integers(-(2**60), 2**60), max_size=60))
def test_any_list_of_numbers_is_judged(values) -> None:
    found = places(values)

    assert found == sorted(set(found))
    assert all(0 < at < len(values) for at in found)


def test_fewer_than_eight_points_have_no_step() -> None:
    assert places([1, 1, 1, 1, 9, 9, 9]) == []
