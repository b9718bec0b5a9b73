"""The pump drains at each interval; nobody waits for it, neither service nor neighbour."""

from __future__ import annotations

import _thread
import logging
import os
import signal
import sys
import threading
from collections import Counter
from types import ModuleType

import pytest

from nilometer.export.bell import Bell
from nilometer.export.exporter import Undelivered
from nilometer.export.outlet import Outlet
from nilometer.export.pump import Pump
from nilometer.export.threads import patched_by
from nilometer.measure.threads import local_of_threads
from nilometer.model import Batch, Resource
from nilometer.testing import MemoryExporter


class Source:
    """Gives one reading for each time it is asked, spans only when that is all it is asked."""

    def __init__(self, make):
        self.make = make
        self.asked = []

    def __call__(self, everything):
        self.asked.append(everything)
        if everything:
            return self.make.batch(readings=1, spans=1)
        return Batch(Resource("shop"), spans=(self.make.span(1),))


class Stuck(MemoryExporter):
    """An exporter whose receiver hangs until it is released."""

    def __init__(self):
        super().__init__(waits=True)
        self.entered, self.release = threading.Event(), threading.Event()

    def __call__(self, batch):
        self.entered.set()
        self.release.wait(30)
        super().__call__(batch)


def no_thread(run, name):
    """Nothing runs by itself: the test turns the pump."""


@pytest.fixture
def pump_of(make):
    made = []

    def start(*exporters, interval_s=3600.0, **options):
        source = Source(make)
        outlets = [Outlet(f"x{n}", exporter) for n, exporter in enumerate(exporters)]
        pump = Pump(source, outlets, interval_s=interval_s, **options)
        pump.start()
        made.append(pump)
        return pump, source

    yield start
    for pump in made:
        for outlet in pump.outlets:
            getattr(outlet.exporter, "release", threading.Event()).set()
        pump.stop(5)


def test_every_exporter_gets_every_batch(pump_of):
    quick, waiting = MemoryExporter(), MemoryExporter(waits=True)
    pump, source = pump_of(quick, waiting)

    assert pump.flush(5)

    assert quick.batches == waiting.batches == [source(True)]


def test_the_pump_turns_by_itself_at_each_interval(pump_of, wait_until):
    quick, waiting = MemoryExporter(), MemoryExporter(waits=True)
    _, source = pump_of(quick, waiting, interval_s=0.05)

    wait_until(lambda: len(waiting.batches) >= 3, what="three intervals are over")

    assert set(source.asked) == {True}


def test_a_wake_up_drains_only_what_cannot_wait(pump_of, wait_until):
    exporter = MemoryExporter()
    pump, source = pump_of(exporter)

    pump.wake()
    wait_until(lambda: exporter.batches, what="the spans are delivered")

    assert source.asked == [False]
    assert [(len(b.readings), len(b.spans)) for b in exporter.batches] == [(0, 1)]


def test_a_receiver_that_hangs_delays_neither_its_neighbours_nor_the_pump(pump_of, wait_until):
    stuck, other, quick = Stuck(), MemoryExporter(waits=True), MemoryExporter()
    pump, _ = pump_of(stuck, other, quick)
    pump.cycle()
    assert stuck.entered.wait(5)

    for _ in range(20):
        pump.cycle()
    rows = sum(batch.rows for batch in quick.batches)
    wait_until(lambda: sum(b.rows for b in other.batches) == rows, what="the other has all")

    assert (len(quick.batches), stuck.batches) == (21, [])
    stuck.release.set()
    wait_until(lambda: sum(b.rows for b in stuck.batches) == rows, what="it catches up")


def test_memory_is_bounded_while_a_receiver_hangs_and_the_loss_is_exact(make, wait_until):
    stuck = Stuck()
    outlet = Outlet("stuck", stuck, rows_max=100)
    pump = Pump(lambda _: make.batch(spans=7), [outlet], interval_s=3600)
    pump.start()
    pump.cycle()
    assert stuck.entered.wait(5)

    for _ in range(199):
        pump.cycle()
        assert outlet.state.buffered <= 100
    stuck.release.set()
    wait_until(lambda: outlet.is_empty, what="it caught up")

    assert outlet.lost == {("spans", "buffer_full"): 200 * 7 - 100}
    assert outlet.delivered + outlet.lost.total() == 200 * 7
    assert sum(batch.rows for batch in stuck.batches) == outlet.delivered == 100
    pump.stop(5)


