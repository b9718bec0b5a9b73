"""Laws of the budget of traced requests, on both twins."""

import os
import signal
from contextlib import ExitStack
from importlib import import_module
from math import floor
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.trace import trigger
from tests.trace.conftest import TWINS, blocks_left_by

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


def yes():
    return True


def no():
    return False


# Nonces of so few that they come again, which live for so long, with the time between them.
sendings = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 9), st.integers(0, 4), st.booleans()),
    max_size=60,
)


@given(sendings, st.integers(1, 6))
def test_both_twins_accept_the_same_nonces(sendings, most):
    told = []
    for module in TWINS.values():
        nonces = import_module(module).Nonces(most)
        now_s, said = 0, []
        for nonce, ttl_s, pause_s, may in sendings:
            now_s += pause_s
            reason = nonces.spend(nonce, now_s + ttl_s, now_s, yes if may else no)
            said.append((reason, len(nonces)))
        told.append(said)

    assert told[0] == told[1]


def test_a_nonce_is_spent_once_until_it_expires_and_as_many_as_fit(core):
    nonces = core.Nonces(2)

    assert nonces.spend("a", 5, 0, no) == "budget_requests"
    assert [nonces.spend("a", 5, 0, yes) for _ in range(2)] == [None, "replayed"]
    assert [nonces.spend(nonce, 9, 5, yes) for nonce in "bc"] == [None, "nonces_full"]
    assert (nonces.spend("c", 9, 6, yes), nonces.spend("a", 9, 6, yes)) == (None, "nonces_full")
    assert len(nonces) == 2


def test_those_expire_first_that_are_to_whatever_their_order(core):
    nonces, order = core.Nonces(1000), list(range(200))
    Random(1).shuffle(order)
    for expiry_s in order:
        nonces.spend(f"{expiry_s}", expiry_s, 0, yes)
    for now_s in range(1, 201):
        nonces.spend(f"new {now_s}", 1000, now_s, yes)

    assert len(nonces) == 200
    assert [nonces.spend(f"new {n}", 1000, 200, yes) for n in range(1, 201)] == [
        "replayed"
    ] * 200


def test_a_nonce_stays_good_if_who_is_asked_for_it_fails(core):
    nonces = core.Nonces(2)
    with pytest.raises(ZeroDivisionError):
        nonces.spend("a", 5, 0, lambda: 1 // 0)

    assert (len(nonces), nonces.spend("a", 5, 0, yes)) == (0, None)


def test_nonces_leave_no_memory_behind(core):
    def once():
        nonces = core.Nonces(100)
        for n in range(100):
            nonces.spend(f"nonce {n}", n, n // 2, yes if n % 3 else no)

    once()
    assert blocks_left_by(once) < 20


def test_a_child_forked_while_a_request_is_let_in_lets_in_its_own(core, monkeypatch):
    """The parent's other thread holds every lock there is, and is not in the child."""
    key = "a key of at least sixteen bytes"
    monkeypatch.setattr(trigger, "Budget", core.Budget)
    monkeypatch.setattr(trigger, "Nonces", core.Nonces)
    triggers = trigger.Triggers([key])
    headers = trigger.new_trigger(key).headers
    locks = [getattr(one, "_lock", None) for one in (triggers._nonces, triggers._budget)]
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
