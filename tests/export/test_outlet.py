"""What is kept for an exporter is bounded, and its accounts always add up."""

from __future__ import annotations

import logging
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from nilometer.export.exporter import Undelivered
from nilometer.export.outlet import Outlet
from nilometer.testing import FakeTime, MemoryExporter


class Scripted:
    """An exporter that fails as it is told; `taken` counts the rows that it really took."""

    def __init__(self, script):
        self.script = list(script)
        self.taken = Counter()

    def __call__(self, batch):
        step = self.script.pop(0) if self.script else "ok"
        if step == "raise":
            raise OSError("down")
        left, refused = None, {}
        if step == "half":
            half = len(batch.readings) // 2
            left = batch._replace(readings=batch.readings[half:], spans=())
            batch = batch._replace(readings=batch.readings[:half])
        if step == "refuse":
            refused = {("readings", "http_400"): len(batch.readings)}
            batch = batch._replace(readings=())
        self.taken["readings"] += len(batch.readings)
        self.taken["spans"] += len(batch.spans)
        if left is not None or refused:
            raise Undelivered("as told", left=left, refused=refused)

    def close(self):
        pass


def lost_by_reason(told):
    def lost(what, reason, exporter, rows):
        told[what, reason] += rows

    return lost


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.integers(0, 30), st.integers(0, 10)),
        st.tuples(st.just("deliver"), st.sampled_from(["ok", "raise", "half", "refuse"])),
    ),
    max_size=30,
)


@given(STEPS, st.integers(1, 40))
def test_produced_is_delivered_plus_lost_plus_buffered(make, steps, rows_max):
    fake, told = FakeTime(), Counter()
    exporter = Scripted([])
    outlet = Outlet(
        "x", exporter, lost=lost_by_reason(told), clock=fake.clock, rows_max=rows_max
    )
    produced = 0

    for step in steps:
        if step[0] == "offer":
            produced += step[1] + step[2]
            outlet.offer(make.batch(readings=step[1], spans=step[2]))
        else:
            exporter.script = [step[1]]
            outlet.hurry()
            outlet.deliver()
        state = outlet.state

        assert state.buffered <= rows_max
        assert state.delivered == exporter.taken.total()
        assert produced == state.delivered + state.buffered + sum(state.lost.values())
        assert told == Counter(state.lost)
    lost_at_end = outlet.close()

    assert (
        lost_at_end
        + outlet.delivered
        + sum(rows for (_, reason), rows in told.items() if reason != "shutdown")
        == produced
    )


def test_a_broken_exporter_is_reported_once_and_its_recovery_once(make, caplog):
    caplog.set_level(logging.WARNING, "nilometer")
    fake, exporter = FakeTime(), MemoryExporter()
    exporter.fail_with = OSError("no route")
    outlet = Outlet("otlp://c1", exporter, clock=fake.clock)
    outlet.offer(make.batch(readings=1))

    for _ in range(50):
        outlet.deliver()
        fake.advance(100)
    exporter.fail_with = None
    outlet.deliver()
    outlet.offer(make.batch(readings=1))
    outlet.deliver()

    assert [record.getMessage() for record in caplog.records] == [
        (
            "exporter otlp://c1 is failing: OSError: no route; measuring goes on, what cannot "
            "be kept is counted in nilometer.lost, and it is said when it works again "
            "[exporter-failing]"
        ),
        "exporter otlp://c1 works again after 50 failures; 0 rows were lost [exporter-works]",
    ]
    assert outlet.delivered == 2


def test_attempts_back_off_with_jitter_up_to_a_minute(make):
    fake, exporter = FakeTime(), MemoryExporter()
    exporter.fail_with = OSError("down")
    outlet = Outlet("x", exporter, clock=fake.clock, jitter=lambda: 0.5)
    outlet.offer(make.batch(readings=1))
    waits = []

    for _ in range(9):
        outlet.deliver()
        waits.append(outlet.wait_s())
        outlet.deliver()  # too early: nothing happens
        fake.advance(outlet.wait_s())

    assert waits == [0.75, 1.5, 3.0, 6.0, 12.0, 24.0, 45.0, 45.0, 45.0]
    assert exporter.calls == 9


def test_what_the_receiver_asks_for_is_granted_up_to_five_minutes(make):
    fake, exporter = FakeTime(), MemoryExporter()
    outlet = Outlet("x", exporter, clock=fake.clock, jitter=lambda: 1)
    outlet.offer(make.batch(readings=1))
    waits = []

    for asked_s in (7.0, 86_400.0):
        exporter.fail_with = Undelivered("busy", left=make.batch(1), retry_after_s=asked_s)
        outlet.hurry()
        outlet.deliver()
        waits.append(outlet.wait_s())

    assert waits == [7.0, 300.0]


def test_the_oldest_rows_make_room_and_are_counted(make):
    told = Counter()
    exporter = MemoryExporter()
    exporter.fail_with = OSError("down")
    outlet = Outlet("x", exporter, lost=lost_by_reason(told), rows_max=10)

    outlet.offer(make.batch(readings=3, spans=4))
    outlet.offer(make.batch(events=6))
    exporter.fail_with = None
    outlet.hurry()
    outlet.deliver()

    assert told == {("readings", "buffer_full"): 3}
    assert [batch.rows for batch in exporter.batches] == [4, 6]


def test_one_batch_beyond_the_bound_is_cut_to_it(make):
    outlet = Outlet("x", MemoryExporter(), rows_max=10)

    outlet.offer(make.batch(readings=100))

    assert (outlet.state.buffered, dict(outlet.lost)) == (10, {("readings", "buffer_full"): 90})


def test_an_exporter_is_given_only_what_it_takes(make):
    exporter = MemoryExporter()
    exporter.takes = ("readings",)
    outlet = Outlet("x", exporter)

    outlet.offer(make.batch(spans=3))
    outlet.offer(make.batch(readings=1, spans=3, events=2))
    outlet.deliver()

    assert exporter.batches == [make.batch(readings=1)]
    assert outlet.lost == {}


def test_a_child_begins_with_an_empty_buffer_and_a_closed_exporter(make):
    exporter = MemoryExporter()
    exporter.fail_with = OSError("down")
    outlet = Outlet("x", exporter)
    outlet.offer(make.batch(readings=3))
    outlet.deliver()

    outlet.reset_after_fork()

    assert (exporter.closed, outlet.state.buffered, outlet.state.healthy) == (1, 0, True)


def test_what_ends_after_the_close_was_written_off_and_is_not_entered_again(make):
    class Slow(MemoryExporter):
        """Closed while it is being given a batch, which it then takes after all."""

        def __call__(self, batch):
            self.written_off = outlet.close()
            super().__call__(batch)

    told, exporter = Counter(), Slow()
    outlet = Outlet("x", exporter, lost=lost_by_reason(told))
    outlet.offer(make.batch(readings=3))

    outlet.deliver()

    assert (exporter.written_off, outlet.delivered, told) == (
        3,
        0,
        {("readings", "unanswered"): 3},
    )
