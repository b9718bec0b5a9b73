"""A timer as decorator: it times the body of whatever it decorates, and stays out of sight."""

import asyncio
import contextlib
import copy
import functools
import gc
import inspect
import os
import pickle
import subprocess
import sys
import types
import warnings
from unittest import mock

import pytest

from nilometer.measure.decorate import kind_of

from .conftest import moved


@pytest.fixture
def timer(registry):
    return registry.timer("t")


def tick(hands, by=10):
    hands.elapsed_ns += by
    return 0


# --- functions and methods ------------------------------------------------------------------


def test_a_function_is_timed_from_call_to_return(registry, hands, timer):
    @timer
    def work(n):
        tick(hands, n)
        return n * 2

    assert [work(3), work(n=4)] == [6, 8]
    assert moved(registry) == {("t",): (2, 7)}


def test_a_function_that_raises_is_recorded_and_its_error_counted(registry, hands, timer):
    @timer
    def work(error):
        tick(hands)
        raise error

    for error in (KeyError("a"), KeyError("b"), ValueError(), KeyboardInterrupt()):
        with pytest.raises(type(error)) as raised:
            work(error)
        assert raised.value is error

    assert moved(registry) == {
        ("t",): (4, 40),
        ("t.errors", "error.type=KeyError"): 2,
        ("t.errors", "error.type=ValueError"): 1,
        ("t.errors", "error.type=KeyboardInterrupt"): 1,
    }


def test_errors_of_a_bound_timer_keep_its_dimensions(registry, timer):
    with pytest.raises(OSError), timer.bind(tenant="acme").lap():
        raise OSError

    assert moved(registry) == {
        ("t", "tenant=acme"): (1, 0),
        ("t.errors", "error.type=OSError", "tenant=acme"): 1,
    }


def all_parameters(a, b=2, /, c=3, *args, d, e=5, **kwargs):
    """Take everything."""
    return a, b, c, args, d, e, kwargs


def named_like_ours(len, type, _timer=1, _function=2):  # noqa: A002
    return len, type, _timer, _function


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (all_parameters, (1,), {"d": 4}),
        (all_parameters, (1, 7, 8, 9), {"d": 4, "e": 6, "z": 0, "b": 1}),
        (named_like_ours, (1, 2), {"_timer": 5}),
        (lambda: 7, (), {}),
        (lambda *, k=3: k, (), {"k": 9}),
        (max, (1, 5), {}),
        (functools.partial(all_parameters, d=1), (5,), {}),
        (int, None, None),
    ],
)
def test_arguments_pass_through_as_they_are(timer, function, args, kwargs):
    if args is None:
        with pytest.raises(TypeError, match=r"not the class int; use `with timer\.lap"):
            timer(function)
    else:
        assert timer(function)(*args, **kwargs) == function(*args, **kwargs)


def test_wrong_arguments_are_refused_in_the_functions_own_words(timer):
    with pytest.raises(TypeError, match=r"missing 1 required keyword-only argument: 'd'"):
        timer(all_parameters)(1)


def test_defaults_are_the_very_objects_of_the_function(timer):
    default = []

    def work(a=default, *, b=default):
        return a, b

    assert all(given is default for given in timer(work)())


def test_the_wrapper_bears_the_name_of_what_it_wraps(timer):
    wrapped = timer(all_parameters)

    assert (wrapped.__name__, wrapped.__qualname__, wrapped.__module__, wrapped.__doc__) == (
        "all_parameters",
        "all_parameters",
        __name__,
        "Take everything.",
    )
    assert wrapped.__wrapped__ is all_parameters
    assert inspect.signature(wrapped) == inspect.signature(all_parameters)
    assert inspect.unwrap(wrapped) is all_parameters
    assert inspect.isroutine(wrapped)
    assert "all_parameters" in repr(wrapped)


def test_attributes_of_the_function_are_there_and_new_ones_stay_with_the_wrapper(timer):
    def work():
        pass

    work.colour = "red"
    wrapped = timer(work)
    wrapped.shape = "round"

    assert (wrapped.colour, wrapped.shape, hasattr(work, "shape")) == ("red", "round", False)
    with pytest.raises(AttributeError):
        wrapped.nothing  # noqa: B018


