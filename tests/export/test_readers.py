"""What the service's own functions do, and how long it takes them, holds up nothing of ours."""

from __future__ import annotations

import logging
import threading

import pytest

from nilometer.export import readers as module
from nilometer.export.readers import Readers

SOON_S = module.READ_S * 0.8  # a thread begins by then on a busy machine, and is left to none


class Read:
    """A function to be called, and what became of it."""

    def __init__(self, name, action, log):
        self.name = self.key = name
        self.action, self.log = action, log

    def __call__(self):
        self.log.append(("called", self.name))
        self.action()
        self.log.append(("returned", self.name))

    def missed(self):
        self.log.append(("missed", self.name))


@pytest.fixture
def log():
    return []


@pytest.fixture
def read(log):
    return lambda name, action=lambda: None: Read(name, action, log)


@pytest.fixture
def hang(monkeypatch, wait_until):
    """An event that a function waits for, with little patience for it."""
    monkeypatch.setattr(module, "READ_S", 0.05)
    released = threading.Event()
    yield released
    released.set()
    wait_until(lambda: not left(), what="no thread is left")


def no_thread(run, name):
    raise RuntimeError("can't start new thread")


def left():
    return [t for t in threading.enumerate() if t.name == "nilometer-reads"]


def test_each_is_called_in_order_by_one_thread(read, log):
    readers, threads = Readers(), []
    reads = [read(name, lambda: threads.append(threading.get_ident())) for name in "abc"]

    readers.ask(reads, 5)
    readers.ask(reads, 5)

    assert log == [(what, name) for name in "abcabc" for what in ("called", "returned")]
    assert len(set(threads)) == 1
    assert threading.get_ident() not in threads
    readers.end()


def test_who_hangs_is_named_once_and_left_out_until_it_returns(
    read, log, hang, caplog, wait_until
):
    readers = Readers()
    reads = [read("a"), read("hangs", lambda: hang.wait(20)), read("b")]

    for _ in range(3):
        readers.ask(reads, 0.5)

    others = [("called", "a"), ("returned", "a"), ("called", "b"), ("returned", "b")]
    assert log == [
        *others[:2], ("called", "hangs"), *others[2:], ("missed", "hangs"),
        *others, ("missed", "hangs"),
        *others, ("missed", "hangs"),
    ]  # fmt: skip
    assert [r.getMessage().partition(" has")[0] for r in caplog.records] == [
        "gauge 'hangs': its read="
    ]
    hang.set()
    wait_until(lambda: len(left()) == 1, what="the thread that hung has ended")
    log.clear()
    readers.ask(reads, 5)
    assert ("returned", "hangs") in log
    readers.end()
    wait_until(lambda: not left(), what="no thread is left")


def test_however_many_hang_the_threads_are_bounded_and_time_is_kept(
    read, log, hang, caplog, wait_until
):
    readers = Readers()
    reads = [read(f"h{n}", lambda: hang.wait(20)) for n in range(30)]

    readers.ask(reads, 3)

    called = [name for what, name in log if what == "called"]
    missed = [name for what, name in log if what == "missed"]
    assert called == [f"h{n}" for n in range(module.HANGING_MAX)]
    assert missed == [f"h{n}" for n in range(30)]
    assert len(left()) == len(caplog.records) == module.HANGING_MAX
    hang.set()
    wait_until(lambda: not left(), what="no thread is left")


def test_who_is_slow_has_the_time_of_all_and_the_others_go_on_beside_it(read, log, hang):
    readers = Readers()

    readers.ask([read("slow", lambda: hang.wait(20)), read("next", hang.set)], 20)

    assert log == [("called", name) for name in ("slow", "next")] + [
        ("returned", name) for name in ("next", "slow")
    ]
    readers.end()


def test_what_comes_too_late_counts_the_next_time(read, log, wait_until):
    readers, hang, slow = Readers(), threading.Event(), threading.Event()
    reads = [
        read("hangs", lambda: hang.wait(20)),
        read("slow", lambda: slow.wait(20)),
        read("after it"),  # the same thread is at it only when it has noted that slow came
    ]

    def missed():
        return [name for what, name in log if what == "missed" and name != "after it"]

    readers.ask([read("begun")], 20)
    readers.ask(reads, SOON_S)
    slow.set()
    wait_until(lambda: ("called", "after it") in log, what="the slow one was called, and came")
    slow.clear()
    assert missed() == ["hangs", "slow"]
    readers.ask(reads, SOON_S)  # called again, and not back yet

    assert missed() == ["hangs", "slow", "hangs"]
    wait_until(lambda: log.count(("called", "slow")) == 2, what="it was called again")
    readers.ask(reads, SOON_S)
    assert missed()[3:] == ["hangs", "slow"]
    hang.set()
    slow.set()
    readers.end()
    wait_until(lambda: not left(), what="no thread is left")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_whatever_one_raises_the_thread_goes_on(read, log, error):
    def fail():
        raise error

    readers = Readers()

    readers.ask([read("a", fail), read("b")], 5)
    readers.ask([read("c")], 5)

    assert log == [
        ("called", "a"), ("called", "b"), ("returned", "b"), ("called", "c"), ("returned", "c")
    ]  # fmt: skip
    readers.end()


@pytest.mark.parametrize("spawn", [no_thread, lambda run, name: None])
def test_where_no_thread_runs_they_are_missed_and_nobody_waits_for_ever(
    read, log, hang, spawn, caplog
):
    Readers(spawn=spawn).ask([read("a"), read("b")], 5)

    assert log == [("missed", "a"), ("missed", "b")]
    assert caplog.records == []


def test_a_child_has_a_thread_of_its_own(read, log, hang):
    readers = Readers()
    readers.ask([read("hangs", lambda: hang.wait(20))], 0.1)
    readers.end()  # no thread survives a fork
    log.clear()

    readers.reset_after_fork()
    readers.ask([read("hangs")], 5)

    assert log == [("called", "hangs"), ("returned", "hangs")]
    readers.end()


def test_they_are_asked_nothing_that_is_said_twice(read, hang, caplog):
    readers = Readers()
    for key in range(3):  # three series of one gauge
        one = read("gauge", lambda: hang.wait(20))
        one.key = key
        readers.ask([one], 0.1)
    readers.end()

    assert [r.levelno for r in caplog.records] == [logging.WARNING]
