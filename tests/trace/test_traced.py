"""Laws of `traced`, on both twins."""

import asyncio
import copy
import functools
import gc
import inspect
import pickle
import sys
import types
import weakref

import pytest

from nilometer.model import SpanKind, Status
from nilometer.trace import traced as chosen_traced
from nilometer.trace.current import CURRENT
from nilometer.trace.steps import awaited
from tests.trace.conftest import blocks_left_by


def plain(a, /, b=2, *, c=3):
    """Add."""
    return a + b + c


async def coroutine(a):
    await asyncio.sleep(0)
    return a


def generator(n):
    """Count."""
    yield from range(n)
    return "done"


async def async_generator(n):
    for i in range(n):
        yield i


FORMS = [plain, coroutine, generator, async_generator]
ASKED = [
    "isroutine", "iscoroutinefunction", "isgeneratorfunction", "isasyncgenfunction",
    "signature", "getdoc", "getmodule", "getsource", "unwrap",
]  # fmt: skip


@chosen_traced
def at_module_level(a):
    return a


@pytest.mark.parametrize("function", FORMS)
@pytest.mark.parametrize("question", ASKED)
def test_inspect_says_the_same_of_a_traced_function(twin, function, question):
    ask = getattr(inspect, question)

    assert ask(twin.traced(function)) == ask(function)
    assert asyncio.iscoroutinefunction(twin.traced(function)) == asyncio.iscoroutinefunction(
        function
    )


@pytest.mark.parametrize("function", FORMS)
def test_a_traced_function_is_named_as_what_it_wraps(twin, function):
    function.marked = 7
    traced = twin.traced(function)
    del function.marked

    assert (traced.__name__, traced.__qualname__, traced.__module__, traced.__doc__) == (
        function.__name__, function.__qualname__, __name__, function.__doc__,
    )  # fmt: skip
    assert (traced.__wrapped__, traced.marked) == (function, 7)
    assert traced.__defaults__ == function.__defaults__ or traced.__wrapped__.__defaults__


def test_arguments_pass_untouched_and_the_result_comes_back(twin):
    result = object()
    seen = []

    @twin.traced
    def take(*args, **kwargs):
        seen.append((args, kwargs))
        return result

    with twin.root():
        assert take(1, [2], key=take) is result
    assert take() is result
    assert seen == [((1, [2]), {"key": take}), ((), {})]


@pytest.mark.parametrize("is_traced", [True, False])
def test_arguments_are_never_formatted(twin, is_traced):
    """OSProfiler makes text of all arguments even when nothing is traced (known weakness 1)."""

    class Secret:
        def __repr__(self):
            raise AssertionError("looked at")

        __str__ = __format__ = __eq__ = __hash__ = __repr__

    @twin.traced
    def take(secret, key=None):
        return secret

    secret = Secret()
    if is_traced:
        with twin.root():
            assert take(secret, key=secret) is secret
    else:
        assert take(secret, key=secret) is secret

    assert [r.attributes for r in twin.ring.drain()] == [{}, {}][: 2 * is_traced]


def test_a_function_in_a_thread_that_never_traced_raises_nothing_inside(twin):
    """OSProfiler raises and swallows an AttributeError there, twice a call (weakness 2)."""
    import threading

    raised = []
    take = twin.traced(plain)

    def work():
        sys.setprofile(
            lambda frame, event, arg: raised.append(arg) if event == "exception" else None
        )
        try:
            take(1)
        finally:
            sys.setprofile(None)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert raised == []


def test_concurrent_calls_of_one_function_do_not_see_each_others_data(twin):
    """OSProfiler shares one dict between all calls of a function (weakness 3)."""

    @twin.traced("work", shared="fixed")
    async def work(own):
        twin.core.current_span().set_attribute("own", own)
        await asyncio.sleep(0)
        twin.core.current_span().set_attribute("again", own)

    async def request(number):
        with twin.root(f"root {number}", trace_id=bytes([number]) * 16):
            await work(number)

    async def main():
        await asyncio.gather(*(request(n) for n in range(1, 5)))

    asyncio.run(main())

    works = [r for r in twin.ring.drain() if r.name == "work"]
    assert sorted((r.trace_id[0], dict(r.attributes)) for r in works) == [
        (n, {"shared": "fixed", "own": n, "again": n}) for n in range(1, 5)
    ]