def test_counters_are_exact_after_a_receiver_hung_for_longer_than_the_buffer_holds(
    make, wait_until
):
    stuck = Stuck()
    outlet = Outlet("stuck", stuck, rows_max=100)
    pump = Pump(lambda _: make.batch(readings=7), [outlet], interval_s=3600)
    pump.start()
    pump.cycle()
    assert stuck.entered.wait(5)

    for _ in range(199):
        pump.cycle()
        assert outlet.state.buffered <= 100
    stuck.release.set()
    wait_until(lambda: outlet.is_empty, what="it caught up")
    moved = Counter()
    for batch in stuck.batches:
        for reading in batch.readings:
            moved[reading.dimensions] += reading.value

    assert moved == {(("n", str(n)),): 200 * n for n in range(7)}
    assert (outlet.lost, outlet.delivered + outlet.merged) == ({}, 200 * 7)
    pump.stop(5)


def test_flush_gives_up_in_time_when_a_receiver_hangs(pump_of):
    stuck = Stuck()
    pump, _ = pump_of(stuck)

    assert pump.flush(0.05) is False


class Prompting(MemoryExporter):
    """An exporter in whose time there is always something new to send."""

    def __init__(self):
        super().__init__(waits=True)
        self.prompt = lambda: None

    def __call__(self, batch):
        super().__call__(batch)
        self.prompt()


def test_flush_waits_for_what_was_there_and_not_for_what_comes_meanwhile(pump_of):
    prompting, quick = Prompting(), MemoryExporter()
    pump, _ = pump_of(prompting, quick)
    prompting.prompt = pump.cycle

    assert [pump.flush(5), pump.flush(5)] == [True, True]

    prompting.prompt = lambda: None


def test_flush_is_not_content_with_what_came_later(pump_of):
    """Of two intervals the first hangs: the second is not through before it."""
    stuck = Stuck()
    pump, _ = pump_of(stuck)
    pump.cycle()
    assert stuck.entered.wait(5)

    assert pump.flush(0.05) is False
    stuck.release.set()
    assert pump.flush(5) is True
    assert sum(batch.rows for batch in stuck.batches) == 6


def test_the_end_drains_once_more_and_then_no_more(pump_of, caplog):
    prompting = Prompting()
    pump, source = pump_of(prompting)

    def wake_and_let_it_drain():
        pump.wake()
        threading.Event().wait(0.02)  # if it still turned, it would drain now

    prompting.prompt = wake_and_let_it_drain

    assert pump.stop(5) is True
    assert (source.asked, caplog.messages) == ([True], [])


def test_flush_asks_an_exporter_that_is_backing_off_once(pump_of):
    failing = MemoryExporter(waits=True)
    failing.fail_with = OSError("down")
    pump, _ = pump_of(failing)

    assert [pump.flush(5), pump.flush(5)] == [False, False]
    assert failing.calls == 2
    failing.fail_with = None
    assert pump.flush(5) is True
    assert sum(batch.rows for batch in failing.batches) == 6


class Refusing(MemoryExporter):
    """An exporter whose receiver takes no spans, until it does."""

    def __init__(self, *, waits):
        super().__init__(waits=waits)
        self.refuses = True

    def __call__(self, batch):
        if self.refuses:
            batch = batch._replace(spans=())
        super().__call__(batch)
        if self.refuses:
            raise Undelivered("400", refused={("spans", "http_400"): 1})


@pytest.mark.parametrize("waits", [True, False])
def test_what_a_receiver_refused_was_not_taken(pump_of, waits):
    refusing = Refusing(waits=waits)
    pump, _ = pump_of(refusing, MemoryExporter(waits=True))

    assert pump.flush(5) is False
    refusing.refuses = False
    assert pump.flush(5) is True  # what is measured now; the loss before it was told
    refusing.refuses = True
    assert pump.stop(5) is False
    assert [(len(b.readings), len(b.spans)) for b in refusing.batches] == [
        (1, 0),
        (1, 1),
        (1, 0),
    ]


