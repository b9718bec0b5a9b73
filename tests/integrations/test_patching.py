"""Patches lie there when their module does, while their level is on, and go without a trace."""

from __future__ import annotations

import asyncio
import functools
import gc
import importlib
import inspect
import json
import sys
import threading
import types
import weakref

import pytest

from nilometer.integrations import Chosen
from nilometer.measure import Registry
from nilometer.measure.decorate import kind_of
from nilometer.measure.events import EventSource
from nilometer.model import Status
from tests.integrations.integration_kit import read, shape, traced_request
from tests.integrations.patched import library_of, patching

library = pytest.fixture(library_of, name="library")


@pytest.fixture
def laid(registry):
    """Make patches that are taken off again, whatever the test comes to."""
    made = []

    def lay(*tables, registry=registry):
        made.append(patching(registry, *tables))
        return made[-1]

    yield lay
    for one in made:
        one.end()


def everything(module):
    """Every attribute of the module and of its classes, by identity."""
    classes = [module.Base, module.Child, module.Child.Inner, module.Own]
    return {
        (owner.__name__, name): id(thing)
        for owner in [module, *classes]
        for name, thing in vars(owner).items()
        if name not in ("__weakref__", "__dict__")
    }


async def collected(steps):
    return [one async for one in steps]


def call_all(module):
    """Each kind of callable once; what it gave."""
    child = module.Child()
    return [
        module.plain(1, key=2, other=3),
        asyncio.run(module.coroutine(2)),
        list(module.generator(3)),
        asyncio.run(collected(module.async_generator(2))),
        child.save("saved"),
        child.load(),
        child.static(4),
        module.Child.of(5) == (module.Child, 5),
        child.size,
        child.cached(),
        child.length("four"),
        module.Own(a=1).get("a"),
        module.Child.Inner().deep(),
    ]


EVERYTHING = [
    *("patched_lib:*", "patched_lib:*.*", "patched_lib:Child.*.*", "patched_lib:Base.size"),
    *("patched_lib:Base.__init__", "patched_lib:Own.get"),
]
GAVE = [1, 2, [3, None], [0, 1], "saved", "child of base", 4, True, 7, 1, 4, 1, 1]


@pytest.mark.parametrize("make", ["timer", "counter", "span", "event"])
def test_every_kind_of_callable_is_measured_and_does_what_it_did(library, laid, registry, make):
    laid(*[{"target": one, "make": make} for one in EVERYTHING])
    module = library.load()
    with traced_request() as spans:
        gave = call_all(module)
    found = {name: sum(by.values()) for name, by in read(registry).items()}

    assert gave == GAVE
    expected = {
        f"patched_lib.{name}": 1
        for name in [
            *("plain", "coroutine", "generator", "async_generator"),
            *("Base.save", "Base.load", "Base.static", "Base.of", "Base.size", "Base.cached"),
            *("Base.__init__", "Base.length", "Child.load", "Child.Inner.deep", "Own.get"),
        ]
    }
    if make == "timer":
        assert found == expected
    elif make == "counter":
        assert found == {f"{name}.calls": n for name, n in expected.items()}
    elif make == "span":
        assert sorted(name for name, _, _ in shape(spans)) == sorted([*expected, "request"])
    else:
        assert found == {}


def test_with_none_left_the_very_objects_lie_there_that_were_there_before(
    library, laid, registry
):
    module = library.load()
    before = everything(module)
    made = laid(*EVERYTHING)
    during = everything(module)
    registry.set_level("patched_lib", "off")
    off = everything(module)
    registry.set_level("patched_lib", "basic")
    again = everything(module)
    made.end()

    changed = {key for key in before if before[key] != during[key]}
    assert len(changed) == 19  # nine functions, and the rest in classes
    assert set(during) - set(before) == {("Own", "get")}
    assert off == before
    assert {key for key in before if before[key] != again[key]} == changed
    assert everything(module) == before
    assert registry.followers == []


