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
    """An exporter that fails as it is told; it keeps what it took and what it refused."""

    def __init__(self, script):
        self.script = list(script)
        self.taken, self.refused = [], []
        self.again = None  # what must come next, unchanged

    def __call__(self, batch):
        step = self.script.pop(0) if self.script else "ok"
        assert self.again is None or batch is self.again
        self.again = batch if step == "raise" else None
        if step == "raise":
            raise OSError("down")
        left, refused = None, {}
        if step == "half":
            half = len(batch.readings) // 2
            left = self.again = batch._replace(readings=batch.readings[half:], spans=())
            if not left.rows:
                self.again = None
            batch = batch._replace(readings=batch.readings[:half])
        if step == "refuse":
            refused = {("readings", "http_400"): len(batch.readings)}
            self.refused.append(batch._replace(spans=()))
            batch = batch._replace(readings=())
        self.taken.append(batch)
        if left is not None or refused:
            raise Undelivered("as told", left=left, refused=refused)

    def close(self):
        pass


def listening_to_drops(outlet):
    """The batches that the outlet gives up from now on."""
    given_up, drop = [], outlet._untried.drop

    def heard(rows):
        gone = drop(rows)
        given_up.extend(gone)
        return gone

    outlet._untried.drop = heard
    return given_up


def sums(*batches):
    """By series: how far counters moved in all."""
    moved = Counter()
    for batch in batches:
        for reading in batch.readings:
            moved[reading.dimensions] += reading.value
    return +moved


def held(outlet):
    """What is buffered, attempted or not."""
    tried = [] if outlet._tried is None else [outlet._tried]
    return tried + outlet._untried.batches


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
def test_rows_and_sums_are_delivered_lost_buffered_or_merged(make, steps, rows_max):
    fake, told = FakeTime(), Counter()
    exporter = Scripted([])
    outlet = Outlet(
        "x", exporter, lost=lost_by_reason(told), clock=fake.clock, rows_max=rows_max
    )
    given_up, produced = listening_to_drops(outlet), []

    for step in steps:
        if step[0] == "offer":
            produced.append(make.batch(readings=step[1], spans=step[2]))
            outlet.offer(produced[-1])
        else:
            exporter.script = [step[1]]
            outlet.hurry()
            outlet.deliver()
        state = outlet.state

        assert state.buffered == sum(batch.rows for batch in held(outlet)) <= rows_max
        assert state.delivered == sum(batch.rows for batch in exporter.taken)
        rows = state.delivered + state.buffered + sum(state.lost.values()) + state.merged
        assert rows == sum(batch.rows for batch in produced)
        everywhere = [*exporter.taken, *exporter.refused, *given_up, *held(outlet)]
        assert sums(*everywhere) == sums(*produced)
        assert told == Counter(state.lost)
    lost_at_end = outlet.close()
    lost_before = sum(rows for (_, reason), rows in told.items() if reason != "shutdown")

    assert lost_at_end + outlet.delivered + lost_before + outlet.merged == sum(
        batch.rows for batch in produced
    )


@given(st.lists(st.integers(1, 10), min_size=1, max_size=80), st.integers(0, 5))
def test_an_outage_of_any_length_loses_no_sum_if_half_the_buffer_holds_all_series(
    make, offers, attempts_at
):
    fake, exporter = FakeTime(), Scripted(["raise"] * 1_000)
    outlet = Outlet("x", exporter, clock=fake.clock, rows_max=20)
    for n, readings in enumerate(offers):
        outlet.offer(make.batch(readings=readings))
        if n >= attempts_at:
            outlet.hurry()
            outlet.deliver()
    exporter.script = []
    outlet.hurry()
    outlet.deliver()

    assert (outlet.lost, outlet.is_empty) == ({}, True)
    assert sums(*exporter.taken) == sums(*(make.batch(readings=n) for n in offers))
    assert outlet.delivered + outlet.merged == sum(offers)


@given(STEPS, st.integers(1, 40))
def test_an_outlet_is_through_when_nothing_of_the_first_batches_is_held(make, steps, rows_max):
    """A batch is known by the time of its rows; one that merging joined is as old as both."""
    fake, exporter = FakeTime(), Scripted([])
    outlet, offered = Outlet("x", exporter, clock=fake.clock, rows_max=rows_max), 0
    for step in steps:
        if step[0] == "offer":
            batch = make.batch(readings=step[1], spans=step[2])
            offered += bool(batch.rows)
            outlet.offer(
                batch._replace(
                    readings=tuple(r._replace(started_ns=offered) for r in batch.readings),
                    spans=tuple(s._replace(started_ns=offered) for s in batch.spans),
                )
            )
        else:
            exporter.script = [step[1]]
            outlet.hurry()
            outlet.deliver()
        oldest = min(
            (row.started_ns for b in held(outlet) for row in (*b.readings, *b.spans)),
            default=offered + 1,
        )

        assert outlet.offered == offered
        through = [n for n in range(offered + 1) if outlet.is_through(n)]
        assert set(through) <= set(range(oldest))
        if outlet.is_empty:
            assert through == list(range(offered + 1))


