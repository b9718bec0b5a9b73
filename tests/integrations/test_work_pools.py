"""How many members of a pool are used and free, and what waits for one, whatever the pool."""

import asyncio
import gc
import os
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.thread import _WorkItem
from importlib import import_module
from multiprocessing import get_context

import pytest

from nilometer.integrations import process_pools, thread_pools
from tests.integrations.integration_kit import read

HERE = __name__


def gauges(registry, kind="thread_pool", name=None):
    """(used, free, waiting) of the pool of this name, or of all by their names."""
    values = read(registry)
    found = {}
    for what in ("used", "free", "waiting"):
        for pool, value in values.get(f"{kind}.{what}", {}).items():
            found.setdefault(pool.removeprefix("pool="), {})[what] = value
    told = {pool: tuple(one.values()) for pool, one in found.items()}
    return told if name is None else told.get(name)


@pytest.fixture
def installed(registry):
    assert thread_pools.install(registry=registry)
    yield
    thread_pools.uninstall()


def busy(pool, works):
    """Works that last until an event, as many as there are threads having begun."""
    goes_on, begun = threading.Event(), threading.Semaphore(0)

    def work():
        begun.release()
        goes_on.wait(60)

    futures = [pool.submit(work) for _ in range(works)]
    for _ in range(min(works, pool._max_workers)):
        assert begun.acquire(timeout=60)
    return goes_on, futures


def test_threads_at_work_and_free_are_told_and_what_waits(installed, registry):
    with ThreadPoolExecutor(3, "mail") as pool:
        before = gauges(registry)
        goes_on, futures = busy(pool, 2)
        some = gauges(registry)
        more, others = busy(pool, 1)
        waiting = [pool.submit(int) for _ in range(4)]
        waiting.pop().cancel()
        full = gauges(registry)
        goes_on.set()
        more.set()
        for one in (*futures, *others, *waiting):
            one.result()
    after = gauges(registry)

    assert (before, some) == ({"mail": (0, 3, 0)}, {"mail": (2, 1, 0)})
    assert full == {"mail": (3, 0, 4)}  # what is cancelled waits to be dropped
    assert after == {"mail": (0, 0, 0)}  # shut down


def test_a_work_that_raises_frees_its_thread(installed, registry):
    def fails():
        raise LookupError("mine")

    with ThreadPoolExecutor(1, "mail") as pool:
        with pytest.raises(LookupError, match="mine"):
            pool.submit(fails).result()
        pool.submit(int).result()  # behind it: its thread is free by then
        pool.shutdown()
        assert gauges(registry) == {"mail": (0, 0, 0)}


def test_pools_of_one_name_are_one_series_and_those_collected_have_no_part(installed, registry):
    first, second = ThreadPoolExecutor(1, "mail"), ThreadPoolExecutor(2, "mail")
    other, unnamed = ThreadPoolExecutor(4, "other"), ThreadPoolExecutor(8)
    together = gauges(registry)
    del second, other
    gc.collect()
    one_less = gauges(registry)
    last = gauges(registry)

    assert together == {
        "mail": (0, 3, 0),
        "other": (0, 4, 0),
        "ThreadPoolExecutor": (0, 8, 0),
    }
    assert one_less["mail"] == (0, 1, 0)
    assert "other" not in last
    assert None not in (first, unnamed)


def test_asyncio_s_own_threads_are_a_pool(installed, registry):
    goes_on, begun = threading.Event(), threading.Event()

    def work():
        begun.set()
        goes_on.wait(60)

    async def main():
        works = asyncio.get_running_loop().run_in_executor(None, work)
        assert begun.wait(60)
        told = gauges(registry, name="asyncio")
        goes_on.set()
        await works
        return told

    used, _, waiting = asyncio.run(main())

    assert (used, waiting) == (1, 0)