def test_what_finds_no_room_was_not_taken(make):
    exporter = MemoryExporter()
    outlet = Outlet("x", exporter, rows_max=4)
    pump = Pump(lambda _: make.batch(spans=7), [outlet], spawn=no_thread)

    assert [pump.flush(5), pump.stop(5)] == [False, False]
    assert sum(batch.rows for batch in exporter.batches) == 2 * 4


def test_what_is_lost_of_a_later_interval_is_nothing_to_a_flush(pump_of):
    """Here of the one that begins while a neighbour is still at this one."""
    refusing, stuck = Refusing(waits=False), Stuck()
    refusing.refuses = False
    pump, _ = pump_of(refusing, stuck)
    asked = threading.Event()
    settled, outlet = pump.outlets[0].took_all, pump.outlets[0]
    outlet.took_all = lambda *marks: (settled(*marks), asked.set())[0]
    said = []
    flushing = threading.Thread(target=lambda: said.append(pump.flush(30)))
    flushing.start()
    assert asked.wait(5)

    refusing.refuses = True
    pump.cycle()
    stuck.release.set()
    flushing.join()

    assert (said, outlet.lost) == ([True], {("spans", "http_400"): 1})


def test_flush_delivers_by_itself_where_no_thread_runs(make):
    exporter = MemoryExporter(waits=True)
    pump = Pump(Source(make), [Outlet("x", exporter)], spawn=no_thread)

    assert pump.flush(5) is True
    assert [batch.rows for batch in exporter.batches] == [2]


def test_stop_writes_off_what_nobody_takes_and_says_so(make, caplog):
    failing = MemoryExporter()
    failing.fail_with = OSError("down")
    outlet = Outlet("x", failing)
    pump = Pump(Source(make), [outlet], spawn=no_thread)

    assert pump.stop(1) is False

    assert outlet.lost == {("readings", "shutdown"): 1, ("spans", "shutdown"): 1}
    assert (
        caplog.messages[-1] == "2 rows were not delivered before the end [rows-not-delivered]"
    )
    assert failing.closed == 1


def test_stop_ends_every_thread(pump_of):
    pump, _ = pump_of(MemoryExporter(), MemoryExporter(waits=True))
    names = {t.name for t in threading.enumerate() if t.name.startswith("nilometer")}

    assert names == {"nilometer-pump", "nilometer-x1"}
    assert pump.stop(5) is True
    assert not any(t.name.startswith("nilometer") for t in threading.enumerate())


def test_a_fault_of_the_source_is_said_once_and_the_pump_goes_on(make, caplog):
    faults = [RuntimeError("torn"), RuntimeError("again"), None]
    exporter = MemoryExporter()

    def drain(_):
        fault = faults.pop(0)
        if fault:
            raise fault
        return make.batch(readings=1)

    pump = Pump(drain, [Outlet("x", exporter)], spawn=no_thread)
    for _ in range(3):
        pump.cycle()

    assert [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR] == [
        "the pump: draining failed: RuntimeError: torn; said once [pump-fault]"
    ]
    assert len(exporter.batches) == 1


def test_a_thread_that_cannot_start_is_said_and_flush_still_delivers(make, caplog):
    def refuse(run, name):
        raise RuntimeError("can't start new thread")

    exporter = MemoryExporter(waits=True)
    pump = Pump(Source(make), [Outlet("x", exporter)], spawn=refuse)
    pump.start()

    assert pump.flush(5) is True
    assert "thread nilometer-pump cannot be started" in caplog.text


def test_a_bell_rung_twice_rings_once_and_never_blocks():
    bell = Bell()

    for _ in range(3):
        bell.ring()

    assert [bell.wait(0), bell.wait(0)] == [True, False]