@pytest.mark.parametrize(
    ("target", "raising"),
    [
        ("fails", lambda module: module.fails("x")),
        ("fails_later", lambda module: list(module.fails_later("x"))),
        ("fails_awaited", lambda module: asyncio.run(module.fails_awaited("x"))),
        (
            "fails_on_the_way",
            lambda module: asyncio.run(collected(module.fails_on_the_way("x"))),
        ),
    ],
)
def test_a_call_that_raises_is_measured_and_raises_what_it_did(
    library, laid, registry, target, raising
):
    name = f"patched_lib.{target}"
    makes = ("timer", "counter", "span", "event")
    laid(*[{"target": f"patched_lib:{target}", "make": make} for make in makes])
    module = library.load()
    with traced_request() as spans, pytest.raises(KeyError) as raised:
        raising(module)
    readings, [event] = registry.collect()

    assert raised.value.args == ("x",)
    assert {one.name: dict(one.dimensions) for one in readings} == {
        name: {},
        f"{name}.errors": {"error.type": "KeyError"},
        f"{name}.calls": {},
    }
    assert (event.name, event.attributes) == (f"{name}.raised", {"error.type": "KeyError"})
    assert [one.status for one in spans if one.name == name] == [Status.ERROR]


@pytest.mark.parametrize("twin", ["nilometer.measure.pure", "nilometer.measure._core"])
@pytest.mark.parametrize("error", [RecursionError, MemoryError])
def test_an_error_that_there_is_no_room_to_tell_of_passes_as_it_is_and_is_counted(
    library, laid, twin, error, monkeypatch
):
    registry = Registry(core=importlib.import_module(twin))

    def no_room(*_, **__):
        raise error("no room for an event")

    monkeypatch.setattr(EventSource, "emit", no_room)
    library.write("def fails(error):\n    raise error\n")
    laid({"target": "patched_lib:fails", "make": "event"}, registry=registry)
    raised = error("the service's own")
    with pytest.raises(error) as seen:
        library.load().fails(raised)

    assert seen.value is raised
    assert read(registry) == {"nilometer.lost": {"reason=no_stack,what=errors": 1}}


def test_a_generator_that_is_closed_has_raised_nothing(library, laid, registry):
    laid({"target": "patched_lib:generator", "make": "event"}, "patched_lib:generator")
    steps = library.load().generator(1)
    next(steps)
    steps.close()
    readings, events = registry.collect()

    assert [(one.name, one.value.samples) for one in readings] == [("patched_lib.generator", 1)]
    assert events == ()


def test_a_generator_is_sent_to_and_returns_through_its_patches(library, laid):
    laid(
        *[{"target": "patched_lib:generator", "make": m} for m in ("counter", "event", "span")]
    )
    steps = library.load().generator(1)
    next(steps)
    sent = steps.send("to it")
    with pytest.raises(StopIteration) as end:
        next(steps)

    assert (sent, end.value.value) == ("to it", "end")


@pytest.mark.parametrize("make", ["timer", "counter", "span", "event"])
@pytest.mark.parametrize("dimensions", [{}, {"a": "a"}])
def test_who_asks_sees_the_function_that_was_there(library, laid, make, dimensions):
    module = library.load()
    names = ["plain", "coroutine", "generator", "async_generator"]
    asked = [inspect.iscoroutinefunction, inspect.isgeneratorfunction]
    asked += [inspect.isasyncgenfunction]
    before = [(fn(getattr(module, n))) for n in names for fn in asked]
    signatures = [inspect.signature(getattr(module, name)) for name in names]
    laid(
        *[{"target": f"patched_lib:{n}", "make": make, "dimensions": dimensions} for n in names]
    )

    assert [fn(getattr(module, n)) for n in names for fn in asked] == before
    assert [inspect.signature(getattr(module, name)) for name in names] == signatures
    assert (module.plain.__name__, module.plain.__doc__) == ("plain", "Told.")


# --- Once -------------------------------------------------------------------------------------