def test_all_ways_to_name_a_span(twin):
    named = [
        twin.traced(plain),
        twin.traced("given")(plain),
        twin.traced(name="by keyword", a=1)(plain),
        twin.traced("with attributes", a=1, b="x")(plain),
        twin.traced()(plain),
        twin.traced(functools.partial(plain, 1)),
    ]
    with twin.root():
        for function in named:
            function(1) if not isinstance(
                function.__wrapped__, functools.partial
            ) else function()

    assert [(r.name, r.attributes) for r in twin.ring.drain()] == [
        ("plain", {}),
        ("given", {}),
        ("by keyword", {"a": 1}),
        ("with attributes", {"a": 1, "b": "x"}),
        ("plain", {}),
        ("partial", {}),
        ("root", {}),
    ]


def test_a_name_with_a_dash_stays_whole(twin):
    """OSProfiler cuts names at the first dash and takes "restart" for a start (weakness 10)."""
    with twin.root():
        for name in ("my-op", "restart", "x-stop", "-start"):
            twin.traced(name)(plain)(1)

    assert [r.name for r in twin.ring.drain()] == [
        "my-op",
        "restart",
        "x-stop",
        "-start",
        "root",
    ]


@pytest.mark.parametrize("wrong", [7, None, [plain]])
def test_only_callables_can_be_traced(twin, wrong):
    with pytest.raises(TypeError, match="takes functions and classes"):
        twin.traced("name")(wrong)
    with pytest.raises(TypeError, match="two names"):
        twin.traced("name", name="name")


def test_what_is_traced_is_not_traced_again(twin):
    once = twin.traced(plain)

    assert twin.traced(once) is once


def test_an_exception_passes_unchanged_and_is_recorded(twin):
    error = ValueError("no")

    @twin.traced
    def fails():
        raise error

    with twin.root() as root:
        with pytest.raises(ValueError, match="no") as caught:
            fails()

        assert twin.core.current_span() is root

    assert caught.value is error
    assert caught.value.__context__ is None
    assert caught.traceback[-1].name == "fails"
    assert [(r.name, r.status) for r in twin.ring.drain()] == [
        (fails.__qualname__, Status.ERROR),
        ("root", Status.UNSET),
    ]


def test_methods_of_every_kind_are_traced_and_bound(twin):
    class Server:
        @twin.traced
        def boot(self, n):
            return self, n

        @twin.traced
        @classmethod
        def make(cls):
            return cls

        @classmethod
        @twin.traced
        def make_too(cls):
            return cls

        @twin.traced
        @staticmethod
        def count():
            return 3

        boot_again = boot

    server = Server()
    with twin.root():
        assert server.boot(1) == (server, 1)
        assert Server.boot(server, n=2) == (server, 2)
        assert server.boot.__self__ is server
        assert (Server.make(), server.make(), Server.make_too()) == (Server,) * 3
        assert (Server.count(), server.count(), server.boot_again(3)) == (3, 3, (server, 3))

    assert len(twin.ring.drain()) == 9


class Base:
    def inherited(self):
        return "base"


def test_methods_of_what_is_wrapped_are_at_hand(twin):
    @twin.traced
    @functools.lru_cache
    def cached(n):
        return n * 2

    assert (cached(4), cached(4), cached.cache_info().hits) == (8, 8, 1)
    cached.cache_clear()
    assert cached.cache_info().hits == 0


