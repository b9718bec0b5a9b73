"""The C twin gives back what it takes: objects, references, memory."""

import contextlib
import gc
import sys
import tracemalloc

import pytest

from nilometer.measure import Registry, _core, pure
from nilometer.model import Level

from .conftest import Hands

ROUNDS = 1000
KIB_ALLOWED = 30  # the interpreter's own ups and downs are 20; one integer a round is 31


class Once:
    def __await__(self):
        yield


def run(coroutine):
    """What asyncio.run() does, without its caches."""
    while True:
        try:
            coroutine.send(None)
        except StopIteration as stop:
            return stop.value


def function(registry):
    timed = registry.timer("t")(lambda a, b=1: a)
    timed(1)
    timed(1, b=2)
    with contextlib.suppress(TypeError):
        timed()


def handles(registry):
    counter = registry.counter("c")
    counter.add()
    counter.add(2**62)
    counter.bind(a=1, b="x").add()
    with contextlib.suppress(ValueError):
        counter.add(-1)
    with contextlib.suppress(TypeError):
        counter.add("x")
    gauge = registry.gauge("g", read=lambda: 3)
    gauge.set(1.5)
    gauge.add(2)
    with contextlib.suppress(ValueError):
        gauge.set(float("nan"))
    repr(counter)


def by_thread(registry):
    registry.counter("pc", per_thread=True).bind(x=1).add()
    registry.timer("pt", per_thread=True)(lambda: None)()


def laps(registry):
    with registry.timer("t").lap():
        pass
    with contextlib.suppress(KeyError), registry.timer("t").lap():
        raise KeyError


def coroutine(registry):
    @registry.timer("t")
    async def fetch(fail):
        await Once()
        if fail:
            raise KeyError
        return 1

    async def main():
        assert await fetch(False) == 1
        with contextlib.suppress(KeyError):
            await fetch(True)

    run(main())
    made = fetch(True)
    made.send(None)
    made.close()
    dropped = fetch(True)
    dropped.send(None)
    del dropped


def generator(registry):
    @registry.timer("t")
    def numbers():
        with contextlib.suppress(KeyError):
            yield 1
        yield 2
        return 3

    list(numbers())
    running = numbers()
    next(running)
    running.throw(KeyError())
    ring = numbers()
    ring_holder = [ring]
    ring_holder.append(ring_holder)
    next(ring)


def async_generator(registry):
    @registry.timer("t")
    async def numbers():
        with contextlib.suppress(KeyError):
            yield 1
        yield 2

    async def main():
        assert [n async for n in numbers()] == [1, 2]
        running = numbers()
        await running.asend(None)
        await running.athrow(KeyError())
        await running.aclose()
        async for _ in numbers():
            break

    run(main())


def collecting(registry):
    registry.timer("t").record(1)
    registry.timer("t").record(2**62)
    registry.collect()
    registry.set_level("t", Level.OFF)
    registry.set_level("t", Level.BASIC)


USES = [
    function,
    handles,
    by_thread,
    laps,
    coroutine,
    generator,
    async_generator,
    collecting,
]


def kib():
    while gc.collect():  # what one finalizer lets go of is seen by the next pass
        pass
    return tracemalloc.get_traced_memory()[0] / 1024


def grown_kib(core, use):
    """How much memory is held after many more rounds than before."""
    registry = Registry(core=core, clock=Hands().clock)
    tracemalloc.start()
    try:
        for _ in range(ROUNDS):
            use(registry)
        before = kib()
        for _ in range(ROUNDS):
            use(registry)
        return kib() - before
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("use", USES, ids=[use.__name__ for use in USES])
def test_using_it_again_and_again_holds_no_more_memory_than_python_does(use):
    python, c = (grown_kib(core, use) for core in (pure, _core))

    assert c - python < KIB_ALLOWED


IMMORTAL = 1 << 29


@pytest.mark.parametrize("use", USES, ids=[use.__name__ for use in USES])
def test_no_shared_object_gains_or_loses_references(use):
    registry = Registry(core=_core, clock=Hands().clock)
    for _ in range(20):
        use(registry)
    gc.collect()
    timer, counter = registry.timer("t"), registry.counter("c")
    errors = registry.counter("t.errors", unit="{error}").bind(**{"error.type": "KeyError"})
    shared = [None, True, False, "a", timer, counter, errors, timer.family, KeyError]
    # From Python 3.12 on some live for ever; what stands for their count says nothing.
    shared = [one for one in shared if sys.getrefcount(one) < IMMORTAL]
    before = [sys.getrefcount(one) for one in shared]
    for _ in range(ROUNDS):
        use(registry)
    gc.collect()
    after = [sys.getrefcount(one) for one in shared]

    assert all(abs(a - b) < ROUNDS // 2 for a, b in zip(after, before, strict=True))


def test_series_beyond_the_arena_are_counted_and_harm_nobody():
    registry = Registry(core=_core, clock=Hands().clock)
    registry.arena = _core.Arena(4096)
    counter, timer = registry.counter("c"), registry.timer("t")
    counter.add()
    for n in range(10_000):
        timer.record(n**3)
        counter.bind(n=n).add()

    readings, _events = registry.collect()
    values = {(r.name, r.dimensions): r.value for r in readings}
    distribution = values["t", ()]

    assert values["c", ()] == 1
    assert (distribution.samples, distribution.total, distribution.maximum) == (
        10_000,
        sum(n**3 for n in range(10_000)),
        9_999**3,
    )
    assert values["nilometer.lost", (("reason", "arena_full"), ("what", "values"))] > 0
    assert registry.arena.bytes_used <= 4096
