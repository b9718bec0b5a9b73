"""Medians, scales and tolerance limits: their algebra, and figures published for them."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nilometer.gate.robust import (
    are_counts,
    deviation_share_bound,
    mad,
    median,
    runs_needed,
    scale,
    tolerance_factor,
)

numbers = st.floats(-1e9, 1e9).map(lambda x: round(x, 6))
series = st.lists(numbers, min_size=1, max_size=50)


@given(series)
def test_half_of_all_values_lie_on_either_side_of_the_median(values: list[float]) -> None:
    middle = median(values)

    assert sum(v <= middle for v in values) * 2 >= len(values)
    assert sum(v >= middle for v in values) * 2 >= len(values)


@given(series, numbers)
def test_the_deviation_does_not_see_where_the_values_lie(values, shift) -> None:
    assert mad([v + shift for v in values]) == pytest.approx(mad(values), abs=1e-5)


@given(series, st.sampled_from([0.25, 2.0, 1024.0]))
def test_median_and_deviation_scale_with_the_values(values, factor) -> None:
    assert median([factor * v for v in values]) == factor * median(values)
    assert mad([factor * v for v in values]) == factor * mad(values)


@given(st.lists(numbers, min_size=3, max_size=50), st.sampled_from([1e30, -1e300, 1e308]))
def test_one_wild_value_moves_the_median_only_to_its_neighbour(values, wild) -> None:
    ordered = sorted(values)
    half = len(ordered) // 2

    assert (
        ordered[half - 1] <= median([*values, wild]) <= ordered[min(half + 1, len(values) - 1)]
    )


def test_a_median_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no median of no values"):
        median([])


def test_the_median_of_two_values_that_no_float_can_add_is_between_them() -> None:
    assert median([1.7e308, 1.7e308]) == 1.7e308


def test_the_scale_has_a_floor_of_half_a_count_and_of_two_in_a_thousand() -> None:
    assert [scale([3] * 9), scale([4000] * 9), scale([0.3] * 9), scale([0.0] * 9)] == [
        0.5,
        8.0,
        0.0006,
        0.5,
    ]


@given(series)
def test_the_scale_is_never_below_the_noise_or_the_floor(values) -> None:
    assume(not are_counts(values))

    assert scale(values) == pytest.approx(
        max(mad(values) / 0.6744897501960817, 0.002 * abs(median(values)))
    )


@pytest.mark.parametrize(
    ("runs", "coverage", "factor"),
    # As in the tables of ISO 16269-6 for one side.
    [
        (10, 0.99, 3.981),
        (20, 0.99, 3.295),
        (30, 0.99, 3.064),
        (5, 0.95, 4.203),
    ],
)
def test_tolerance_factors_are_those_of_the_tables(runs, coverage, factor) -> None:
    assert tolerance_factor(runs, coverage=coverage) == pytest.approx(factor, abs=0.001)


def test_more_runs_need_a_smaller_factor_down_to_the_quantile_itself() -> None:
    factors = [tolerance_factor(n) for n in (2, 3, 5, 10, 30, 100, 1000, 10_000)]

    assert factors == sorted(factors, reverse=True)
    assert factors[-1] == pytest.approx(2.3263, abs=0.05)


def test_one_run_has_no_tolerance_factor() -> None:
    with pytest.raises(ValueError, match="1 runs have no spread"):
        tolerance_factor(1)


def test_wilks_numbers_of_runs_are_those_published() -> None:
    assert [
        runs_needed(0.95),
        runs_needed(0.95, rank=2),
        runs_needed(0.99),
        runs_needed(0.99, 0.99),
    ] == [59, 93, 299, 459]


@given(st.integers(1, 2000))
def test_what_never_moved_may_still_move_by_less_the_longer_it_was_watched(runs) -> None:
    bound = deviation_share_bound(runs)

    assert (1 - bound) ** runs == pytest.approx(0.05)
    assert deviation_share_bound(runs + 1) < bound