def test_the_hooks_of_a_class_are_classmethods_without_being_told(twin):
    class Base:
        seen = []  # noqa: RUF012 (a test's)

        @twin.traced
        def __init_subclass__(cls, **options):
            Base.seen.append((cls.__name__, options))

        @twin.traced
        def __class_getitem__(cls, key):
            return cls.__name__, key

    class Derived(Base, colour="red"):
        pass

    assert Base.seen == [("Derived", {"colour": "red"})]
    assert (Base[3], Derived[4]) == (("Base", 3), ("Derived", 4))


def test_a_class_is_traced_by_its_own_public_methods_once(twin):
    @twin.traced
    class Server(Base):
        limit = 3
        alias = dict

        def boot(self):
            return self._private()

        def _private(self):
            return "private"

        def __len__(self):
            return 3

        @property
        def name(self):
            return "name"

        @staticmethod
        def static():
            return "static"

        @classmethod
        def made(cls):
            return cls

        async def fetch(self):
            return "fetched"

        def each(self):
            yield 1

        class Inner:
            def method(self):
                return "inner"

    @twin.traced("Sub")
    class Special(Server):
        def boot(self):
            return super().boot()

    with twin.root():
        server = Server()
        answers = [server.boot(), len(server), server.name, server.static(), server.inherited()]
        answers += [Server.Inner().method(), *server.each(), asyncio.run(server.fetch())]

        assert answers == ["private", 3, "name", "static", "base", "inner", 1, "fetched"]
        assert (server.made(), Server.limit, Server.alias) == (Server, 3, dict)
        assert Special().boot() == "private"
        assert Special.made() is Special

    name = Server.__qualname__
    assert [r.name for r in twin.ring.drain()] == [
        f"{name}.boot", f"{name}.static", f"{name}.each", f"{name}.fetch", f"{name}.made",
        f"{name}.boot", "Sub.boot", f"{name}.made", "root",
    ]  # fmt: skip
    assert twin.traced(Server) is Server


def test_a_coroutines_span_lasts_as_long_as_its_body_not_as_its_making(twin):
    """OSProfiler stops the point before the body has run (weakness 6)."""

    @twin.traced
    async def fetch():
        with twin.core.span("inside"):
            await asyncio.sleep(0)
        return "fetched"

    async def main():
        with twin.root():
            made = fetch()

            assert len(twin.ring) == 0
            assert await made == "fetched"
            assert twin.core.current_span().name == "root"

    asyncio.run(main())

    assert twin.drawn() == {
        "inside": fetch.__qualname__,
        fetch.__qualname__: "root",
        "root": None,
    }


def test_a_coroutine_that_raises_or_is_cancelled_is_an_error(twin):
    @twin.traced("fails")
    async def fails():
        await asyncio.sleep(0)
        raise ValueError("no")

    @twin.traced("waits")
    async def waits():
        try:
            await asyncio.sleep(60)
        finally:
            with twin.core.span("cleans up"):
                pass

    async def main():
        with twin.root():
            with pytest.raises(ValueError, match=r"^no$"):
                await fails()
            task = asyncio.create_task(waits())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())

    records = twin.ring.drain()
    assert [(r.name, r.attributes.get("error.type")) for r in records] == [
        ("fails", "ValueError"),
        ("cleans up", None),
        ("waits", "asyncio.exceptions.CancelledError"),
        ("root", None),
    ]
    assert records[1].parent_id == records[2].span_id


@pytest.mark.parametrize("value", [None, 7, (1, 2), StopIteration(3), ValueError("a value")])
def test_a_coroutine_returns_whatever_its_body_returns(twin, value):
    @twin.traced
    async def give():
        return value

    with twin.root():
        made = give()
        with pytest.raises(StopIteration) as stop:
            made.send(None)

    assert stop.value.value is value
    assert len(twin.ring.drain()) == 2