class Server:
    def __init__(self, hands):
        self.hands = hands

    def start(self, n):
        tick(self.hands, n)
        return self, n


def test_methods_classmethods_and_staticmethods_in_either_order(registry, hands, timer):
    class Timed(Server):
        start = timer(Server.start)

        @timer
        @classmethod
        def made(cls):
            return cls

        @classmethod
        @timer
        def made_too(cls):
            return cls

        @timer
        @staticmethod
        def add(a, b):
            return a + b

        @staticmethod
        @timer
        def add_too(a, b):
            return a + b

    server = Timed(hands)

    assert server.start(5) == Timed.start(server, 5) == (server, 5)
    assert Timed.made() is server.made() is Timed.made_too() is server.made_too() is Timed
    assert (
        Timed.add(1, 2) == server.add(1, 2) == Timed.add_too(1, 2) == server.add_too(1, 2) == 3
    )
    assert server.start.__self__ is server
    assert isinstance(server.start, types.MethodType)
    assert moved(registry) == {("t",): (10, 10)}


def test_a_timed_property_getter_and_cached_function_work(registry, timer):
    class Box:
        @property
        @timer
        def size(self):
            return 3

    cached = functools.lru_cache(timer(lambda n: n * 2))

    assert (Box().size, cached(4), cached(4)) == (3, 8, 8)
    assert moved(registry) == {("t",): (2, 0)}


def test_methods_of_what_is_wrapped_are_at_hand(registry, timer):
    @timer
    @functools.lru_cache
    def cached(n):
        return n * 2

    assert (cached(4), cached(4), cached.cache_info().hits) == (8, 8, 1)
    cached.cache_clear()
    assert cached.cache_info().hits == 0
    assert moved(registry) == {("t",): (2, 0)}


def test_the_hooks_of_a_class_are_classmethods_without_being_told(registry, timer):
    class Base:
        seen = []  # noqa: RUF012 (a test's)

        @timer
        def __init_subclass__(cls, **options):
            Base.seen.append((cls.__name__, options))

        @timer
        def __class_getitem__(cls, key):
            return cls.__name__, key

    class Derived(Base, colour="red"):
        pass

    assert Base.seen == [("Derived", {"colour": "red"})]
    assert (Base[3], Derived[4]) == (("Base", 3), ("Derived", 4))
    assert moved(registry) == {("t",): (3, 0)}


def test_an_object_that_claims_every_attribute_is_a_plain_function(registry, timer):
    assert timer(mock.Mock(return_value=3))() == 3
    assert moved(registry) == {("t",): (1, 0)}


def test_timers_nest_and_may_wrap_each_other(registry, hands, timer):
    outer = registry.timer("outer")

    @outer
    @timer
    def work(n):
        tick(hands, 1)
        return work(n - 1) if n else 0

    work(2)

    assert moved(registry) == {("t",): (3, 1 + 2 + 3), ("outer",): (3, 1 + 2 + 3)}


def test_endless_recursion_is_still_a_recursion_error(registry, timer):
    @timer
    def work():
        return work()

    with pytest.raises(RecursionError):
        work()

    readings = moved(registry)
    errors = readings["t.errors", "error.type=RecursionError"]
    missed = readings.get(("nilometer.lost", "reason=no_stack", "what=errors"), 0)
    samples, _total = readings["t",]
    assert errors + missed >= samples > 100


ENDLESS = """
import sys, threading
import nilometer

threading.stack_size(256 * 1024)
sys.setrecursionlimit(int(sys.argv[2]))

def work():
    return work()

work = nilometer.traced(work) if sys.argv[1] == "traced" else nilometer.timer("t")(work)

def run():
    try:
        work()
    except RecursionError:
        print("RecursionError")

thread = threading.Thread(target=run)
thread.start()
thread.join()
"""


