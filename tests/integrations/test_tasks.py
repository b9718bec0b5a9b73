"""Tasks of threads: waited and ran, by what they run; and what a header of Celery's says."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing import pool
from multiprocessing.pool import ThreadPool

import pytest

import nilometer.trace as trace
from nilometer.integrations import celery_sent, multiprocessing_pool, task_costs
from nilometer.integrations import threading as our_threading
from nilometer.integrations.tasks import name_of
from nilometer.measure import REGISTRY, overhead
from nilometer.testing import FakeTime
from nilometer.trace import CURRENT
from tests.integrations.integration_kit import read, shape, traced_request

HERE = __name__


@pytest.fixture(autouse=True)
def _installed(registry):
    assert our_threading.install(registry=registry)
    assert multiprocessing_pool.install(registry=registry)
    yield
    our_threading.uninstall()
    multiprocessing_pool.uninstall()


def work(number=0):
    with trace.span(f"work{number}"):
        return number


class Own(threading.Thread):
    def run(self):
        work()


class Callable:
    def __call__(self):
        work()

    def method(self):
        work()


def run(thread):
    thread.start()
    thread.join()


def named(*names, kind="thread"):
    return {f"code.function.name={HERE}.{name},task.kind={kind}": 1 for name in names}


def test_a_thread_waits_and_runs_by_the_name_of_what_it_runs(registry):
    for target in (work, partial(work, 1), Callable(), Callable().method):
        run(threading.Thread(target=target))
    run(Own())

    names = {**named("Callable", "Callable.method", "Own.run"), **named("work")}
    names = dict(sorted(names.items()))
    names[f"code.function.name={HERE}.work,task.kind=thread"] = 2
    assert read(registry) == {"task.run": names, "task.wait": names}


def test_a_timer_waits_from_when_it_is_due_and_one_that_is_cancelled_is_no_task(registry):
    run(threading.Timer(0.05, work))
    cancelled = threading.Timer(60, work)
    cancelled.start()
    cancelled.cancel()
    cancelled.join()

    waits, runs = sorted(registry.collect()[0], key=lambda one: one.name, reverse=True)
    assert (waits.name, waits.value.samples, runs.value.samples) == ("task.wait", 1, 1)
    assert waits.dimensions == (
        ("code.function.name", f"{HERE}.work"),
        ("task.kind", "thread"),
    )


def test_a_timer_passes_arguments_of_any_name_on_and_keeps_its_function(registry):
    gave = []

    def keep(**named):
        gave.append(named)

    given = {"self": 1, "function": 2, "thread": 3}
    timer = threading.Timer(0.05, keep, kwargs=given)
    timer.start()
    function_meanwhile = timer.function
    timer.join()

    assert (function_meanwhile, timer.function, gave) == (keep, keep, [given])
    name = (
        f"{HERE}.{test_a_timer_passes_arguments_of_any_name_on_and_keeps_its_function.__name__}"
    )
    assert read(registry)["task.run"] == {f"code.function.name={name}.keep,task.kind=thread": 1}


def test_a_timer_whose_function_is_set_while_it_waits_calls_that_one():
    ran = []
    timer = threading.Timer(0.05, ran.append, ["first"])
    timer.start()
    timer.function = lambda _: ran.append("other")
    timer.join()

    assert ran == ["other"]


def test_what_others_have_put_around_a_timer_runs_as_ever(registry):
    ran = []
    timer = threading.Timer(0, ran.append, ["due"])
    inner = timer.run
    timer.run = theirs = lambda: (ran.append("theirs"), inner())
    run(timer)

    assert (ran, timer.run) == (["theirs", "due"], theirs)
    assert read(registry) == {}


@pytest.mark.parametrize("error", [LookupError, SystemExit])
def test_what_a_thread_raises_goes_to_the_excepthook_as_ever(registry, monkeypatch, error):
    heard = []
    monkeypatch.setattr(threading, "excepthook", lambda told: heard.append(told))

    def fail():
        raise error(1)

    thread = threading.Thread(target=fail)
    run(thread)

    (told,) = heard
    assert (told.exc_type, told.exc_value.args, told.thread) == (error, (1,), thread)
    name = f"{HERE}.{test_what_a_thread_raises_goes_to_the_excepthook_as_ever.__name__}.fail"
    dimensions = f"code.function.name={name},error.type={error.__name__},task.kind=thread"
    assert read(registry)["task.run.errors"] == {dimensions: 1}


def test_a_thread_that_exits_without_a_fault_has_not_failed(registry, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda told: None)  # pytest's is stricter
    run(threading.Thread(target=sys.exit))

    assert read(registry).keys() == {"task.wait", "task.run"}


def test_a_thread_of_a_traced_request_is_a_span_of_it_and_a_daemon_is_not():
    with traced_request() as spans:
        run(threading.Thread(target=work))
        run(threading.Timer(0, work, [1]))
        run(threading.Thread(target=work, args=[2], daemon=True))

    assert shape(spans) == [
        ("work0", f"run {HERE}.work", "UNSET"),
        (f"run {HERE}.work", "request", "UNSET"),
        ("work1", f"run {HERE}.work", "UNSET"),
        (f"run {HERE}.work", "request", "UNSET"),
        ("request", "", "UNSET"),
    ]


def test_deep_down_a_thread_s_span_says_where_it_was_started(registry):
    registry.set_level("integrations.threading", "deep")
    with traced_request() as spans:
        threading.Thread(target=work).start()
        threading.Timer(0, work, [1]).start()
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()

    places = [
        (span.attributes["code.file.path"], span.attributes["code.function.name"])
        for span in spans
        if span.name == f"run {HERE}.work"
    ]
    here = "test_deep_down_a_thread_s_span_says_where_it_was_started"
    assert places == [("tests/integrations/test_tasks.py", here)] * 2


def test_what_is_said_of_a_thread_is_true_of_it_while_it_runs():
    seen = {}

    def look():
        seen.update(vars(threading.current_thread()))

    run(threading.Thread(target=look))

    assert "run" not in seen


def test_what_others_have_put_around_a_threads_function_stays(registry):
    ran = []
    thread = threading.Thread(target=work)
    inner = thread.run
    thread.run = theirs = lambda: ran.append(inner())
    run(thread)

    assert (ran, thread.run) == ([None], theirs)
    assert read(registry)["task.run"] == named("work")


def test_threads_of_pools_are_nobodys_tasks_and_stay_out_of_the_request(registry):
    inside = []
    with traced_request() as spans, ThreadPoolExecutor(1) as workers:
        workers.submit(lambda: inside.append(CURRENT.get())).result()

    assert inside == [None]
    assert shape(spans) == [("request", "", "UNSET")]
    assert read(registry) == {}


def test_a_thread_that_cannot_start_is_left_as_it_was():
    thread = threading.Thread(target=work)
    run(thread)
    REGISTRY.collect()
    with pytest.raises(RuntimeError, match="once"):
        thread.start()

    assert "run" not in vars(thread)
    assert "nilometer.lost" not in read(REGISTRY)


def test_a_thread_whose_function_we_cannot_tell_runs_all_the_same(monkeypatch):
    def broken(*_):
        raise LookupError("ours")

    monkeypatch.setattr(our_threading.Tasks, "calling", broken)
    REGISTRY.collect()
    ran = []
    run(threading.Thread(target=ran.append, args=[1]))

    assert ran == [1]
    assert read(REGISTRY)["nilometer.lost"] == {"reason=unreadable,what=attributes": 1}


def test_a_pool_of_threads_runs_what_it_is_given_in_its_request(registry):
    with traced_request() as spans, ThreadPool(1) as workers:
        assert workers.apply(work, [0]) == 0
        assert workers.map(work, [1, 2], chunksize=2) == [1, 2]

    assert shape(spans) == [
        *(
            one
            for number in range(3)
            for one in (
                (f"work{number}", f"run {HERE}.work", "UNSET"),
                (f"run {HERE}.work", "request", "UNSET"),
            )
        ),
        ("request", "", "UNSET"),
    ]
    name = f"code.function.name={HERE}.work,task.kind=thread_pool"
    assert read(registry) == {"task.wait": {name: 2}, "task.run": {name: 3}}


def test_deep_down_a_pool_of_threads_says_where_it_was_given_what_it_runs(registry):
    registry.set_level("integrations.multiprocessing_pool", "deep")
    with traced_request() as spans, ThreadPool(1) as workers:
        workers.apply(work, [0])
        workers.map(work, [1, 2], chunksize=2)

    places = [
        (span.attributes["code.file.path"], span.attributes["code.function.name"])
        for span in spans
        if span.name == f"run {HERE}.work"
    ]
    here = test_deep_down_a_pool_of_threads_says_where_it_was_given_what_it_runs.__name__
    assert places == [("tests/integrations/test_tasks.py", here)] * 3


def test_off_measures_no_thread_and_no_pool(registry):
    for name in ("threading", "multiprocessing_pool"):
        registry.set_level(f"integrations.{name}", "off")
    with traced_request() as spans, ThreadPool(1) as workers:
        run(threading.Thread(target=work))
        workers.map(work, [1])

    assert shape(spans) == [("request", "", "UNSET")]
    assert read(registry) == {}


def test_a_name_is_that_of_the_function_whatever_is_around_it():
    assert [
        name_of(one) for one in (partial(partial(work), 1), Own, Callable(), time.sleep)
    ] == [*(f"{HERE}.work", f"{HERE}.Own", f"{HERE}.Callable", "time.sleep")]


GREEN = """
import sys
from nilometer.integrations import threading as ours
from nilometer.measure import Registry
registry = Registry()
ours.install(registry=registry)
if sys.argv[1] == "gevent":
    from gevent import monkey
    monkey.patch_all()
