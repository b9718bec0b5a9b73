"""Who holds an event loop, for how long, and how long it waits: asyncio's and uvloop's."""

import asyncio
import selectors
import threading
from asyncio import base_events, events
from functools import partial
from importlib import import_module

import pytest
import uvloop

from nilometer.assembly import _current_ids
from nilometer.integrations import asyncio as asyncio_loops
from nilometer.integrations import event_loops
from nilometer.integrations import uvloop as uvloop_loops
from nilometer.measure import Registry
from nilometer.testing import FakeTime
from nilometer.trace import Trace, start_root
from tests.integrations.integration_kit import read

TWINS = {
    "python": "nilometer.integrations.loop_pure",
    "c": "nilometer.integrations._loop",
}
SLOW_S = 0.1


@pytest.fixture(params=TWINS)
def twin(request, monkeypatch):
    """Every test that asks for it runs once per twin."""
    module = import_module(TWINS[request.param])
    monkeypatch.setattr(event_loops, "core", module)
    return module


@pytest.fixture
def fake(monkeypatch):
    time = FakeTime()
    monkeypatch.setattr(event_loops, "elapsed_ns", time.clock.elapsed_ns)
    return time


@pytest.fixture
def registry(fake):
    return Registry(clock=fake.clock)


class Selector(selectors.DefaultSelector):
    """It waits for a second, as this test's clock sees it, whenever it may wait at all."""

    def __init__(self, fake):
        super().__init__()
        self._fake = fake

    def select(self, timeout=None):
        if timeout is None or timeout > 0:
            self._fake.advance(1)
        return super().select(timeout)


@pytest.fixture
def loop_factory(fake):
    return lambda: asyncio.SelectorEventLoop(Selector(fake))


@pytest.fixture
def installed(twin, registry):
    assert asyncio_loops.install(slow_callback_s=SLOW_S, registry=registry)
    yield
    asyncio_loops.uninstall()


@pytest.fixture
def uv_installed(twin, registry):
    assert uvloop_loops.install(slow_callback_s=SLOW_S, registry=registry)
    yield
    uvloop_loops.uninstall()


def run(coroutine, loop_factory=None):
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(coroutine)