def test_a_method_that_is_inherited_is_measured_once(library, laid, registry):
    laid("patched_lib:*.save", "patched_lib:Base.save", "patched_lib:Bas?.sav?")
    module = library.load()
    module.Child().save(1)

    assert read(registry) == {"patched_lib.Base.save": {"": 1}}
    assert "save" not in vars(module.Child)


@pytest.mark.parametrize("order", [1, -1])
def test_a_subclass_that_is_named_is_measured_alone_in_either_order(
    library, laid, registry, order
):
    """And where the same was to be made of both, once: whichever came first."""
    tables = [
        {"target": "patched_lib:Child.save", "make": "counter", "name": "child"},
        {"target": "patched_lib:Child.save", "name": "any"},
        {"target": "patched_lib:Base.save", "name": "any"},
    ]
    laid(*tables[::order])
    module = library.load()
    module.Child().save(1)
    module.Base().save(1)

    assert read(registry) == {"child": {"": 1}, "any": {"": 2}}


def test_what_a_subclass_shadows_follows_its_base_and_goes_without_a_trace(
    library, laid, registry
):
    made = laid(
        {"target": "patched_lib:Child.save", "make": "counter"}, "patched_lib:Base.save"
    )
    module = library.load()
    registry.set_level("patched_lib.Base", "off")
    module.Child().save(1)
    without_base = read(registry)
    registry.set_level("patched_lib.Base", "basic")
    registry.set_level("patched_lib.Child", "off")
    module.Child().save(1)
    without_child = read(registry)
    made.end()

    assert without_base == {"patched_lib.Child.save.calls": {"": 1}}
    assert without_child == {"patched_lib.Base.save": {"": 1}}
    assert "save" not in vars(module.Child)


def test_several_patches_of_one_function_lie_around_each_other(library, laid, registry):
    made = laid(
        {"target": "patched_lib:plain", "name": "p"},
        {"target": "patched_lib:plain", "make": "counter", "name": "n", "amount": 3},
        {"target": "patched_lib:plain", "name": "q", "level": "detail"},
    )
    module = library.load()
    module.plain(1)
    basic = read(registry)
    registry.set_level("q", "detail")
    registry.set_level("p", "off")
    module.plain(1)
    other = read(registry)

    assert basic == {"p": {"": 1}, "n": {"": 3}}
    assert other == {"n": {"": 3}, "q": {"": 1}}
    assert [(one.name, one.state) for one in made.applied] == [
        ("p", "off by its level"),
        ("n", "on"),
        ("q", "on"),
    ]


# --- When -------------------------------------------------------------------------------------


def test_a_module_that_is_imported_already_is_patched_at_once(library, laid, registry):
    module = library.load()
    made = laid("patched_lib:plain")
    module.plain(1)

    assert read(registry) == {"patched_lib.plain": {"": 1}}
    assert made.waiting == {}


def test_a_module_that_is_being_imported_when_its_patches_begin_is_patched_when_complete(
    library, laid, registry
):
    """An application's module that reads settings of its own, after `nilometer run` began."""
    first = laid("patched_asks:Cart.add")
    half_made = []

    def begin_anew():
        first.end()
        for _ in range(2):  # the settings of the second one are what holds
            for one in half_made:
                one.end()
            half_made.append(laid("patched_asks:Cart.add"))

    library.begin_anew = begin_anew
    sys.modules["patched_hands"] = library
    library.write(
        "import patched_hands\n"
        "patched_hands.begin_anew()\n"
        "class Cart:\n"
        "    def add(self):\n"
        "        return 1\n",
        "patched_asks",
    )
    module = library.load("patched_asks")
    module.Cart().add()

    assert read(registry) == {"patched_asks.Cart.add": {"": 1}}
    assert (half_made[-1].failed, half_made[-1].waiting) == ({}, {})
    assert type(module.__spec__) is type(sys.__spec__)
    assert set(vars(module.__spec__)) == set(vars(library.load().__spec__))