else:
    import eventlet
    eventlet.monkey_patch()
import threading, time
threads = [threading.Thread(target=time.sleep, args=[0.01]) for _ in range(3)]
for one in threads: one.start()
for one in threads: one.join()
for one in registry.collect()[0]: print(one.name, one.value.samples)
"""


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_threads_that_became_green_afterwards_are_measured_too(library):
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", GREEN, library], capture_output=True, text=True
    )

    assert sorted(ran.stdout.splitlines()) == ["task.run 3", "task.wait 3"], ran.stderr


def test_uninstalling_leaves_nothing_behind(registry):
    places = (
        (threading.Thread, "start"),
        *((pool.Pool, name) for name in ("apply_async", "_guarded_task_generation")),
        (pool, "worker"),
    )
    wrapped = [getattr(*place) for place in places]
    our_threading.uninstall()
    multiprocessing_pool.uninstall()

    assert all(getattr(*place) is not one for place, one in zip(places, wrapped, strict=True))
    assert [getattr(*place) for place in places] == [one.__wrapped__ for one in wrapped]
    assert registry.followers == []


def test_a_pool_that_is_built_otherwise_is_left_as_it_was(registry, monkeypatch):
    multiprocessing_pool.uninstall()
    monkeypatch.setattr(pool, "worker", lambda outqueue, inqueue: None)
    before = pool.Pool.apply_async, pool.worker
    with pytest.raises(AttributeError, match="other arguments than expected"):
        multiprocessing_pool.install(registry=registry)

    assert (pool.Pool.apply_async, pool.worker) == before


@pytest.mark.parametrize("calibrate", [task_costs.thread, task_costs.handed, task_costs.celery])
def test_what_a_task_costs_beyond_its_timers_is_found_out_and_is_nobodys_task(
    calibrate, registry
):
    assert 0 < calibrate() < 1_000_000
    assert read(registry) == {}
    assert CURRENT.get() is None


def test_a_task_is_reckoned_with_what_it_costs(registry, monkeypatch):
    monkeypatch.setitem(overhead._calibrated, task_costs.thread, 1e9)
    run(threading.Thread(target=work))
    registry.collect()

    assert registry.overhead() >= 1e9  # what else it reckons may be nothing here


# --- When a task of Celery's was sent --------------------------------------------------------


def test_a_task_waited_by_the_clock_of_the_machine_or_by_the_wall_clocks_of_two():
    fake = FakeTime()
    sent = celery_sent.sent_now(fake.clock)
    elsewhere = "00000000" + sent[8:]
    fake.step_wall(7)
    fake.advance(2)

    assert celery_sent.waited_ns(sent, None, fake.clock) == 2_000_000_000
    assert celery_sent.waited_ns(elsewhere, None, fake.clock) == 9_000_000_000


def test_a_task_that_is_due_later_waits_from_then():
    fake = FakeTime()
    sent = celery_sent.sent_now(fake.clock)
    now = datetime.fromtimestamp(fake.clock.wall_ns() / 1e9, UTC)
    fake.advance(10)
    due = (now + timedelta(seconds=7)).isoformat()

    assert celery_sent.waited_ns(sent, due, fake.clock) == pytest.approx(3e9, abs=1e4)
    later = (now + timedelta(days=1)).isoformat()
    assert celery_sent.waited_ns(sent, later, fake.clock) == 0


@pytest.mark.parametrize(
    ("sent", "eta"),
    [
        *((sent, None) for sent in (None, 7, "", "a", "a.b.c", "1.2", "x.1.1", "x" * 10_000)),
        *((f"a.1.{text}", None) for text in ("-" + "9" * 19, "9" * 40)),
        *(("a.1.1", eta) for eta in ("yesterday", "2026-01-01T00:00:00", 7)),
    ],
)
def test_what_somebody_made_up_of_when_is_no_wait(sent, eta):
    assert celery_sent.waited_ns(sent, eta, FakeTime().clock) is None


def test_a_trace_of_ours_is_taken_out_of_a_message_and_another_s_is_left_in():
    ours = {"traceparent": "00-1", "tracestate": "nilo=1", "x": 1}
    others = {"traceparent": "00-1", "tracestate": "other=1"}
    found = [celery_sent.without_trace(headers) for headers in (ours, others)]

    assert found == [{"traceparent": "00-1", "tracestate": "nilo=1"}, others]
    assert (ours, others) == ({"x": 1}, {"traceparent": "00-1", "tracestate": "other=1"})