def test_asyncio_takes_a_traced_coroutine_for_one(twin):
    @twin.traced
    async def fetch(n):
        await asyncio.sleep(0)
        return n

    async def main():
        with twin.root():
            made = fetch(0)

            assert asyncio.iscoroutine(made)
            assert inspect.isawaitable(made)
            assert made.cr_frame.f_code is fetch.__code__ or made.cr_frame is not None
            assert (await made, await asyncio.wait_for(fetch(1), 5)) == (0, 1)
            assert await asyncio.gather(fetch(2), asyncio.create_task(fetch(3))) == [2, 3]
            async with asyncio.timeout(5), asyncio.TaskGroup() as group:
                task = group.create_task(fetch(4))
            assert task.result() == 4

    asyncio.run(main(), debug=True)

    assert {r.name for r in twin.ring.drain()} == {fetch.__qualname__, "root"}


def test_tasks_at_once_each_see_their_own_span(twin):
    """OSProfiler interleaves them on one stack per thread (weakness 6)."""

    @twin.traced("outer")
    async def outer(n):
        await asyncio.sleep(0.001 * (5 - n))
        with twin.core.span(f"inner {n}", n=n):
            await asyncio.sleep(0.001 * n)
            assert twin.core.current_span().name == f"inner {n}"
        assert twin.core.current_span().name == "outer"

    async def main():
        with twin.root() as root:
            await asyncio.gather(*(outer(n) for n in range(5)))
            assert twin.core.current_span() is root

    asyncio.run(main())

    records = twin.ring.drain()
    parents = {r.span_id: r for r in records}
    inner = [r for r in records if r.name.startswith("inner")]
    assert len(records) == 11
    assert len({r.parent_id for r in inner}) == 5
    assert {parents[r.parent_id].name for r in inner} == {"outer"}
    assert {parents[r.parent_id].name for r in records if r.name == "outer"} == {"root"}


def test_a_forgotten_coroutine_ends_its_span(twin):
    @twin.traced("forgotten")
    async def forgotten():
        await asyncio.sleep(0)

    with twin.root():
        made = forgotten()
        made.send(None)
        del made
        gc.collect()

    assert [(r.name, r.status) for r in twin.ring.drain()] == [
        ("forgotten", Status.UNSET),
        ("root", Status.UNSET),
    ]


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_a_coroutine_can_be_thrown_into_and_closed(twin):
    @twin.traced("waits")
    async def waits():
        try:
            await asyncio.sleep(0)
        except KeyError:
            return "caught"

    with twin.root():
        made = waits()
        made.send(None)
        with pytest.raises(StopIteration) as stop:
            made.throw(KeyError())
        other = waits()
        other.send(None)
        other.close()
        unstarted = waits()
        unstarted.close()
        unstarted = waits()
        with pytest.raises(LookupError):
            unstarted.throw(LookupError())

    assert stop.value.value == "caught"
    assert [(r.name, r.status) for r in twin.ring.drain()] == [
        ("waits", Status.UNSET), ("waits", Status.UNSET), ("root", Status.UNSET),
    ]  # fmt: skip


def test_a_generators_span_is_current_in_its_body_and_not_in_its_consumer(twin):
    seen = []

    @twin.traced("each")
    def each():
        for _ in range(2):
            seen.append(twin.core.current_span().name)
            with twin.core.span("open across yields"):
                yield twin.core.current_span().name
                seen.append(twin.core.current_span().name)
        return "done"

    def consumer():
        seen.append((yield from each()))

    with twin.root() as root:
        for name in consumer():
            assert twin.core.current_span() is root
            seen.append(name)

        assert twin.core.current_span() is root

    assert seen == ["each", *["open across yields"] * 2] * 2 + ["done"]
    assert twin.drawn() == {"open across yields": "each", "each": "root", "root": None}