def told(registry):
    """Slow callbacks as (name, line within this file, ms), and the readings' sums in ms."""
    readings, happened = registry.collect()
    slow = []
    for event in happened:
        said = event.attributes
        assert event.name == "event_loop.slow_callback"
        assert said.get("code.file.path", __file__) == __file__
        slow.append((said["code.function.name"], said["duration_ns"] // 10**6))
    sums = {
        one.name: (one.value.samples, one.value.total // 10**6)
        for one in readings
        if one.name in ("event_loop.blocked", "event_loop.callback")
    }
    return slow, sums


def test_what_holds_a_loop_is_told_by_name_file_line_and_time(installed, fake, registry):
    async def computes():
        fake.advance(0.25)

    async def main():
        await asyncio.create_task(computes())

    run(main())
    readings, happened = registry.collect()
    here = "test_what_holds_a_loop_is_told_by_name_file_line_and_time"

    assert [event.attributes for event in happened] == [
        {
            "event_loop.library": "asyncio",
            "code.function.name": f"{here}.computes",
            "code.file.path": __file__,
            "code.line.number": computes.__code__.co_firstlineno,
            "duration_ns": 250_000_000,
        }
    ]
    blocked = next(one for one in readings if one.name == "event_loop.blocked")
    assert (blocked.value.samples, blocked.value.total) == (1, 250_000_000)


class Callable:
    def __init__(self, fake):
        self.fake = fake

    def __call__(self):
        self.fake.advance(SLOW_S)


def held_by(fake, seconds):
    fake.advance(seconds)


def test_callbacks_of_all_kinds_are_called_by_their_function(installed, fake, registry):
    async def main():
        loop = asyncio.get_running_loop()
        loop.call_soon(partial(partial(held_by, fake), SLOW_S))
        loop.call_soon(held_by, fake, SLOW_S - 0.001)  # not slow
        loop.call_soon(Callable(fake))
        loop.call_soon(Callable(fake).__call__)
        future = loop.create_future()
        future.add_done_callback(lambda _: fake.advance(SLOW_S))
        future.set_result(1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    run(main())
    slow, _ = told(registry)

    here = "test_callbacks_of_all_kinds_are_called_by_their_function"
    assert slow == [
        ("held_by", 100),
        ("Callable.__call__", 100),
        ("Callable.__call__", 100),
        (f"{here}.main.<lambda>", 100),
    ]


def test_each_callback_is_timed_by_name_where_the_level_asks_for_it(installed, fake, registry):
    async def step():
        fake.advance(0.01)
        await asyncio.sleep(0)
        fake.advance(0.01)

    async def main():
        asyncio.get_running_loop().call_soon([].append, 1)
        await asyncio.create_task(step())

    run(main())
    before = told(registry)
    registry.set_level("event_loop.callback", "detail")
    run(main())
    values = read(registry)["event_loop.callback"]

    here = "test_each_callback_is_timed_by_name_where_the_level_asks_for_it"
    theirs = "code.native=false,event_loop.library=asyncio"
    mine = {key: value for key, value in values.items() if here in key or "append" in key}
    assert before == ([], {})
    assert mine == {
        f"code.function.name={here}.main,{theirs}": 2,
        f"code.function.name={here}.step,{theirs}": 2,
        "code.function.name=list.append,code.native=true,event_loop.library=asyncio": 1,
    }


def test_the_number_of_names_is_bounded(installed, fake, registry):
    registry.series_max = 3
    registry.set_level("event_loop.callback", "detail")

    async def main():
        for number in range(10):
            code = f"def made_{number}(): pass"
            names = {}
            exec(code, names)
            asyncio.get_running_loop().call_soon(names[f"made_{number}"])
        await asyncio.sleep(0)

    run(main())
    values = read(registry)

    assert len(values["event_loop.callback"]) == 4  # and the overflow
    assert values["nilometer.series.overflow"]["instrument=event_loop.callback"] > 0


def test_waiting_is_idle_and_working_is_not(installed, fake, registry, loop_factory):
    async def main():
        fake.advance(0.05)
        await asyncio.sleep(0.2)  # longer than a busy machine keeps us from waiting

    run(main(), loop_factory)
    idle = next(one for one in registry.collect()[0] if one.name == "event_loop.idle")

    assert idle.value.total == 1_000_000_000


def test_what_raises_or_is_cancelled_while_it_holds_the_loop_is_told(installed, fake, registry):
    async def raises():
        fake.advance(SLOW_S)
        raise LookupError("mine")

    async def is_cancelled():
        try:
            await asyncio.sleep(10)
        finally:
            fake.advance(SLOW_S)

    async def cancels_itself():
        handle = asyncio.get_running_loop().call_soon(
            lambda: (handle.cancel(), held_by(fake, 1))
        )
        await asyncio.sleep(0)

    async def main():
        task = asyncio.create_task(is_cancelled())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, raises(), cancels_itself(), return_exceptions=True)

    run(main())
    here = "test_what_raises_or_is_cancelled_while_it_holds_the_loop_is_told"

    assert told(registry)[0] == [
        (f"{here}.is_cancelled", 100),
        (f"{here}.raises", 100),
        ("cancelled", 1000),
    ]


def test_an_interrupt_ends_the_loop_and_is_told(installed, fake, registry):
    def interrupted():
        fake.advance(SLOW_S)
        raise KeyboardInterrupt

    loop = asyncio.new_event_loop()
    loop.call_soon(interrupted)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    selector = loop._selector
    loop.close()

    assert told(registry)[0] == [
        (f"{test_an_interrupt_ends_the_loop_and_is_told.__name__}.interrupted", 100)
    ]
    assert "select" not in vars(selector)


def test_the_event_belongs_to_the_request_that_held_the_loop(installed, fake, registry):
    registry.correlate = _current_ids

    async def request():
        with start_root("request", request=Trace(b"1" * 16)):
            await asyncio.sleep(0)
            held_by(fake, SLOW_S)
            await asyncio.sleep(0)

    async def main():
        await asyncio.gather(request(), asyncio.sleep(0))

    run(main())
    (event,) = registry.collect()[1]

    assert event.trace_id == b"1" * 16


def test_loops_made_anew_and_in_threads_are_measured(installed, fake, registry):
    async def main():
        held_by(fake, SLOW_S)

    run(main())
    thread = threading.Thread(target=run, args=(main(),))
    thread.start()
    thread.join()
    run(main())

    assert told(registry)[1]["event_loop.blocked"] == (3, 300)


def test_a_loop_that_runs_already_is_measured_from_then_on(twin, fake, registry, loop_factory):
    async def main():
        assert asyncio_loops.install(slow_callback_s=SLOW_S, registry=registry)
        await asyncio.sleep(0.2)  # longer than a busy machine keeps us from waiting

    run(main(), loop_factory)
    idle = next(one for one in registry.collect()[0] if one.name == "event_loop.idle")
    asyncio_loops.uninstall()

    assert idle.value.total == 1_000_000_000


def test_uninstalled_while_a_loop_runs_nothing_is_left_behind(twin, fake, registry):
    before = events.Handle._run, base_events.BaseEventLoop.run_forever
    selectors_seen = []

    async def main():
        selector = asyncio.get_running_loop()._selector
        selectors_seen.append("select" in vars(selector))
        await asyncio.sleep(0)
        asyncio_loops.uninstall()
        held_by(fake, SLOW_S)
        selectors_seen.append("select" in vars(selector))
        await asyncio.sleep(0)

    assert asyncio_loops.install(slow_callback_s=SLOW_S, registry=registry)
    assert not asyncio_loops.install(registry=registry)
    run(main())

    assert selectors_seen == [True, False]
    assert (events.Handle._run, base_events.BaseEventLoop.run_forever) == before
    assert registry.followers == []
    assert told(registry)[0] == []


def test_at_level_off_loops_are_left_alone_until_it_is_on_again(installed, fake, registry):
    ours = events.Handle._run

    async def main():
        selector = asyncio.get_running_loop()._selector
        states = [("select" in vars(selector), events.Handle._run is ours)]
        for level in ("off", "basic"):
            registry.set_level("integrations.asyncio", level)
            states.append(("select" in vars(selector), events.Handle._run is ours))
            await asyncio.sleep(0)
            asyncio.get_running_loop().call_soon(held_by, fake, SLOW_S)
            await asyncio.sleep(0)
        return states

    states = run(main())

    assert states == [(True, True), (False, False), (True, True)]
    assert told(registry)[0] == [("held_by", 100)]


def test_where_nothing_of_it_is_measured_nothing_is_in_the_way(twin, fake, registry):
    before = events.Handle._run
    registry.set_level("", "off")
    assert asyncio_loops.install(registry=registry)
    off = events.Handle._run
    registry.set_level("event_loop.blocked", "basic")
    on = events.Handle._run
    asyncio_loops.uninstall()

    assert off is before
    assert on is not before


def test_a_loop_without_a_selector_runs_as_ever(installed, registry):
    class Loop(asyncio.SelectorEventLoop):
        def run_forever(self):
            selector, self._selector = self._selector, None
            try:
                base_events.BaseEventLoop.run_forever(self)
            except AttributeError:
                return "no selector"
            finally:
                self._selector = selector

    loop = Loop()
    assert loop.run_forever() == "no selector"
    loop.close()


def test_a_fault_of_ours_stops_no_callback(installed, fake, registry, monkeypatch, caplog):
    def broken(_callback):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(asyncio_loops, "called", broken)

    async def main():
        held_by(fake, SLOW_S)
        return 7

    assert run(main()) == 7
    assert read(registry)["nilometer.lost"] == {"reason=asyncio,what=integration": 1}


# --- uvloop ----------------------------------------------------------------------------------


def test_uvloop_tells_of_tasks_and_callbacks_that_held_it(uv_installed, fake, registry):
    async def computes():
        fake.advance(0.25)

    async def main():
        loop = asyncio.get_running_loop()
        await asyncio.create_task(computes())
        loop.call_soon(held_by, fake, 0.2)
        done = asyncio.Event()
        loop.call_later(0.001, held_by, fake, 0.3)
        loop.call_at(loop.time() + 0.01, held_by, fake, 0.5)
        loop.call_at(loop.time() + 0.02, done.set)
        loop.call_soon_threadsafe(held_by, fake, 0.4)
        await done.wait()

    run(main(), uvloop.new_event_loop)
    here = "test_uvloop_tells_of_tasks_and_callbacks_that_held_it"

    events, timers = told(registry)
    # Which came first depends on how fast the machine is.
    assert sorted(events) == sorted(
        [(f"{here}.computes", 250), *(("held_by", ms) for ms in (200, 400, 300, 500))]
    )
    assert timers == {"event_loop.blocked": (5, 1650)}


def test_uvloop_runs_all_that_it_is_handed_as_it_was_handed(uv_installed, registry):
    given = []

    async def main():
        loop = asyncio.get_running_loop()
        context = __import__("contextvars").copy_context()
        loop.call_soon(lambda *args: given.append(args), *range(20), context=context)
        with pytest.raises(TypeError):
            loop.call_soon()
        loop.call_soon(given.append, "cancelled").cancel()
        await asyncio.sleep(0)
        assert await loop.run_in_executor(None, int, "7") == 7

    run(main(), uvloop.new_event_loop)

    assert given == [tuple(range(20))]


def test_uvloop_is_left_as_it_was(twin, registry):
    before = dict(vars(uvloop.Loop))
    assert uvloop_loops.install(registry=registry)
    assert not uvloop_loops.install(registry=registry)
    uvloop_loops.uninstall()

    assert dict(vars(uvloop.Loop)) == before
    assert registry.followers == []


# --- The twins by themselves -----------------------------------------------------------------


def test_a_callback_s_error_passes_and_its_time_is_told(twin, fake):
    heard = []

    def fails(callback):
        fake.advance(2)
        raise LookupError(callback)

    run_one = twin.Run(fails, lambda *said: heard.append(said), 10**9, fake.clock.elapsed_ns)
    with pytest.raises(LookupError, match="one"):
        run_one("one")
    run_one.on = False
    with pytest.raises(LookupError, match="two"):
        run_one("two")

    assert heard == [("one", 2 * 10**9)]


def test_turns_of_greenlets_and_waits_of_their_hub_are_told_apart(twin, fake):
    heard, idle, before = [], [], []

    def change(watch):
        heard.append("changed")
        watch.armed = watch.on

    watch = twin.Watch(
        lambda *said: heard.append(said), idle.append, change, 2, fake.clock.elapsed_ns
    )
    watch.previous = lambda *said: before.append(said)

    def later(ns):
        fake.advance(ns * 1e-9)

    watch("switch", ("main", "hub"))  # arms it
    later(1)
    watch.wait_begins()
    later(5)
    watch("switch", ("hub", "a"))
    later(7)
    watch("switch", ("a", "hub"))
    later(3)
    watch.wait_ends()  # it was over long since
    watch.wait_begins()
    later(4)
    watch.wait_ends()
    later(1)
    watch("switch", ("hub", "b"))
    watch.every = True
    later(1)
    watch("throw", ("b", "hub"))
    watch.on = False
    later(9)
    watch("switch", ("hub", "c"))
    watch("switch", ("c", "hub"))
    watch.wait_begins()
    watch.wait_ends()

    assert heard == ["changed", ("a", 7), (None, 3), ("b", 1), "changed"]
    assert idle == [5, 4]
    assert [said[1] for said in before] == [
        ("main", "hub"),
        ("hub", "a"),
        ("a", "hub"),
        ("hub", "b"),
        ("b", "hub"),
        ("hub", "c"),
        ("c", "hub"),
    ]