def test_a_module_that_fails_while_its_patches_wait_for_it_is_patched_the_next_time(
    library, laid, registry
):
    library.begin = lambda: laid("patched_asks:add")
    sys.modules["patched_hands"] = library
    library.write("import patched_hands\npatched_hands.begin()\n1 / 0\n", "patched_asks")
    with pytest.raises(ZeroDivisionError):
        library.load("patched_asks")
    library.write("def add():\n    return 1\n", "patched_asks")
    library.load("patched_asks").add()

    assert read(registry) == {"patched_asks.add": {"": 1}}


def test_a_module_that_is_reloaded_is_patched_again_and_classes_made_before_stay_so(
    library, laid, registry
):
    made = laid("patched_lib:plain", "patched_lib:Base.save")
    module = library.load()
    old = module.Base
    importlib.reload(module)
    module.plain(1)
    module.Base().save(1)
    old().save(1)
    found = read(registry)
    made.end()

    assert module.Base is not old
    assert found == {"patched_lib.plain": {"": 1}, "patched_lib.Base.save": {"": 2}}
    assert [one.qualname for one in made.applied] == []
    for owner in (old, module.Base):
        assert not hasattr(vars(owner)["save"], "__wrapped__")
    assert not hasattr(module.plain, "__wrapped__")


def test_a_target_through_another_module_is_told_as_lost_once_that_is_reloaded(
    library, laid, registry
):
    module = library.load()
    through = types.ModuleType("patched_through")
    through.lib = module
    sys.modules["patched_through"] = through
    try:
        made = laid("patched_through:lib.plain")
        before = [one.state for one in made.applied]
        importlib.reload(module)
        after = [one.state for one in made.applied]
    finally:
        del sys.modules["patched_through"]

    assert (before, after) == (["on"], ["covered by somebody else's wrapper, or run again"])


def test_of_a_module_that_is_reloaded_for_ever_only_the_classes_of_the_last_time_are_kept(
    library, laid, registry
):
    made = laid("patched_lib:*.*", "patched_lib:plain")
    module = library.load()
    classes = []
    for _ in range(5):
        classes.append(weakref.ref(module.Child))  # with a cell of its own, for `super`
        importlib.reload(module)
    gc.collect()

    assert [one() is not None for one in classes] == [False] * 4 + [True]
    assert len(made.applied) == len({one.qualname for one in made.applied})
    classes[-1]()().load()
    assert read(registry)["patched_lib.Child.load"] == {"": 1}


def test_what_cannot_be_patched_is_said_once_however_often_its_module_is_reloaded(
    library, laid, caplog
):
    made = laid("patched_lib:nope")
    module = library.load()
    for _ in range(3):
        importlib.reload(module)

    [(_, told)] = made.failed.values()
    [said] = [one.getMessage() for one in caplog.records]
    assert said == f"not measured: {told} [patch-fails]"


def test_a_module_that_is_imported_anew_is_patched_again(library, laid, registry):
    laid("patched_lib:plain")
    library.load()
    del sys.modules["patched_lib"]
    library.load().plain(1)

    assert read(registry) == {"patched_lib.plain": {"": 1}}


def test_integrations_and_patches_may_wait_for_one_module(library, laid, registry, monkeypatch):
    """Two finders that ask each other would never end."""
    from nilometer import integrations

    monkeypatch.setitem(integrations.LIBRARIES, "patched", "patched_lib")
    chosen = Chosen(["patched"])
    chosen.begin()
    laid("patched_lib:plain")
    library.load().plain(1)
    chosen.end()

    assert read(registry)["patched_lib.plain"] == {"": 1}
    assert list(chosen.failed) == ["patched"]  # there is no such module of ours; it was told