@pytest.mark.parametrize(
    ("pure", "limit"), [("", 1_000), ("", 100_000), ("1", 1_000)], ids=["c", "c-far", "python"]
)
@pytest.mark.parametrize("decorator", ["timer", "traced"])
def test_endless_recursion_in_a_small_stack_is_a_recursion_error_and_not_the_end(
    decorator, pure, limit
):
    ended = subprocess.run(
        [sys.executable, "-c", ENDLESS, decorator, str(limit)],
        env={**os.environ, "NILOMETER_PURE_PYTHON": pure},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stdout) == (0, "RecursionError\n")


COLD = """
import sys
from nilometer.measure import Registry

registry = Registry()

@registry.timer("t")
def work():
    return work()

def begun(depth):
    return begun(depth - 1) if depth else work()

try:
    begun(int(sys.argv[1]))
except RecursionError:
    readings, _ = registry.collect()
    print(*(f"{name}={value}" for r in readings if r.name == "t.errors"
            for name, value in r.dimensions))
"""


@pytest.mark.parametrize("depth", range(6))
def test_an_error_is_counted_by_its_name_also_where_the_first_has_no_room_on_the_stack(depth):
    """In a fresh process: Python calls `str` otherwise once it has seen it often."""
    program = [sys.executable, "-c", COLD, str(depth)]
    ended = subprocess.run(program, capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stdout) == (0, "error.type=RecursionError\n")


def pickled():
    return "here"


class Pickled:
    def method(self):
        return "there"


def test_a_wrapper_is_pickled_and_copied_by_reference(timer, monkeypatch):
    wrapped = timer(pickled)
    monkeypatch.setitem(globals(), "pickled", wrapped)
    monkeypatch.setattr(Pickled, "method", timer(Pickled.method))

    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(wrapped, protocol)) is wrapped
    assert pickle.loads(pickle.dumps(Pickled().method))() == "there"
    assert copy.copy(wrapped) is copy.deepcopy(wrapped) is wrapped


@pytest.mark.parametrize("thing", [int, 7, None])
def test_what_is_no_function_is_refused_when_decorated(timer, thing):
    with pytest.raises(TypeError, match="a timer decorates functions and methods, not "):
        timer(thing)


# --- laps -----------------------------------------------------------------------------------


def test_a_lap_times_its_block_and_counts_what_left_it(registry, hands, timer):
    with timer.lap():
        tick(hands)
    with pytest.raises(ZeroDivisionError), timer.lap():
        1 / tick(hands, 5)

    assert moved(registry) == {
        ("t",): (2, 15),
        ("t.errors", "error.type=ZeroDivisionError"): 1,
    }


def test_laps_of_one_timer_nest(registry, hands, timer):
    with timer.lap():
        tick(hands)
        with timer.lap():
            tick(hands)

    assert moved(registry) == {("t",): (2, 30)}


def test_a_lap_left_without_being_entered_records_nothing(registry, timer):
    timer.lap().__exit__(None, None, None)

    assert moved(registry) == {}


# --- coroutines -----------------------------------------------------------------------------


def test_a_coroutine_is_timed_from_its_first_start_to_its_end(registry, hands, timer):
    @timer
    async def fetch(n):
        tick(hands, n)
        await asyncio.sleep(0)
        tick(hands, n)
        return n

    async def main():
        made = fetch(5)
        tick(hands, 1000)  # made, not started
        return await made, await asyncio.create_task(fetch(2))

    assert asyncio.run(main()) == (5, 2)
    assert moved(registry) == {("t",): (2, 14)}


def test_a_timed_coroutine_function_is_one(timer):
    @timer
    async def fetch(n: int) -> int:
        return n

    assert inspect.iscoroutinefunction(fetch)
    assert asyncio.iscoroutinefunction(fetch)
    made = fetch(1)
    assert inspect.isawaitable(made)
    assert asyncio.iscoroutine(made)
    assert asyncio.run(made) == 1


class Fetcher:
    def __init__(self, hands):
        self.hands = hands

    async def __call__(self):
        tick(self.hands)
        await asyncio.sleep(0)
        return tick(self.hands)


