"""Threads, tasks, greenlets, forked children: totals are exact, nothing is lost or doubled."""

import asyncio
import contextlib
import dis
import multiprocessing
import os
import subprocess
import sys
import threading

import pytest

from nilometer.measure import Registry, pure

from .conftest import moved

THREADS = 4
CALLS = 3_000


@pytest.fixture
def switching_often():
    """Threads change 5,000 times as often as usual, so that a race has its chance."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def in_threads(work, count=THREADS):
    threads = [threading.Thread(target=work, name=f"worker-{i}") for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def summed(collected):
    """Totals of several collects; of timers samples, total, and all their buckets."""
    totals = {}
    for readings, _events in collected:
        for reading in readings:
            value = reading.value
            if not isinstance(value, int):
                kept = sum(value.buckets.values()) + value.zeros
                value = complex(value.samples, value.total) if kept == value.samples else None
            totals[reading.name, reading.dimensions] = (
                totals.get((reading.name, reading.dimensions), 0) + value
            )
    return totals


def test_collecting_beside_recording_threads_loses_nothing_and_counts_nothing_twice(
    registry, switching_often
):
    counter, timer, gauge = registry.counter("c"), registry.timer("t"), registry.gauge("g")
    wrapped = timer.bind(x=1)(lambda: None)

    def work():
        for n in range(CALLS):
            counter.add(2)
            timer.record(n)
            gauge.add(1)
            wrapped()
            registry.event("e")

    collected, done = [], threading.Event()

    def collect():
        while not done.is_set():
            collected.append(registry.collect())

    collectors = [threading.Thread(target=collect) for _ in range(2)]
    for collector in collectors:
        collector.start()
    in_threads(work)
    done.set()
    for collector in collectors:
        collector.join()
    last = registry.collect()
    events = sum(len(events) for _readings, events in [*collected, last])
    gauges = [r.value for r in last[0] if r.name == "g"]
    totals = summed(
        (tuple(r for r in readings if r.name != "g"), ())
        for readings, _events in [*collected, last]
    )
    lost = totals.pop(("nilometer.lost", (("reason", "buffer_full"), ("what", "events"))), 0)

    assert totals == {
        ("c", ()): 2 * THREADS * CALLS,
        ("t", ()): complex(THREADS * CALLS, THREADS * sum(range(CALLS))),
        ("t", (("x", "1"),)): complex(THREADS * CALLS, 0),
    }
    assert gauges == [THREADS * CALLS]
    assert events + lost == THREADS * CALLS


def test_instruments_and_series_made_at_once_are_made_once(registry, switching_often):
    def work():
        for n in range(200):
            registry.counter(f"c{n}").bind(a=n % 7).add()
            registry.timer(f"t{n}").bind(a=n % 7).record(1)

    in_threads(work)
    values = moved(registry)

    assert values == {
        **{(f"c{n}", f"a={n % 7}"): THREADS for n in range(200)},
        **{(f"t{n}", f"a={n % 7}"): (THREADS, THREADS) for n in range(200)},
    }


def test_values_by_thread_bear_the_threads_name(registry):
    counter = registry.counter("c", per_thread=True)
    timer = registry.timer("t", per_thread=True)
    gauge = registry.gauge("g", per_thread=True)
    wrapped = timer.bind(x=1)(lambda: None)

    def work():
        counter.add(2)
        counter.bind(x=1).add(3)
        gauge.set(1)
        gauge.add(1)
        wrapped()
        with contextlib.suppress(KeyError), timer.lap():
            raise KeyError

    in_threads(work, 2)
    work()
    names = ["MainThread", "worker-0", "worker-1"]

    assert moved(registry) == {
        **{("c", f"thread={name}"): 2 for name in names},
        **{("c", f"thread={name}", "x=1"): 3 for name in names},
        **{("g", f"thread={name}"): 2 for name in names},
        **{("t", f"thread={name}"): (1, 0) for name in names},
        **{("t", f"thread={name}", "x=1"): (1, 0) for name in names},
        **{("t.errors", "error.type=KeyError", f"thread={name}"): 1 for name in names},
    }


def by_name(registry, names):
    """What a collect gives of values by thread, without the errors."""
    return {key: value for key, value in moved(registry).items() if key[0] in names}


def test_series_of_threads_that_ended_are_given_back_with_all_that_they_took(core):
    registry = Registry(core=core, series_max=10)
    made = [
        registry.timer("t", per_thread=True).record,
        registry.counter("c", per_thread=True).bind(x=1).add,
        registry.gauge("g", per_thread=True).set,
    ]

    def lasting(turn, done):
        for _ in range(5):
            turn.wait()
            made[1](1)
            done.wait()

    turn, done = threading.Barrier(2), threading.Barrier(2)
    worker = threading.Thread(target=lasting, args=(turn, done), name="lasting")
    worker.start()
    collected, bytes_used = [], []
    for i in range(5):
        for n in range(8):
            for use in made:
                one = threading.Thread(target=use, args=(n + 1,), name=f"{i}-{n}")
                one.start()
                one.join()
        turn.wait()
        done.wait()
        collected.append(by_name(registry, "tcg"))
        bytes_used.append(registry.arena.bytes_used)
    worker.join()

    assert collected == [
        {
            **{("t", f"thread={i}-{n}"): (1, n + 1) for n in range(8)},
            **{("c", f"thread={i}-{n}", "x=1"): n + 1 for n in range(8)},
            ("c", "thread=lasting", "x=1"): 1,
            **{("g", f"thread={i}-{n}"): n + 1 for n in range(8)},
        }
        for i in range(5)
    ]
    assert len(set(bytes_used)) == 1
    assert by_name(registry, "tcg") == {}
    assert sum(one.overflowed for one in registry.instruments()) == 0


def test_threads_of_one_name_share_a_series_until_the_last_has_ended(registry):
    counter = registry.counter("c", per_thread=True)
    go, came = threading.Event(), threading.Event()

    def waits():
        counter.add()
        came.set()
        go.wait()
        counter.add()

    first = threading.Thread(target=waits, name="w")
    first.start()
    came.wait()
    second = threading.Thread(target=counter.add, name="w")
    second.start()
    second.join()
    between = [by_name(registry, "c") for _ in range(3)]
    go.set()
    first.join()

    assert between == [{("c", "thread=w"): 2}, {}, {}]
    assert [by_name(registry, "c") for _ in range(2)] == [{("c", "thread=w"): 1}, {}]
    assert [one.series for one in registry.instruments() if one.name == "c"] == [0]


ONE_THREAD = """
import sys
before, library = sys.argv[1:]
if before == "before":
    import nilometer.measure
    early = nilometer.measure.counter("early", per_thread=True)