def test_threads_that_call_while_the_level_changes_lose_no_call_and_see_no_fault(
    library, laid, registry
):
    laid("patched_lib:*.save", {"target": "patched_lib:Child.save", "make": "counter"})
    module = library.load()
    child, wrong, over = module.Child(), [], threading.Event()

    def call():
        while not over.is_set():
            if child.save(1) != 1:
                wrong.append(1)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        registry.set_level("patched_lib", "off")
        registry.set_level("patched_lib", "basic")
    over.set()
    for thread in threads:
        thread.join()
    read(registry)
    child.save(1)

    assert wrong == []
    assert read(registry) == {
        "patched_lib.Base.save": {"": 1},
        "patched_lib.Child.save.calls": {"": 1},
    }


def test_a_class_that_lets_nobody_change_it_any_more_is_told_by_the_doctor_alone(
    library, laid, registry, caplog
):
    library.write(
        "class Closing(type):\n"
        "    closed = False\n"
        "    def __setattr__(cls, name, value):\n"
        "        if Closing.closed:\n"
        "            raise AttributeError('closed')\n"
        "        super().__setattr__(name, value)\n"
        "class Shop(metaclass=Closing):\n"
        "    def sell(self):\n"
        "        return 1\n",
        "patched_closing",
    )
    made = laid("patched_closing:Shop.sell")
    module = library.load("patched_closing")
    type.__setattr__(module.Closing, "closed", True)
    registry.set_level("patched_closing", "off")
    sold = module.Shop().sell()
    type.__setattr__(module.Closing, "closed", False)

    assert (sold, caplog.records) == (1, [])
    assert [told for _, told in made.failed.values()] == [
        "here: patched_closing:Shop.sell: AttributeError('closed')"
    ]
    assert read(registry)["nilometer.lost"] == {
        "reason=patched_closing:Shop.sell,what=patch": 1
    }


def test_what_somebody_else_wrapped_around_ours_stays_and_passes_calls_on(
    library, laid, registry
):
    made = laid("patched_lib:plain")
    module = library.load()
    ours = module.plain
    module.plain = theirs = lambda a: ours(a) + 1
    registry.set_level("patched_lib", "off")
    while_off = module.plain(1)
    nothing = read(registry)
    [state] = [one.state for one in made.applied]
    made.end()

    assert (while_off, nothing, state) == (
        2,
        {},
        "covered by somebody else's wrapper, or run again",
    )
    assert module.plain is theirs


def wrapped_by_somebody_else(thing):
    if isinstance(thing, staticmethod | classmethod):
        return type(thing)(wrapped_by_somebody_else(thing.__func__))
    if isinstance(thing, property):
        return property(wrapped_by_somebody_else(thing.fget))

    def theirs(*args, **kwargs):
        return thing(*args, **kwargs)

    async def theirs_awaited(*args, **kwargs):
        return await thing(*args, **kwargs)

    def their_steps(*args, **kwargs):
        return (yield from thing(*args, **kwargs))

    async def their_async_steps(*args, **kwargs):
        async for one in thing(*args, **kwargs):
            yield one

    by_kind = {
        "function": theirs,
        "coroutine": theirs_awaited,
        "generator": their_steps,
        "async_generator": their_async_steps,
    }
    return functools.wraps(thing)(by_kind[kind_of(thing)])


@pytest.mark.parametrize(
    ("make", "dimensions"),
    [
        *((make, {}) for make in ("timer", "counter", "span", "event")),
        *((make, {"a": "0"}) for make in ("timer", "counter", "span", "event")),
        *((make, {"result": "return"}) for make in ("timer", "counter", "span")),
    ],
)
def test_what_somebody_else_wrapped_around_ours_is_measured_once_also_by_later_settings(
    library, laid, registry, make, dimensions
):
    steps = ("generator", "async_generator")  # which have no result
    named = [
        *("plain", "coroutine", "Base.save", "Base.load", "Base.static", "Base.of", "fails"),
        *("Base.size", "Base.__init__", "Own.get", "Child.load", "fails_awaited"),
        *(() if "result" in dimensions else steps),
    ]
    tables = [
        {"target": f"patched_lib:{one}", "make": make, "dimensions": dimensions}
        for one in named
    ]
    first = laid(*tables)
    module = library.load()

    def measured():
        """What one call of each makes, but for when and how long."""
        with traced_request() as spans:
            assert call_all(module) == GAVE
            with pytest.raises(KeyError):
                module.fails(5)
            with pytest.raises(KeyError):
                asyncio.run(module.fails_awaited(6))
        readings, events = registry.collect()
        return (
            sorted((one.name, *dict(one.dimensions)) for one in readings if samples(one)),
            sum(samples(one) for one in readings),
            sorted(event.name for event in events),
            sorted(shape(spans)),
        )

    def samples(reading):
        return getattr(reading.value, "samples", reading.value)

    once = measured()
    for one in first.applied:
        owner, name = one.place.owner, one.place.name
        setattr(owner, name, wrapped_by_somebody_else(vars(owner)[name]))
    first.end()
    after = measured()
    second = laid(*tables)
    again = measured()
    second.end()
    at_last = measured()

    nothing = ([], 0, [], [("request", "", "UNSET")])
    assert (first.failed, second.failed) == ({}, {})
    assert once != nothing
    assert (after, again, at_last) == (nothing, once, nothing)