def test_a_pool_that_was_made_before_is_known_by_its_threads(registry):
    with ThreadPoolExecutor(2, "early") as pool:
        pool.submit(int).result()
        thread_pools.install(registry=registry)
        told = gauges(registry)
        thread_pools.uninstall()

    assert told == {"early": (0, 2, 0)}


def test_a_forked_child_has_none_of_its_parent_s_threads_at_work(installed, registry):
    with ThreadPoolExecutor(2, "mail") as pool:
        goes_on, _ = busy(pool, 2)
        child = os.fork()
        if not child:
            code = 1
            try:
                code = 0 if gauges(registry, name="mail")[0] == 0 else 2
            finally:
                os._exit(code)
        status = os.waitpid(child, 0)[1]
        goes_on.set()

    assert status == 0


def test_at_level_off_pools_tell_nothing(installed, registry):
    with ThreadPoolExecutor(2, "mail"):
        registry.set_level("integrations.thread_pools", "off")
        off = gauges(registry)
        registry.set_level("integrations.thread_pools", "basic")
        assert (off, gauges(registry)) == ({}, {"mail": (0, 2, 0)})


def test_a_pool_that_is_built_otherwise_works_as_ever(installed, registry):
    class Mine(ThreadPoolExecutor):
        def __init__(self):
            super().__init__(1)
            del self._max_workers  # as another version may
            self._max_workers_of_mine = 1

        def _adjust_thread_count(self):
            self._max_workers = 1
            super()._adjust_thread_count()
            del self._max_workers

    with Mine() as pool:
        told = gauges(registry)
        assert pool.submit(int, "7").result() == 7

    assert told == {}


def test_uninstalling_leaves_nothing_behind(registry):
    before = ThreadPoolExecutor.__init__, _WorkItem.run, ProcessPoolExecutor.__init__
    for one in (thread_pools, process_pools):
        assert (one.install(registry=registry), one.install(registry=registry)) == (True, False)
    with ThreadPoolExecutor(1, "mail") as pool:
        goes_on, _ = busy(pool, 1)
        thread_pools.uninstall()
        process_pools.uninstall()
        told = gauges(registry)
        goes_on.set()

    assert (ThreadPoolExecutor.__init__, _WorkItem.run, ProcessPoolExecutor.__init__) == before
    assert (told, registry.followers) == ({}, [])


def wait_for(barrier, event):
    barrier.wait(60)
    event.wait(60)


def test_processes_at_work_and_free_are_told_and_what_waits(registry):
    assert process_pools.install(registry=registry)
    context = get_context("fork")
    with context.Manager() as manager:
        barrier, event = manager.Barrier(3), manager.Event()
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            before = gauges(registry, "process_pool")
            works = [pool.submit(wait_for, barrier, event) for _ in range(2)]
            barrier.wait(60)
            more = [pool.submit(int) for _ in range(3)]
            full = gauges(registry, "process_pool")
            event.set()
            for one in (*works, *more):
                one.result()
    process_pools.uninstall()
    name = f"{HERE}:test_processes_at_work_and_free_are_told_and_what_waits"

    assert (before, full) == ({name: (0, 2, 0)}, {name: (2, 0, 3)})


# --- Green pools -----------------------------------------------------------------------------


@pytest.fixture(params=["eventlet", "gevent"])
def green(request, registry):
    integration = import_module(f"nilometer.integrations.{request.param}_pools")
    assert integration.install(registry=registry)
    assert not integration.install(registry=registry)
    yield import_module(request.param)
    integration.uninstall()
    assert registry.followers == []


def made(green, size):
    if green.__name__ == "eventlet":
        return green.GreenPool(size)
    return import_module("gevent.pool").Pool(size)