if library == "gevent":
    from gevent import monkey, spawn, joinall, get_hub
    monkey.patch_all()
    native = lambda run: get_hub().threadpool.apply(run)
else:
    import eventlet, eventlet.tpool
    eventlet.monkey_patch()
    spawn, native = eventlet.spawn, lambda run: eventlet.tpool.execute(run)
    joinall = lambda green: [one.wait() for one in green]
from threading import Thread
from nilometer.measure import REGISTRY, counter
if before != "before":
    early = counter("early", per_thread=True)
late = counter("late", per_thread=True)

def use():
    early.add()
    late.add()

joinall([spawn(use) for _ in range(5)])
threads = [Thread(target=use) for _ in range(5)]
[one.start() for one in threads]
[one.join() for one in threads]
native(use)
for reading in REGISTRY.collect()[0]:
    thread = dict(reading.dimensions)["thread"]
    print(reading.name, "MainThread" if thread == "MainThread" else "other", reading.value)
"""


@pytest.mark.parametrize("pure", ["", "1"], ids=["c", "python"])
@pytest.mark.parametrize("imported", ["before", "after"])
@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_greenlets_are_their_threads(library, imported, pure):
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ONE_THREAD, imported, library],
        env={**os.environ, "NILOMETER_PURE_PYTHON": pure},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.stdout.splitlines() == [
        "early MainThread 10",
        "early other 1",
        "late MainThread 10",
        "late other 1",
    ], ended.stderr


@pytest.mark.parametrize("taken_before", [0, 1, 2])
def test_a_thread_that_begins_and_ends_while_others_are_taken_loses_nothing(
    registry, taken_before
):
    counter = registry.counter("c", per_thread=True)

    def count():
        for name in "ab":
            thread = threading.Thread(target=counter.add, name=name)
            thread.start()
            thread.join()

    count()
    taking = registry._instruments["c"].taken()
    values = [next(taking)[1] for _ in range(taken_before)]
    count()
    values += [value for _, value in taking]

    assert sum(values) + sum(by_name(registry, "c").values()) == 4


def test_threads_beyond_the_bound_share_the_overflow(registry):
    registry.series_max = 2
    counter = registry.counter("c", per_thread=True)
    for name in "abcd":
        thread = threading.Thread(target=counter.add, name=name)
        thread.start()
        thread.join()

    assert moved(registry) == {
        ("nilometer.series.overflow", "instrument=c"): 2,
        ("c", "thread=a"): 1,
        ("c", "thread=b"): 1,
        ("c", "otel.metric.overflow=true"): 2,
    }


def test_tasks_count_exactly(registry):
    counter, timer = registry.counter("c"), registry.timer("t")

    @timer
    async def work(n):
        counter.add()
        await asyncio.sleep(0)
        with timer.bind(lap=1).lap():
            await asyncio.sleep(0)
        return n

    async def main():
        return sum(await asyncio.gather(*map(work, range(500))))

    assert asyncio.run(main()) == sum(range(500))
    assert moved(registry) == {("c",): 500, ("t",): (500, 0), ("t", "lap=1"): (500, 0)}


def in_child(work):
    """Run in a forked child; give what it sends back."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    pid = os.fork()
    if pid == 0:
        status = 1
        with contextlib.suppress(BaseException):
            sender.send(work())
            status = 0
        os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return receiver.recv()