# --- What cannot be patched -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "because"),
    [
        ("patched_lib:plian", "matches nothing; did you mean 'plain'?"),
        ("patched_lib:Base.sav", "matches nothing; did you mean 'save'?"),
        ("patched_lib:Bass.save", "matches nothing; did you mean 'Base'?"),
        ("patched_lib:nothing*", "matches nothing"),
        ("patched_lib:CONSTANT", "is a int, which is no function"),
        ("patched_lib:Base", "is a class; name its methods, such as __init__"),
        ("patched_lib:functools", "is a module; name what is in it"),
        ("patched_lib:Base.slot", "is a member_descriptor, which is no function"),
        ("patched_lib:Base.__hash__", "matches nothing"),  # only what object gives
        ("decimal:Decimal.sqrt", "is of a class written in C"),
    ],
)
def test_what_cannot_be_patched_is_said_once_with_its_reason_and_runs_on(
    library, laid, registry, caplog, target, because
):
    made = laid(target, "patched_lib:plain")
    library.load().plain(1)
    [(_, told)] = made.failed.values()
    [said] = [record.getMessage() for record in caplog.records]
    lost = read(registry)

    assert because in told
    assert because in said
    assert said.startswith(f"not measured: here: {target}")
    assert said.endswith("[patch-fails]")
    assert lost == {
        "nilometer.lost": {f"reason={target},what=patch": 1},
        "patched_lib.plain": {"": 1},
    }


HOLDING = """
import functools

class Shared(property):
    def __init__(self, fget):
        super().__init__(fget)

class Holding:
    def save(self, one, two):
        return one, two

    half = functools.partialmethod(save, 1)
    whole = classmethod(functools.partialmethod(save, 1))
    size = classmethod(property(lambda cls: 7))
    of = classmethod(staticmethod(len))
    made = staticmethod(dict)
    told = Shared(lambda self: 8)
"""


@pytest.mark.parametrize("make", ["timer", "counter", "span", "event"])
def test_what_holds_a_function_in_a_way_of_its_own_is_refused_and_stays_as_it_was(
    library, laid, make
):
    library.write(HOLDING, "patched_holding")
    module = library.load("patched_holding")
    before = dict(vars(module.Holding))
    names = ("half", "whole", "size", "of", "made", "told")
    made = laid(*[{"target": f"patched_holding:Holding.{n}", "make": make} for n in names])
    whole = laid({"target": "patched_holding:Holding.*", "make": make})

    assert dict(vars(module.Holding)) == {**before, "save": module.Holding.save}
    assert len(made.failed) == len(names)
    assert [one.qualname for one in whole.applied] == ["Holding.save"]
    assert (module.Holding().told, module.Holding.made(a=1)) == (8, {"a": 1})
    assert module.Holding().half(2) == (1, 2)