def test_greenlets_at_work_and_free_are_told_and_who_waits(green, registry):
    pool = made(green, 2)
    before = gauges(registry, "green_pool")
    done = []
    held = [pool.spawn(green.sleep, 0.01) for _ in range(2)]
    waiting = [green.spawn(pool.spawn, done.append, number) for number in range(3)]
    green.sleep(0)
    full = gauges(registry, "green_pool")
    for one in (*held, *waiting):
        one.wait() if green.__name__ == "eventlet" else one.join()
    pool.waitall() if green.__name__ == "eventlet" else pool.join()
    after = gauges(registry, "green_pool")
    name = f"{HERE}:made"

    assert before == after == {name: (0, 2, 0)}
    assert full == {name: (2, 0, 3)}


@pytest.mark.slow
def test_green_pools_that_are_collected_have_no_part(green, registry):
    pools = [made(green, 2), made(green, 3)]
    both = gauges(registry, "green_pool", f"{HERE}:made")
    pools.pop()
    gc.collect()
    one = gauges(registry, "green_pool", f"{HERE}:made")
    pools.clear()
    gc.collect()
    gauges(registry)

    assert (both, one) == ((0, 5, 0), (0, 2, 0))
    assert gauges(registry, "green_pool") == {}


def test_a_pile_of_eventlet_s_has_a_pool(registry):
    import eventlet

    from nilometer.integrations import eventlet_pools

    eventlet_pools.install(registry=registry)
    pile = eventlet.GreenPile(4)
    pile.spawn(eventlet.sleep, 0)
    told = gauges(registry, "green_pool")
    list(pile)
    eventlet_pools.uninstall()

    assert told == {f"{HERE}:test_a_pile_of_eventlet_s_has_a_pool": (1, 3, 0)}


@pytest.fixture
def gevent_installed(registry):
    from nilometer.integrations import gevent_pools, gevent_threads

    assert gevent_pools.install(registry=registry)
    assert gevent_threads.install(registry=registry)
    yield import_module("gevent.pool")
    gevent_pools.uninstall()
    gevent_threads.uninstall()


def test_a_pool_of_gevent_s_that_is_full_or_not_free_in_time_is_counted(
    gevent_installed, registry
):
    import gevent

    pool = gevent_installed.Pool(1)
    pool.spawn(gevent.sleep, 0.01)
    for asked in ({"blocking": False}, {"timeout": 0.001}):
        with pytest.raises(gevent_installed.PoolFull):
            pool.add(gevent.Greenlet(int), **asked)
    pool.join()
    name = f"{HERE}:test_a_pool_of_gevent_s_that_is_full_or_not_free_in_time_is_counted"

    assert read(registry)["pool.timeouts"] == {f"pool={name}": 2}


def test_a_pool_of_gevent_s_without_a_limit_has_none_free(gevent_installed, registry):
    pool = gevent_installed.Pool()
    name = f"{HERE}:test_a_pool_of_gevent_s_without_a_limit_has_none_free"

    assert gauges(registry, "green_pool") == {name: (0,)}
    assert pool.size is None


def test_gevent_s_threads_are_a_pool_of_threads(gevent_installed, registry):
    import gevent

    hub = gevent.get_hub()
    if hub._threadpool is not None:  # of a test before
        hub.threadpool.kill()
        hub._threadpool = None
    goes_on = threading.Event()
    result = hub.threadpool.spawn(goes_on.wait, 60)
    told = gauges(registry, name="gevent")
    goes_on.set()
    result.get()

    assert told == (1, hub.threadpool_size - 1, 0)


@pytest.mark.parametrize("module", ["gevent.threadpool", "gevent.pool"])
def test_pools_of_gevent_s_are_known_in_whatever_order_their_modules_come(module):
    """One imports the other halfway, and is not complete then."""
    program = (
        "import nilometer\n"
        "nilometer.configure(integrations=['gevent_pools', 'gevent_threads'], export=[])\n"
        f"import {module}, gevent.pool, gevent.threadpool\n"
        "print(hasattr(gevent.pool.Pool.__init__, '__wrapped__'),"
        " hasattr(gevent.threadpool.ThreadPool.__init__, '__wrapped__'))\n"
    )

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert (ended.stdout, ended.stderr) == ("True True\n", "")