def test_a_forked_child_starts_from_zero_and_the_parent_goes_on(registry):
    counter, timer, gauge = registry.counter("c"), registry.timer("t"), registry.gauge("g")

    def work():
        counter.add()
        counter.bind(x=1).add()
        timer.record(5)
        gauge.add(1)
        registry.event("e")

    work()
    work()

    def child():
        work()
        return moved(registry), len(registry.collect()[1])

    in_the_child = in_child(child)
    once = {("c",): 1, ("c", "x=1"): 1, ("t",): (1, 5), ("g",): 1}

    assert in_the_child == (once, 0)
    assert moved(registry) == {("c",): 2, ("c", "x=1"): 2, ("t",): (2, 10), ("g",): 2}


def test_a_child_forked_while_another_thread_collects_is_not_stuck(registry):
    entered, leave = threading.Event(), threading.Event()
    registry.gauge("slow", read=lambda: (entered.set(), leave.wait(20), 1)[2])
    collecting = threading.Thread(target=registry.collect)
    collecting.start()
    entered.wait(20)
    leave_in_child = leave.set

    def child():
        leave_in_child()
        registry.counter("made.in.child").add()
        return moved(registry)

    try:
        seen = in_child(child)
    finally:
        leave.set()
        collecting.join()

    assert seen == {("slow",): 1, ("made.in.child",): 1}


GREENLETS = """
import sys
{patch}
from importlib import import_module
import threading
from nilometer.measure import Registry
registry = Registry(core=import_module(sys.argv[1]))
counter, timer = registry.counter("c"), registry.timer("t")
by_thread = registry.counter("by", per_thread=True)
registry.gauge("yields", read=lambda: (pause(), 1)[1])

@timer
def work(n):
    counter.add()
    by_thread.add()
    pause()
    with timer.bind(lap=1).lap():
        pause()
    return n

collected = []

def collect(_):
    for _ in range(5):
        collected.append(registry.collect())
        pause()

assert sum(spawn_all(work, 200) [:200]) == sum(range(200))
spawn_all(collect, 3)
collected.append(registry.collect())
totals = {{}}
for readings, _ in collected:
    for r in readings:
        v = r.value if isinstance(r.value, int) else r.value.samples
        totals[r.name] = totals.get(r.name, 0) + v
del totals["yields"]
print(totals)
"""

EVENTLET = """
import eventlet
eventlet.monkey_patch()
pause = lambda: eventlet.sleep(0)
def spawn_all(f, n):
    return [t.wait() for t in [eventlet.spawn(f, i) for i in range(n)]]
"""

GEVENT = """
from gevent import monkey
monkey.patch_all()
import gevent
pause = lambda: gevent.sleep(0)
def spawn_all(f, n):
    return [t.get() for t in [gevent.spawn(f, i) for i in range(n)]]
"""


@pytest.mark.parametrize("patch", [EVENTLET, GEVENT], ids=["eventlet", "gevent"])
def test_greenlets_count_exactly(core, patch):
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", GREENLETS.format(patch=patch), core.__name__],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ran.stdout, ran.stderr) == ("{'c': 200, 't': 400, 'by': 200}\n", "")


def test_a_signal_handler_may_record_and_collect_in_the_middle_of_recording(core):
    script = """
import signal, sys
from importlib import import_module
from nilometer.measure import Registry
registry = Registry(core=import_module(sys.argv[1]))
counter, timer = registry.counter("c"), registry.timer("t")
collected, rang = [], 0

def ring(*_):
    global rang
    rang += 1
    counter.add()
    timer.record(1)
    collected.append(registry.collect())

signal.signal(signal.SIGALRM, ring)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
for n in range(50_000):
    counter.add()
    timer.record(n)
signal.setitimer(signal.ITIMER_REAL, 0)
collected.append(registry.collect())
totals = [0, 0]
for readings, _ in collected:
    for r in readings:
        if r.name == "c": totals[0] += r.value
        if r.name == "t": totals[1] += r.value.samples
assert totals == [50_000 + rang] * 2, (totals, rang)
assert rang > 1
"""
    ran = subprocess.run(
        [sys.executable, "-c", script, core.__name__],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ran.returncode, ran.stderr) == (0, "")


BREAKS = ("CALL", "PRECALL", "JUMP_BACKWARD", "SEND", "FOR_ITER")  # where CPython may switch


@pytest.mark.parametrize(
    ("function", "attribute"),
    [
        (pure.Counter.add, "_value"),
        (pure.Counter.add, "_ones"),
        (pure.Counter.take, "_seen"),
        (pure.Gauge.add, "_value"),
        (pure.Timer.fold, "_pending"),
    ],
)
def test_in_python_no_thread_can_come_between_reading_and_writing(function, attribute):
    """The bytecode is asked: by chance, threads would meet in the gap once in a million."""
    straight, between = [], []
    for one in dis.get_instructions(function):
        if one.opname in {"LOAD_ATTR", "STORE_ATTR"} and one.argval == attribute:
            if one.opname == "STORE_ATTR":
                straight.append([op for op in between if op.startswith(BREAKS)])
            between = []
        elif one.opname == "RAISE_VARARGS":  # what was between does not lead to the store
            while between and not between[-1].startswith("POP_JUMP"):
                between.pop()
        else:
            between.append(one.opname)

    assert straight
    assert not any(straight)
