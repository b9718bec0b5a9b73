"""Laws of the budget of traced requests, on both twins."""

import os
import signal
from contextlib import ExitStack
from importlib import import_module
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.trace import trigger
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


def test_a_child_forked_while_a_request_is_let_in_lets_in_its_own(core, monkeypatch):
    """The parent's other thread holds every lock there is, and is not in the child."""
    key = "a key of at least sixteen bytes"
    monkeypatch.setattr(trigger, "Budget", core.Budget)
    triggers = trigger.Triggers([key])
    headers = trigger.new_trigger(key).headers
    locks = [triggers._lock, getattr(triggers._budget, "_lock", None)]
    with ExitStack() as held:
        for lock in filter(None, locks):
            held.enter_context(lock)
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(20)  # who waits for a lock that nobody gives back is killed
            os._exit(triggers.accept(headers.get) is None)
    _, status = os.waitpid(pid, 0)

    assert status == 0
