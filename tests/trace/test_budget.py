"""Laws of the budget of traced requests, on both twins."""

from importlib import import_module
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trace.conftest import TWINS

rates = st.floats(0.1, 1e6)
pauses_ns = st.lists(st.integers(0, 3_000_000_000), max_size=50)


class Time:
    def __init__(self):
        self.ns = 0

    def elapsed_ns(self):
        return self.ns


@given(rates, pauses_ns)
def test_both_twins_let_in_the_same_requests(rate, pauses):
    taken = []
    for module in TWINS.values():
        time = Time()
        budget = import_module(module).Budget(rate, time.elapsed_ns)
        said = []
        for pause in pauses:
            time.ns += pause
            said.append(budget.take())
        taken.append(said)

    assert taken[0] == taken[1]


@pytest.mark.parametrize("module", TWINS.values())
@given(rates, pauses_ns)
def test_nobody_gets_more_than_a_second_s_worth_and_what_time_gave(module, rate, pauses):
    time = Time()
    budget = import_module(module).Budget(rate, time.elapsed_ns)
    let_in = 0
    for pause in pauses:
        time.ns += pause
        let_in += budget.take()

    assert let_in <= floor(max(1.0, rate) + time.ns * rate / 1e9 + 1e-6)


def test_a_clock_that_fails_is_told(core):
    budget = core.Budget(1.0, iter([5]).__next__)

    with pytest.raises(StopIteration):
        budget.take()
    with pytest.raises(ZeroDivisionError):
        core.Budget(1.0, lambda: 1 // 0)


def test_the_real_clock_lets_in_a_burst_and_no_more(core):
    budget = core.Budget(1e-3, import_module("time").perf_counter_ns)
    budget.reset_after_fork()

    assert [budget.take() for _ in range(3)] == [True, False, False]