@pytest.mark.parametrize("made_of", [lambda it: it, functools.partial])
def test_an_object_whose_call_is_a_coroutine_is_timed_to_its_end(
    registry, hands, timer, made_of
):
    assert asyncio.run(timer(made_of(Fetcher(hands)))()) == 0
    assert moved(registry) == {("t",): (1, 20)}


def test_a_function_that_returns_a_future_is_timed_to_its_end(core, registry, hands, timer):
    def fetch():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.call_soon(lambda: future.set_result(tick(hands)))
        return future

    async def awaits(timed):
        return await timed(), await asyncio.wait_for(timed(), None)

    assert asyncio.run(awaits(core.wrap(timer, fetch, "coroutine"))) == (0, 0)
    assert moved(registry) == {("t",): (2, 20)}


def test_what_cannot_be_awaited_is_told_in_pythons_own_words(core, registry, timer):
    async def awaits():
        return await core.wrap(timer, lambda: None, "coroutine")()

    with pytest.raises(TypeError, match="object NoneType can't be used in 'await' expression"):
        asyncio.run(awaits())


def test_what_is_marked_as_a_coroutine_function_is_timed_as_one():
    mark = getattr(inspect, "markcoroutinefunction", None)  # of Python 3.12 and later
    marked = mark(lambda: None) if mark else types.coroutine(pickled)

    assert kind_of(marked) == ("coroutine" if mark else "function")


def test_tasks_at_once_are_each_timed(registry, timer):
    @timer
    async def fetch(n):
        for _ in range(n % 3):
            await asyncio.sleep(0)
        return n

    async def main():
        return await asyncio.gather(*map(fetch, range(50)))

    assert asyncio.run(main()) == list(range(50))
    assert moved(registry) == {("t",): (50, 0)}


def test_an_error_and_a_cancelled_task_are_counted_by_type(registry, timer):
    @timer
    async def fetch(fail):
        if fail:
            raise KeyError("no")
        await asyncio.sleep(60)

    async def main():
        with pytest.raises(KeyError):
            await fetch(True)
        task = asyncio.create_task(fetch(False))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(fetch(False), 0.001)

    asyncio.run(main())

    assert moved(registry) == {
        ("t",): (3, 0),
        ("t.errors", "error.type=KeyError"): 1,
        ("t.errors", "error.type=CancelledError"): 2,
    }


def test_a_coroutine_never_awaited_warns_and_is_not_timed(registry, timer):
    @timer
    async def fetch():
        pass

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fetch()
        gc.collect()
    unstarted = fetch()
    unstarted.close()

    # What other tests left behind is collected here, too, and may warn of itself.
    told = [str(w.message) for w in caught if "fetch" in str(w.message)]
    assert [message.endswith("fetch' was never awaited") for message in told] == [True]
    assert moved(registry) == {}


class Once:
    """Awaitable that gives control away once."""

    def __await__(self):
        got = yield "out"
        return got


@pytest.mark.parametrize("how", ["close", "drop"])
def test_a_coroutine_closed_or_dropped_on_its_way_is_timed_and_no_error(
    registry, hands, timer, how
):
    ended = []

    @timer
    async def fetch():
        try:
            tick(hands)
            await Once()
        finally:
            tick(hands)
            ended.append(True)

    running = fetch()
    assert running.send(None) == "out"
    if how == "close":
        running.close()
    del running
    gc.collect()

    assert (ended, moved(registry)) == ([True], {("t",): (1, 20)})


def test_send_and_throw_reach_the_coroutine(registry, timer):
    @timer
    async def fetch():
        try:
            await Once()
        except KeyError:
            return await Once()

    running = fetch()
    with pytest.raises(TypeError, match="can't send non-None value to a just-started"):
        running.send(1)
    assert running.send(None) == "out"
    assert running.throw(KeyError("in")) == "out"
    with pytest.raises(StopIteration) as stop:
        running.send((1, 2))
    assert stop.value.value == (1, 2)
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        running.send(None)
    assert moved(registry) == {("t",): (1, 0)}