def test_a_bell_can_be_rung_by_a_signal_handler_that_interrupts_the_waiter():
    bell = Bell()
    before = signal.signal(signal.SIGUSR1, lambda *_: bell.ring())
    try:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()

        assert bell.wait(10) is True
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_flush_gives_up_in_time_while_another_thread_drains(make):
    entered, release = threading.Event(), threading.Event()

    def drain(_):
        entered.set()
        release.wait(20)
        return make.batch(readings=1)

    exporter = MemoryExporter()
    pump = Pump(drain, [Outlet("x", exporter)], spawn=no_thread)
    other = threading.Thread(target=pump.flush, args=(20,))
    other.start()
    assert entered.wait(5)

    assert pump.flush(0.05) is False
    release.set()
    other.join(5)
    assert [batch.rows for batch in exporter.batches] == [1]


@pytest.mark.parametrize("action", ["flush", "stop"])
def test_what_interrupts_a_drain_of_its_own_thread_waits_for_nothing(make, action):
    """A signal handler, a finalizer: whatever lock the thread holds, it holds below."""
    said = []

    class Interrupted(MemoryExporter):
        def __call__(self, batch):
            said.append(getattr(pump, action)(3600))
            super().__call__(batch)

    def drain(_):
        if not said:
            said.append(pump.flush(3600))
        return make.batch(readings=1)

    pump = Pump(drain, [Outlet("x", Interrupted())], spawn=no_thread)

    pump.flush(5)

    assert said == [False, False]


def test_half_of_the_time_is_left_for_the_exporters(make):
    allowed = []
    outlets = [Outlet("x", MemoryExporter())]
    pump = Pump(Source(make), outlets, spawn=no_thread, read=allowed.append)

    assert pump.flush(0.5) is True
    pump.cycle()
    pump.cycle(everything=False)

    assert allowed == [0.25, 1.0]


@pytest.mark.parametrize("module", ["gevent.monkey", "eventlet.patcher"])
def test_who_is_only_being_imported_has_patched_nothing(monkeypatch, module):
    """An import takes long, and the pump's thread goes on meanwhile."""
    monkeypatch.setitem(sys.modules, module, ModuleType(module))

    assert patched_by() == ""
    assert type(local_of_threads()) is _thread._local


def test_what_is_looked_at_goes_out_with_the_next_interval_as_one_reading_a_series(make):
    exporter = MemoryExporter()
    rows = Batch(make.resource, (make.reading(5),), (make.span(1),), (make.event(1),))
    pump = Pump(lambda _: rows, [Outlet("x", exporter)], spawn=no_thread)

    assert [pump.look(lambda: len(exporter.batches), 5) for _ in range(3)] == [0, 0, 0]
    pump.cycle()
    assert [reading.value for b in exporter.batches for reading in b.readings] == [4 * 5]
    assert sum(len(batch.spans) + len(batch.events) for batch in exporter.batches) == 8


def test_nobody_looks_while_somebody_drains(pump_of):
    pump, _ = pump_of(MemoryExporter())
    entered, release, seen = threading.Event(), threading.Event(), []

    def slow():
        entered.set()
        release.wait(30)
        return "first"

    one = threading.Thread(target=lambda: seen.append(pump.look(slow, 5)))
    one.start()
    entered.wait(30)
    seen.append(pump.look(lambda: "beside it", 0.01))
    release.set()
    one.join()

    assert seen == [None, "first"]


def test_what_was_looked_at_before_the_end_is_delivered_at_the_end(pump_of):
    exporter = MemoryExporter()
    pump, _ = pump_of(exporter)
    pump.look(lambda: None, 5)

    assert pump.stop(5)
    assert sum(len(batch.readings) for batch in exporter.batches) == 1
    assert pump.look(lambda: "still there", 5) == "still there"


def test_a_forked_child_does_not_send_what_its_parent_had_looked_at(pump_of, make):
    exporter = MemoryExporter()
    pump, _ = pump_of(exporter, spawn=no_thread)
    pump.look(lambda: None, 5)
    pump.reset_after_fork()
    pump.cycle()

    readings = make.batch(1).readings
    assert [batch.readings for batch in exporter.batches if batch.readings] == [readings]