def test_a_generator_is_sent_thrown_and_closed_as_without_a_span(twin):
    def body():
        try:
            got = yield 1
            try:
                yield got
            except KeyError:
                got = yield "caught"
            yield got
        finally:
            seen.append("closed")

    def drive(function):
        made = function()
        answers = [next(made), made.send("sent"), made.throw(KeyError("k")), made.send("more")]
        made.close()
        return answers

    seen = []
    expected = drive(body)
    with twin.root():
        assert drive(twin.traced("g")(body)) == expected == [1, "sent", "caught", "more"]

    assert seen == ["closed"] * 2
    assert [(r.name, r.status) for r in twin.ring.drain()] == [
        ("g", Status.UNSET), ("root", Status.UNSET),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "how", ["raises", "is thrown into", "refuses to close", "fails closing"]
)
def test_a_generator_left_by_an_exception_is_an_error(twin, how):
    @twin.traced("g")
    def body():
        try:
            yield 1
            if how == "raises":
                raise ValueError
        except GeneratorExit:
            if how == "fails closing":
                raise ValueError from None
            yield 2

    with twin.root() as root:
        made = body()
        next(made)
        expected = RuntimeError if how == "refuses to close" else ValueError
        leave = {
            "raises": lambda: next(made),
            "is thrown into": lambda: made.throw(ValueError()),
        }
        with pytest.raises(expected):
            leave.get(how, made.close)()

        assert twin.core.current_span() is root

    record = twin.ring.drain()[0]
    assert (record.name, record.attributes) == ("g", {"error.type": expected.__name__})


def test_a_forgotten_generator_ends_its_span_and_one_never_begun_has_none(twin):
    traced = twin.traced("g")(generator)
    with twin.root() as root:
        made = traced(3)
        next(made)
        never = traced(3)
        del made, never
        gc.collect()

        assert twin.core.current_span() is root

    assert twin.drawn() == {"g": "root", "root": None}


def test_an_async_generators_span_is_current_in_its_body_and_not_in_its_consumer(twin):
    @twin.traced("each")
    async def each():
        try:
            got = yield twin.core.current_span().name
            await asyncio.sleep(0)
            with twin.core.span("inside"):
                try:
                    yield got
                except KeyError:
                    yield "caught"
        finally:
            await asyncio.sleep(0)
            with twin.core.span("cleans up"):
                pass

    async def main():
        with twin.root() as root:
            made = each()
            answers = [await made.asend(None), await made.asend("sent")]
            assert twin.core.current_span() is root
            answers.append(await made.athrow(KeyError()))
            await made.aclose()
            assert twin.core.current_span() is root
            answers.append([n async for n in twin.traced("count")(async_generator)(3)])
            return answers

    assert asyncio.run(main()) == ["each", "sent", "caught", [0, 1, 2]]
    assert twin.drawn() == {
        "inside": "each", "cleans up": "each", "each": "root", "count": "root", "root": None,
    }  # fmt: skip


def test_an_async_generator_that_raises_is_an_error_and_a_forgotten_one_is_not(twin):
    @twin.traced("fails")
    async def fails():
        yield 1
        raise ValueError

    @twin.traced("forgotten")
    async def forgotten():
        yield 1
        yield 2

    async def main():
        with twin.root():
            with pytest.raises(ValueError):
                async for _ in fails():
                    pass
            async for _ in forgotten():
                break
            gc.collect()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    asyncio.run(main())

    assert sorted((r.name, r.attributes.get("error.type")) for r in twin.ring.drain()) == [
        ("fails", "ValueError"), ("forgotten", None), ("root", None),
    ]  # fmt: skip


def test_generators_that_take_turns_do_not_mix(twin):
    @twin.traced
    def named(name):
        with twin.core.span(name):
            for i in range(3):
                yield twin.core.current_span().name, i

    with twin.root():
        pairs = list(zip(named("a"), named("b"), strict=True))

    assert pairs == [(("a", i), ("b", i)) for i in range(3)]
    assert len(twin.ring.drain()) == 5


def test_steps_beyond_the_budget_run_untraced(twin):
    async def fetch():
        return await twin.traced(coroutine)(7)

    with twin.root(spans_max=1):
        assert list(twin.traced(generator)(2)) == [0, 1]
        assert asyncio.run(fetch()) == 7
        assert twin.traced(plain)(1) == 6

    assert [r.name for r in twin.ring.drain()] == ["root"]
    assert twin.ring.take_losses() == {("spans", "budget_spans"): 3}


