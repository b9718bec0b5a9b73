"""A map of cells holds every value once, in a row that it belongs to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.model import Distribution
from nilometer.model.cells import Cell, rows_of, spread

values = st.lists(st.integers(1, 10**14), min_size=1, max_size=20)
periods = st.lists(st.tuples(st.integers(0, 5), values), min_size=1, max_size=5)


@given(periods, st.integers(1, 60))
def test_every_value_is_in_one_cell_that_holds_it(told, rows_max):
    found = spread([(at, Distribution.of(some)) for at, some in told], rows_max=rows_max)

    for at in {at for at, _ in told}:
        here = [one for one in found.cells if one.started_ns == at]
        all_values = sorted(value for when, some in told if when == at for value in some)
        for one in here:
            inside = [
                v for v in all_values if one.low * (1 - 1e-9) < v <= one.high * (1 + 1e-9)
            ]
            assert one.values <= len(inside)
        assert sum(one.values for one in here) == len(all_values)


@given(periods, st.integers(2, 60))
def test_there_are_no_more_rows_than_wanted(told, rows_max):
    found = spread([(at, Distribution.of(some)) for at, some in told], rows_max=rows_max)

    lowest = min(one.low for one in found.cells)
    highest = max(one.high for one in found.cells)
    heights = {one.high / one.low for one in found.cells}

    assert len(rows_of(found.cells)) <= rows_max
    assert max(heights) == pytest.approx(min(heights))  # a row beside the other, none in it
    assert highest / lowest <= max(heights) ** rows_max * (1 + 1e-9)


def test_distributions_of_several_scales_lie_in_the_same_rows():
    fine, coarse = Distribution.of([1000]), Distribution.of([1000]).at_scale(2)

    found = spread([(0, fine), (0, coarse), (60, fine)], rows_max=50)

    assert [(one.started_ns, one.values) for one in found.cells] == [(0, 2), (60, 1)]
    assert len(rows_of(found.cells)) == 1


def test_what_no_logarithm_has_is_counted_and_not_drawn():
    found = spread([(0, Distribution.of([-5, 0, 0, 7]))], rows_max=10)

    assert found.left_out == 3
    assert sum(one.values for one in found.cells) == 1


def test_buckets_of_a_sender_s_own_bounds_keep_them():
    told = Distribution(6, 60, 2, 90, {0: 1, 1: 2, 2: 3}, bounds=(10.0, 20.0))

    found = spread([(0, told)], rows_max=10)

    assert found.cells == [Cell(0, 2, 10, 1), Cell(0, 10, 20, 2), Cell(0, 20, 90, 3)]


def test_nothing_recorded_makes_no_cell():
    assert spread([(0, Distribution.of([]))], rows_max=5) == ([], 0)


def test_rows_are_told_the_greatest_first():
    found = spread([(0, Distribution.of([1, 10**6])), (1, Distribution.of([1]))], rows_max=40)

    rows = rows_of(found.cells)

    assert list(rows.values()) == [{0: 1}, {0: 1, 1: 1}]
