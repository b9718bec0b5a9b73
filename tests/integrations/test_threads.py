"""Thread pools: the span goes with the work, waiting and running are timed apart."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

import pytest

import nilometer.trace as trace
from nilometer.integrations import threads
from nilometer.trace import Trace, drain_spans, start_root
from tests.integrations.integration_kit import read, shape


@pytest.fixture(autouse=True)
def _installed(registry):
    threads.install(registry=registry)
    yield
    threads.uninstall()


def work(number):
    with trace.span(f"work{number}"):
        return trace.current_trace_id()


def test_work_in_a_pool_belongs_to_the_trace_of_who_submitted_it():
    with ThreadPoolExecutor(2) as pool:
        with start_root("one", request=Trace(b"1" * 16)):
            ids = list(pool.map(work, range(2)))
        outside = pool.submit(work, 3).result()

    assert ids == [(b"1" * 16).hex()] * 2
    assert outside is None
    assert sorted(shape(drain_spans())) == [
        ("one", "", "UNSET"),
        ("work0", "one", "UNSET"),
        ("work1", "one", "UNSET"),
    ]


def test_run_in_executor_belongs_to_the_trace_of_its_task():
    async def main():
        with start_root("task", request=Trace(os.urandom(16))):
            await asyncio.get_running_loop().run_in_executor(None, work, 0)
            await asyncio.to_thread(work, 1)

    asyncio.run(main())

    assert shape(drain_spans()) == [
        ("work0", "task", "UNSET"),
        ("work1", "task", "UNSET"),
        ("task", "", "UNSET"),
    ]


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_a_greenlet_belongs_to_the_trace_of_who_spawned_it(library):
    integration = import_module(f"nilometer.integrations.{library}")
    green = import_module(library)
    integration.install()
    with start_root("one", request=Trace(b"1" * 16)):
        spawned = green.spawn(work, 0)
    spawned.join() if library == "gevent" else spawned.wait()
    integration.uninstall()
    outside = green.spawn(work, 1)
    outside.join() if library == "gevent" else outside.wait()

    assert shape(drain_spans()) == [("one", "", "UNSET"), ("work0", "one", "UNSET")]


def test_waiting_and_running_are_timed_by_pool(registry):
    def fail():
        raise LookupError("mine")

    with ThreadPoolExecutor(1) as unnamed, ThreadPoolExecutor(1, "mail") as named:
        unnamed.submit(int).result()
        assert named.submit(int, "7", base=8).result() == 7
        with pytest.raises(LookupError, match="mine"):
            named.submit(fail).result()

    both = {"pool=ThreadPoolExecutor": 1, "pool=mail": 2}
    assert read(registry) == {
        "thread_pool.wait": both,
        "thread_pool.run": both,
        "thread_pool.run.errors": {"error.type=LookupError,pool=mail": 1},
    }


def test_a_pool_whose_name_is_no_text_works_as_without_us(registry):
    with ThreadPoolExecutor(1, 7) as pool:
        assert pool.submit(int, "7").result() == 7

    assert read(registry)["thread_pool.run"] == {"pool=7": 1}


def test_off_passes_on_untouched_what_is_submitted(registry):
    registry.set_level("integrations.threads", "off")
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(int, "7").result() == 7
    registry.set_level("integrations.threads", "basic")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()

    once = {"pool=ThreadPoolExecutor": 1}
    assert read(registry) == {"thread_pool.wait": once, "thread_pool.run": once}


def test_what_is_submitted_takes_arguments_of_any_name():
    given = {"self": 1, "pool": 2, "function": 3, "args": 4}
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(dict, **given).result() == given


def test_uninstalling_leaves_nothing_behind(registry):
    threads.uninstall()
    before = ThreadPoolExecutor.submit
    assert (threads.install(registry=registry), threads.install(registry=registry)) == (
        True,
        False,
    )
    threads.uninstall()

    assert ThreadPoolExecutor.submit is before


def test_work_of_which_we_fail_to_know_runs_without_us(registry, monkeypatch):
    def failing(prefix):
        raise RuntimeError(prefix)

    monkeypatch.setattr(threads, "pool_name", failing)
    with ThreadPoolExecutor(1, "mail") as pool:
        done = pool.submit(max, 1, 7).result()

    assert done == 7
    assert read(registry)["nilometer.lost"] != {}