def test_a_coroutine_thrown_into_before_it_started_is_not_timed(registry, timer):
    @timer
    async def fetch():
        pass

    with pytest.raises(KeyError):
        fetch().throw(KeyError("early"))

    assert moved(registry) == {}


# --- generators -----------------------------------------------------------------------------


def test_a_generator_is_timed_from_its_first_start_to_its_end(registry, hands, timer):
    @timer
    def numbers(n):
        for i in range(n):
            tick(hands)
            yield i
        return "end"

    def delegating():
        return (yield from numbers(3))

    made = numbers(2)
    tick(hands, 1000)
    never = numbers(1)
    del never

    assert inspect.isgeneratorfunction(numbers)
    assert list(made) == [0, 1]
    assert list(delegating()) == [0, 1, 2]
    assert moved(registry) == {("t",): (2, 50)}


@pytest.mark.parametrize("how", ["close", "drop"])
def test_a_generator_left_early_is_timed_and_no_error(registry, hands, timer, how):
    @timer
    def numbers():
        try:
            yield 1
            yield 2
        finally:
            tick(hands)

    running = numbers()
    next(running)
    if how == "close":
        running.close()
    del running
    gc.collect()

    assert moved(registry) == {("t",): (1, 10)}


def test_send_throw_and_the_returned_value_pass_through_a_generator(registry, timer):
    @timer
    def echo():
        got = yield "ready"
        try:
            yield got
        except KeyError:
            yield "caught"
        return ("a", "tuple")

    running = echo()
    with pytest.raises(TypeError, match="can't send non-None value"):
        running.send(1)
    passed = [next(running), running.send(5), running.throw(KeyError())]
    with pytest.raises(StopIteration) as stop:
        next(running)

    assert (passed, stop.value.value) == (["ready", 5, "caught"], ("a", "tuple"))
    assert list(running) == []
    assert moved(registry) == {("t",): (1, 0)}


def test_what_timed_generator_functions_make_are_pythons_own_generators(timer):
    """Web frameworks and writers of JSON ask for these types, or `inspect` does for them."""

    def numbers():
        yield 1

    async def later():
        yield 1

    made = timer(numbers)()

    assert inspect.isgenerator(made)
    assert inspect.isasyncgen(timer(later)())
    assert [type(one) for one in (made, timer(later)())] == [type(numbers()), type(later())]


def test_wrong_arguments_of_a_generator_function_are_refused_when_it_is_called(core, timer):
    def numbers(n):
        yield n

    if core.__name__.endswith("_core"):  # the Python twin is a generator function itself
        with pytest.raises(TypeError, match="missing 1 required positional argument"):
            timer(numbers)()
        assert timer(numbers)(1).__qualname__ == numbers.__qualname__
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        next(timer(numbers)())


def test_a_generator_that_raises_counts_its_error(registry, timer):
    @timer
    def broken():
        yield 1
        raise OSError

    with pytest.raises(OSError):
        list(broken())

    assert moved(registry) == {("t",): (1, 0), ("t.errors", "error.type=OSError"): 1}


def test_a_generator_that_runs_refuses_to_be_entered_and_is_timed_once(registry, timer):
    @timer
    def ring():
        try:
            next(running)
        except ValueError as error:
            yield str(error)

    running = ring()

    assert list(running) == ["generator already executing"]
    assert moved(registry) == {("t",): (1, 0)}


def test_a_context_manager_made_of_a_timed_generator_works(registry, hands, timer):
    @contextlib.contextmanager
    @timer
    def opened():
        try:
            yield "door"
        finally:
            tick(hands)

    with opened() as door:
        tick(hands, 5)
    with pytest.raises(KeyError), opened():
        raise KeyError

    assert door == "door"
    assert moved(registry) == {("t",): (2, 25), ("t.errors", "error.type=KeyError"): 1}


# --- async generators -----------------------------------------------------------------------