def test_a_name_that_is_taken_by_another_kind_costs_that_patch_alone(library, laid, registry):
    registry.counter("taken")
    made = laid({"target": "patched_lib:plain", "name": "taken"}, "patched_lib:Base.save")
    library.load().Base().save(1)

    [(_, told)] = made.failed.values()
    assert "timer 'taken' in 'ns' was made as a counter" in told
    assert read(registry)["patched_lib.Base.save"] == {"": 1}


def test_a_pattern_asks_nothing_of_what_is_no_function(library, laid, registry):
    """A proxy may raise whatever it is asked: its context is not there yet."""
    library.write(
        "class Proxy:\n"
        "    def __getattr__(self, name):\n"
        "        raise RuntimeError('outside of a request')\n"
        "    __class__ = __dict__ = property(lambda self: self.nothing)\n"
        "    def ask(self):\n"
        "        return 1\n"
        "request = Proxy()\n"
        "def served():\n"
        "    return 1\n",
        "patched_proxy",
    )
    made = laid("patched_proxy:*", "patched_proxy:*.*")
    library.load("patched_proxy").served()

    assert read(registry) == {"patched_proxy.served": {"": 1}}
    assert [one.qualname for one in made.applied] == ["served", "Proxy.ask"]


# --- Libraries that know nothing of it --------------------------------------------------------


def test_the_json_of_python_itself_is_measured_also_in_c(laid, registry):
    made = laid(
        "json:[dl]*s",
        "json.encoder:JSONEncoder.encode",
        {"target": "json.scanner:NUMBER_RE", "make": "counter"},
        {"target": "json.decoder:scanstring", "make": "counter"},
        {"target": "json.decoder:JSONDecoder.*decode"},
    )
    assert json.loads(json.dumps({"a": [1, 2.5, None]})) == {"a": [1, 2.5, None]}
    found = read(registry)
    made.end()

    assert found == {
        "json.dumps": {"": 1},
        "json.encoder.JSONEncoder.encode": {"": 1},
        "json.loads": {"": 1},
        "json.decoder.JSONDecoder.decode": {"": 1},
        "json.decoder.JSONDecoder.raw_decode": {"": 1},
        "nilometer.lost": {"reason=json.scanner:NUMBER_RE,what=patch": 1},
    }
    assert not hasattr(json.dumps, "__wrapped__")


def test_sqlalchemy_is_measured_below_what_any_integration_sees(laid, registry):
    from sqlalchemy import create_engine, text

    laid(
        {
            "target": "sqlalchemy.sql.elements:ClauseElement._compile_w_cache",
            "dimensions": {"dialect": "dialect.name"},
        },
        {"target": "sqlalchemy.engine.cursor:CursorResult.*fetch*", "make": "counter"},
        {
            "target": "sqlalchemy.engine.base:Connection.execute",
            "dimensions": {"rows": "return.rowcount"},
        },
    )
    with create_engine("sqlite://").connect() as connection:
        connection.execute(text("select 1")).fetchall()

    found = read(registry)
    assert found["sqlalchemy.sql.elements.ClauseElement._compile_w_cache"] == {
        "dialect=sqlite": 1
    }
    assert found["sqlalchemy.engine.base.Connection.execute"] == {"rows=-1": 1}


def test_requests_is_measured_by_the_method_that_a_caller_gives(laid, registry):
    import requests

    laid(
        {
            "target": "requests.sessions:Session.request",
            "dimensions": {"method": "method", "status": "return.status_code"},
        },
        {"target": "requests.adapters:HTTPAdapter.send", "make": "event"},
    )
    with pytest.raises(requests.ConnectionError):
        requests.get("http://127.0.0.1:9/", timeout=5)
    readings, events = registry.collect()

    assert {one.name: dict(one.dimensions) for one in readings} == {
        "requests.sessions.Session.request": {"method": "get"},
        "requests.sessions.Session.request.errors": {
            "method": "get",
            "error.type": "ConnectionError",
        },
    }
    assert [(one.name, one.attributes) for one in events] == [
        ("requests.adapters.HTTPAdapter.send.raised", {"error.type": "ConnectionError"})
    ]
