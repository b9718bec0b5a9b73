"""Every test of spans runs on both twins; time and ids are what the test says."""

import sys
from importlib import import_module

import pytest

from nilometer.clock import Clock
from nilometer.trace.current import CURRENT
from nilometer.trace.decorate import Decorator

TWINS = {"python": "nilometer.trace.pure", "c": "nilometer.trace._core"}


class Ticks:
    """A clock that moves 10 ns at each look; the wall started at a million."""

    def __init__(self):
        self.now = 0
        self.clock = Clock(elapsed_ns=self.elapsed_ns, wall_ns=lambda: 1_000_000 + self.now)

    def elapsed_ns(self):
        self.now += 10
        return self.now


class Traced:
    """One twin with a ring of its own, and requests recorded in it."""

    def __init__(self, core):
        self.core = core
        self.ring = core.Ring(clock=Ticks().clock)
        self.traced = Decorator(core.wrapped)

    def request(self, trace_id=b"t" * 16, parent_id=b"", **options):
        options.setdefault("ring", self.ring)
        return self.core.Trace(trace_id, parent_id, **options)

    def root(self, name="root", **options):
        return self.core.start_root(name, request=self.request(**options))

    def drawn(self):
        """What was recorded, as {name: name of the parent}, in the order in which it ended."""
        records = self.ring.drain()
        names = {record.span_id: record.name for record in records}
        return {record.name: names.get(record.parent_id) for record in records}


@pytest.fixture(params=TWINS)
def core(request):
    """The module of one twin."""
    return import_module(TWINS[request.param])


@pytest.fixture
def twin(core):
    """One twin, set up to record; nothing may stay current after the test."""
    yield Traced(core)
    left = CURRENT.get()
    CURRENT.set(None)

    assert left is None


def blocks_left_by(once, times=20):
    """Memory blocks more after many rounds than before: the least of some tries.

    Other threads (a test runner's) allocate meanwhile; what leaks shows in every try.
    """
    once()
    tries = []
    for _ in range(5):
        before = sys.getallocatedblocks()
        for _ in range(times):
            once()
        tries.append(sys.getallocatedblocks() - before)
    return min(tries)