def test_an_async_generator_is_timed_from_its_first_start_to_its_end(registry, hands, timer):
    @timer
    async def numbers(n):
        for i in range(n):
            tick(hands)
            await asyncio.sleep(0)
            yield i

    async def main():
        made = numbers(3)
        tick(hands, 1000)
        return [i async for i in made], [i async for i in numbers(0)]

    assert inspect.isasyncgenfunction(numbers)
    assert asyncio.run(main()) == ([0, 1, 2], [])
    assert moved(registry) == {("t",): (2, 30)}


def test_asend_athrow_and_aclose_reach_the_async_generator(registry, hands, timer):
    closed = []

    @timer
    async def echo():
        try:
            got = yield "ready"
            try:
                yield got
            except KeyError:
                await asyncio.sleep(0)
                yield "caught"
        finally:
            await asyncio.sleep(0)
            tick(hands)
            closed.append(True)

    async def main():
        running = echo()
        with pytest.raises(TypeError, match="can't send non-None value"):
            await running.asend(1)
        passed = [
            await anext(running),
            await running.asend(5),
            await running.athrow(KeyError()),
        ]
        await running.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(running)
        return passed

    assert asyncio.run(main()) == ["ready", 5, "caught"]
    assert closed == [True]
    assert moved(registry) == {("t",): (1, 10)}


def test_an_async_generator_that_raises_or_is_cancelled_counts_its_error(registry, timer):
    @timer
    async def broken(wait):
        yield 1
        if wait:
            await asyncio.sleep(60)
        raise OSError

    async def drain(wait):
        async for _ in broken(wait):
            pass

    async def main():
        with pytest.raises(OSError):
            await drain(False)
        task = asyncio.create_task(drain(True))
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert moved(registry) == {
        ("t",): (2, 0),
        ("t.errors", "error.type=OSError"): 1,
        ("t.errors", "error.type=CancelledError"): 1,
    }


def test_an_async_generator_never_started_is_not_timed(registry, timer):
    @timer
    async def numbers():
        yield 1

    async def main():
        await numbers().aclose()
        with pytest.raises(KeyError):
            await numbers().athrow(KeyError())

    asyncio.run(main())

    assert moved(registry) == {}


def test_an_async_generator_left_early_is_timed_and_closed(registry, hands, timer):
    closed = []

    @timer
    async def numbers():
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    async def main():
        async for _ in numbers():
            break
        gc.collect()
        await asyncio.sleep(0.01)

    asyncio.run(main())
    gc.collect()

    assert closed == [True]
    assert moved(registry) == {("t",): (1, 0)}


def test_an_async_context_manager_made_of_a_timed_generator_works(registry, hands, timer):
    @contextlib.asynccontextmanager
    @timer
    async def opened():
        yield "door"
        tick(hands)

    async def main():
        async with opened() as door:
            return door

    assert asyncio.run(main()) == "door"
    assert moved(registry) == {("t",): (1, 10)}


def test_a_second_step_while_one_is_in_flight_is_refused_and_ends_nothing(registry, timer):
    @timer
    async def numbers():
        await asyncio.sleep(0.01)
        yield 1

    async def main():
        running = numbers()
        first = asyncio.ensure_future(running.asend(None))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="asynchronous generator is already running"):
            await running.asend(None)
        value = await first
        return value, [i async for i in running]

    assert asyncio.run(main()) == (1, [])
    assert moved(registry) == {("t",): (1, 0)}


def test_bodies_of_bodies_that_are_off_are_the_functions_own(registry, timer):
    registry.set_level("", 0)

    async def fetch():
        return 1

    def numbers():
        yield 1

    assert asyncio.run(timer(fetch)()) == 1
    assert list(timer(numbers)()) == [1]
    assert moved(registry) == {}


def test_a_traceback_shows_the_functions_own_line(timer):
    @timer
    def work():
        raise KeyError("here")

    try:
        work()
    except KeyError:
        frames = []
        traceback = sys.exc_info()[2]
        while traceback is not None:
            frames.append(traceback.tb_frame.f_code.co_name)
            traceback = traceback.tb_next

    assert frames[-1] == "work"