def test_what_was_attempted_stays_as_it_is_and_what_was_not_is_merged(make):
    exporter = MemoryExporter()
    exporter.fail_with = OSError("down")
    outlet = Outlet("x", exporter, rows_max=10)
    first = make.batch(readings=4)
    outlet.offer(first)
    outlet.deliver()

    for _ in range(9):
        outlet.offer(make.batch(readings=4))
    exporter.fail_with = None
    outlet.hurry()
    outlet.deliver()

    (merged,) = exporter.batches[1:]
    assert exporter.batches[0] is first
    assert [reading.value for reading in merged.readings] == [9 * n for n in range(4)]
    assert (outlet.lost, outlet.delivered, outlet.merged) == ({}, 8, 32)


def test_what_was_attempted_does_not_keep_out_what_comes_later(make):
    exporter = MemoryExporter()
    exporter.fail_with = OSError("down")
    outlet = Outlet("x", exporter, rows_max=10)
    outlet.offer(make.batch(spans=10))
    outlet.deliver()
    outlet.offer(make.batch(readings=5))
    exporter.fail_with = None
    outlet.hurry()
    outlet.deliver()

    assert [(len(b.spans), len(b.readings)) for b in exporter.batches] == [(5, 0), (0, 5)]
    assert outlet.lost == {("spans", "buffer_full"): 5}


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


def said(caplog):
    """What was said, each in a few words: a fault by what stands at its end, or recovery."""
    found = []
    for message in caplog.messages:
        if "[exporter-failing]" in message:
            found.append(message.split("works again")[1].removesuffix(" [exporter-failing]"))
        else:
            found.append(message.split(" works again ")[1].split(";")[0])
    return found


def test_a_fault_that_comes_and_goes_is_said_every_ten_minutes_and_counted_between(
    make, caplog
):
    fake, exporter = FakeTime(), Scripted([])
    outlet = Outlet("otlp://c1", exporter, clock=fake.clock)

    for _ in range(65):  # each 20 s a batch is refused, and the next taken
        for exporter.script in (["refuse"], ["ok"]):
            outlet.offer(make.batch(readings=1))
            outlet.deliver()
            fake.advance(10)

    again = "; 29 more faults came and went meanwhile"
    recovery = "after 1 failures"
    assert said(caplog) == ["", recovery, again, recovery, again, recovery]
    assert outlet.lost == {("readings", "http_400"): 65}


def test_a_fault_that_lasts_is_said_when_the_ten_minutes_since_the_last_are_over(make, caplog):
    fake, exporter = FakeTime(), Scripted(["refuse", "ok"])
    outlet = Outlet("otlp://c1", exporter, clock=fake.clock, jitter=lambda: 1.0)
    for _ in range(2):
        outlet.offer(make.batch(readings=1))
        outlet.deliver()
    exporter.script = ["raise"] * 1000
    outlet.offer(make.batch(readings=1))
    spoken_after = []

    for second in range(1200):
        before = len(caplog.messages)
        outlet.deliver()
        spoken_after += [second] * (len(caplog.messages) - before)
        fake.advance(1)

    assert [600 <= second <= 660 for second in spoken_after] == [True]
    assert said(caplog) == ["", "after 1 failures", ""]


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
    later = tuple(e._replace(at_ns=e.at_ns + 10) for e in make.batch(events=6).events)

    outlet.offer(make.batch(readings=3, spans=4))
    outlet.offer(make.batch()._replace(events=later))
    exporter.fail_with = None
    outlet.hurry()
    outlet.deliver()

    assert told == {("spans", "buffer_full"): 3}
    assert (
        [(b.readings, b.spans, b.events) for b in exporter.batches]
        == [
            (make.batch(readings=3).readings, (), later[:2]),  # half of the buffer at a time
            ((), (make.span(4),), later[2:]),
        ]
    )


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


def test_what_a_receiver_says_becomes_one_line_of_the_log_and_no_more(make, caplog):
    hostile = "no\x1b[2J\r\nCRITICAL root: pwned\x85" + "A" * 60_000
    outlet = Outlet("x", MemoryExporter())
    outlet.exporter.fail_with = OSError(hostile)

    outlet.offer(make.batch(readings=1))
    outlet.deliver()

    [told] = [record.getMessage() for record in caplog.records]
    assert told.isprintable()
    assert len(told) < 1000
    assert outlet.state.because.startswith("OSError: no [2J  CRITICAL root: pwned A")