def test_an_untraced_coroutine_and_generator_are_the_functions_own(twin):
    assert type(twin.traced(generator)(1)) is types.GeneratorType
    assert type(twin.traced(async_generator)(1)) is types.AsyncGeneratorType
    made = twin.traced(coroutine)(1)
    made.close()

    assert type(made) is types.CoroutineType


def test_a_traced_function_is_pickled_by_its_name_and_copied_as_itself():
    assert pickle.loads(pickle.dumps(at_module_level)) is at_module_level
    assert copy.deepcopy(at_module_level) is at_module_level


def test_a_traced_function_can_be_weakly_referenced_and_is_collected_in_a_circle(twin):
    def make():
        @twin.traced
        def function():
            return function

        function.itself = function
        return weakref.ref(function)

    seen = make()
    gc.collect()

    assert seen() is None


def test_calling_leaks_nothing(twin):
    take, fetch = twin.traced("f", a=1)(plain), twin.traced("c")(coroutine)
    count = twin.traced(generator)

    def once():
        with twin.root(spans_max=10**6):
            for _ in range(100):
                take(1)
                list(count(2))
                made = fetch(1)
                made.send(None)
                made.close()
        with pytest.raises(TypeError):
            take()
        twin.ring.drain()

    assert blocks_left_by(once) < 100
    assert CURRENT.get() is None


# --- What integrations wrap -----------------------------------------------------------------


def test_what_is_wrapped_has_the_kind_it_is_given(twin):
    async def later():
        return 1

    ours = twin.core.wrapped
    client = ours(lambda: 1, "client", {"a": 1}, None, SpanKind.CLIENT)
    with twin.root():
        assert client() == 1
        assert ours(lambda: 1, "inside", {})() == 1
        assert asyncio.run(ours(later, "later", {}, awaited, kind=SpanKind.PRODUCER)()) == 1

    assert [(r.name, r.kind, dict(r.attributes)) for r in twin.ring.drain()][:3] == [
        ("client", SpanKind.CLIENT, {"a": 1}),
        ("inside", SpanKind.INTERNAL, {}),
        ("later", SpanKind.PRODUCER, {}),
    ]


class Fetch:
    """Called, it makes a coroutine."""

    async def __call__(self, span):
        with span("inside"):
            await asyncio.sleep(0)
        return "fetched"


@pytest.mark.parametrize("wrap", [lambda made: made, functools.partial])
def test_an_object_whose_call_is_a_coroutine_is_traced_as_one(twin, wrap):
    traced = twin.traced(name="fetch")(wrap(Fetch()))
    with twin.root():
        fetched = asyncio.run(traced(twin.core.span))

    assert fetched == "fetched"
    assert twin.drawn() == {"inside": "fetch", "fetch": "root", "root": None}


def test_a_function_marked_as_a_coroutine_function_may_return_any_awaitable(twin, monkeypatch):
    """As `inspect.markcoroutinefunction` does, in Python 3.12 and later."""

    class Later:
        def __await__(self):
            with twin.core.span("inside"):
                yield from asyncio.sleep(0).__await__()
            return "later"

    def make():
        return Later()

    def broken():
        return 7

    asked = inspect.iscoroutinefunction
    monkeypatch.setattr(
        inspect, "iscoroutinefunction", lambda f: f in (make, broken) or asked(f)
    )
    make_traced, broken_traced = twin.traced(name="made")(make), twin.traced(broken)

    async def main():
        with pytest.raises(TypeError, match="object int can't be used in 'await' expression"):
            await broken_traced()
        return await make_traced()

    with twin.root():
        assert asyncio.run(main()) == "later"
    drawn = twin.drawn()
    assert (drawn["inside"], drawn["made"]) == ("made", "root")
