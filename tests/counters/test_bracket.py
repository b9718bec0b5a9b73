"""What a run cost: the difference of two snapshots without what we and time add to it."""

from __future__ import annotations

from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.counters.backend import BackendError
from nilometer.counters.bracket import Bracket
from nilometer.counters.figures import Fact, Figures
from nilometer.counters.gather import Gatherer, Unread
from nilometer.counters.snapshot import Snapshot
from nilometer.model.reading import Kind
from nilometer.model.run import BackendRead, Count
from nilometer.testing import FakeTime

IDLE_S = 10


class Server:
    """A backend that counts its own reads and drifts with time, as servers do."""

    name = "mysql"
    instance = "db:3306"

    def __init__(self, time: FakeTime, *, drift_per_s: float = 0, lag_s: float = 0) -> None:
        self.time = time
        self.drift_per_s = drift_per_s
        self.settle_s = lag_s
        self.began_ns = time.clock.elapsed_ns()
        self.started = "start-1"
        self.reads = 0
        self.moved = 0
        self.late: list[tuple[int, int]] = []
        self.closed = False
        self.fails = ""
        self.hides = ""
        self.whole = False
        self.unseen = ""

    def run(self, queries: int, *, late: int = 0) -> None:
        """Do some work; what is `late` shows only after the lag."""
        self.moved += queries
        self.late.append((self.time.clock.elapsed_ns() + int(self.settle_s * 1e9), late))

    def read(self) -> Figures:
        if self.fails:
            raise BackendError(self.fails)
        now_ns = self.time.clock.elapsed_ns()
        drift = int((now_ns - self.began_ns) * self.drift_per_s / 1e9)
        late = sum(moved for at_ns, moved in self.late if at_ns <= now_ns)
        self.reads += 1
        values = {("Queries", ()): self.moved + late + drift + 3 * self.reads, ("Used", ()): 50}
        values["Used", ()] -= self.reads
        values = {
            series: value for series, value in values.items() if series[0] not in self.hides
        }
        return Figures(values, self.started, "10.11", whole=self.whole, unseen=self.unseen)

    def facts(self) -> dict[str, Fact]:
        return {"Queries": Fact("statements"), "Used": Fact("memory", "By", Kind.GAUGE)}

    def close(self) -> None:
        self.closed = True


def bracket(time: FakeTime, *servers: Server, idle_s: float = IDLE_S) -> Bracket:
    return Bracket(Gatherer(servers, time.clock), time.clock, idle_s=idle_s)


def of(counts: tuple[Count, ...], name: str) -> Count:
    return next(count for count in counts if count.counter == name)


READ = BackendRead("mysql", "db:3306", "10.11", "start-1", counters=("Queries", "Used"))


def test_without_an_idle_time_nothing_is_subtracted_as_drift() -> None:
    """Two reads are milliseconds apart: one count more would be hundreds a second."""
    time = FakeTime()
    server = Server(time)
    plain = server.read

    def read() -> Figures:
        time.advance(0.002)
        server.moved += server.reads == 1  # between the first read and the second
        return plain()

    server.read = read  # type: ignore[method-assign]
    around = bracket(time, server, idle_s=0)
    around.open()
    time.advance(5)
    server.run(1000)

    _, counts = around.close()

    queries = of(counts, "Queries")
    assert (queries.delta, queries.idle, queries.because) == (1000, 0, "")


def test_one_look_alone_waits_for_what_lags_and_asks_no_other_again() -> None:
    time = FakeTime()
    server, late, file = Server(time), Server(time, lag_s=5), Server(time, lag_s=20)
    late.run(0, late=30)

    _, found, _ = bracket(time, server, late, file).settled(10)

    assert isinstance(found, Snapshot)
    assert found.values["Queries", ()] == 30 + 3 * late.reads
    assert (server.reads, late.reads, file.reads) == (1, 2, 1)


@given(st.integers(0, 10**6))
def test_the_footprint_of_our_own_reads_is_subtracted_exactly(queries: int) -> None:
    time = FakeTime()
    server = Server(time)
    around = bracket(time, server)

    around.open()
    server.run(queries)
    backends, counts = around.close()

    assert backends == (READ,)
    assert of(counts, "Queries") == Count(
        "mysql", "Queries", queries, raw=queries + 3, footprint=3, idle=0
    )


def test_what_would_have_drifted_anyway_is_subtracted() -> None:
    time = FakeTime()
    server = Server(time, drift_per_s=1)
    around = bracket(time, server)

    around.open()
    server.run(1000)
    time.advance(20)
    _, counts = around.close()

    assert of(counts, "Queries") == Count(
        "mysql", "Queries", 1000, raw=1023, footprint=3, idle=20
    )


def test_a_counter_that_mostly_drifts_says_nothing_about_the_run() -> None:
    time = FakeTime()
    server = Server(time, drift_per_s=1)
    around = bracket(time, server)

    around.open()
    server.run(100)
    time.advance(20)
    _, counts = around.close()

    assert of(counts, "Queries").delta is None
    assert of(counts, "Queries").because == (
        "17% of its move is drift, which it has without the run; 5% is the most"
    )


def test_a_gauge_is_neither_footprint_nor_drift() -> None:
    time = FakeTime()
    server = Server(time)
    around = bracket(time, server)

    around.open()
    _, counts = around.close()

    assert of(counts, "Used") == Count("mysql", "Used", -1, (), Kind.GAUGE, "By", raw=-1)


def test_figures_that_lag_are_read_until_two_reads_agree() -> None:
    time = FakeTime()
    server = Server(time, lag_s=6)
    around = bracket(time, server)

    around.open()
    server.run(10, late=90)
    _, counts = around.close()

    assert of(counts, "Queries").delta == 100


def test_a_server_that_never_settles_is_given_up_and_told() -> None:
    time = FakeTime()
    server = Server(time, drift_per_s=0, lag_s=6)
    around = bracket(time, server)

    around.open()
    server.drift_per_s = 1000
    backends, _ = around.close()

    assert backends == (READ._replace(notes=("it still moved 60 s after the run",)),)


class Collecting(Server):
    """A broker: it collects its figures every `every_s`, shows when, and counts one at once."""

    def __init__(self, time: FakeTime, *, every_s: float) -> None:
        super().__init__(time, lag_s=every_s)
        self.every_ns = int(every_s * 1e9)
        self.happened: list[int] = []  # one message each

    def publish(self, messages: int) -> None:
        self.happened += [self.time.clock.elapsed_ns()] * messages

    def read(self) -> Figures:
        collected_ns = self.time.clock.elapsed_ns() // self.every_ns * self.every_ns
        shown = sum(at_ns < collected_ns for at_ns in self.happened)
        values = {("Queries", ()): len(self.happened), ("Published", ()): shown}
        return Figures(values, self.started, "10.11", complete_ns=collected_ns)

    def facts(self) -> dict[str, Fact]:
        return {"Queries": Fact("at once"), "Published": Fact("messages", lags=True)}


@pytest.mark.parametrize("begun_s", [0.1, 2.6, 4.9])
def test_figures_that_show_when_they_were_collected_are_waited_for_until_they_hold_the_run(
    begun_s: float,
) -> None:
    time = FakeTime()
    time.advance(100 + begun_s)
    server = Collecting(time, every_s=5)
    server.settle_s = 2  # as somebody said who does not know: two reads so far apart agree
    around = bracket(time, server, idle_s=0)

    server.publish(50)  # before the run, and not to be counted as its own
    around.open()
    server.publish(7)
    _, counts = around.close()

    assert of(counts, "Published") == Count(
        "mysql", "Published", 7, (), Kind.COUNTER, "1", raw=7
    )


def test_what_was_not_collected_in_time_is_unknown_and_what_is_counted_at_once_is_not() -> None:
    time = FakeTime()
    time.advance(1001)
    server = Collecting(time, every_s=5)
    around = bracket(time, server)

    around.open()
    server.every_ns = 10**12
    server.publish(7)
    backends, counts = around.close()

    because = "it had not collected its figures 60 s after the run"
    assert (of(counts, "Published").delta, of(counts, "Published").because) == (None, because)
    assert of(counts, "Queries").delta == 7
    assert backends[0].notes == (because,)


def test_a_run_that_began_before_all_of_before_had_come_says_so() -> None:
    time = FakeTime()
    time.advance(1001)
    server = Collecting(time, every_s=500)
    around = bracket(time, server)

    server.publish(50)
    around.open()
    server.every_ns = 10**9
    _, counts = around.close()

    assert of(counts, "Published").because == (
        "what was counted before the run had not all come when it began"
    )


def test_a_restart_in_the_run_makes_its_counters_unknown_and_no_others() -> None:
    time = FakeTime()
    one, two = Server(time), Server(time)
    two.instance = "db2:3306"
    around = bracket(time, one, two)

    around.open()
    one.started = "start-2"
    two.run(7)
    backends, counts = around.close()

    assert backends[0].because == (
        "restarted, or its figures were reset, meanwhile: start-1 before, start-2 after"
    )
    assert backends[1].because == ""
    assert of(counts, "Queries").delta == 7


def test_a_server_that_could_not_be_read_is_not_waited_for_again() -> None:
    time = FakeTime()
    dead, well = Server(time, lag_s=5), Server(time)
    dead.instance, asked = "dead:1", []

    def read() -> Figures:
        asked.append(time.clock.elapsed_ns())
        raise BackendError("mysql at dead:1: no whole answer in 10 s")

    dead.read = read
    around = bracket(time, dead, well)
    around.open()
    well.run(7)
    backends, counts = around.close()

    assert len(asked) == 1
    because = "mysql at dead:1: no whole answer in 10 s [backend-unreadable]"
    assert around.unread() == [because]
    assert backends == (BackendRead("mysql", "dead:1", because=because), READ)
    assert of(counts, "Queries").delta == 7


def test_a_server_that_fails_at_one_end_is_named_with_the_reason() -> None:
    time = FakeTime()
    early, late = Server(time), Server(time)
    early.fails = "mysql at db:3306: access denied"
    around = bracket(time, early, late)

    around.open()
    early.fails, late.fails = "", "mysql at db:3306: gone"
    backends, counts = around.close()

    assert [b.because for b in backends] == [
        "mysql at db:3306: access denied [backend-unreadable]",
        "mysql at db:3306: gone [backend-unreadable]",
    ]
    assert counts == ()


def test_a_backend_that_hangs_is_told_and_the_others_are_read() -> None:
    time = FakeTime()
    hanging, well = Server(time), Server(time)
    hanging.instance = "hanging:1"
    gate = Event()
    hanging.read = lambda: gate.wait(30)  # type: ignore[method-assign,assignment,return-value]
    gatherer = Gatherer([hanging, well], time.clock, patience_s=0.2)

    first, second = gatherer.gather(), gatherer.gather()
    gatherer.close()
    gate.set()

    told = Unread("mysql", "hanging:1", "mysql at hanging:1 has not answered for 0.2 s")
    assert [one[0] for one in (first, second)] == [told, told]
    assert [one[1].values["Queries", ()] for one in (first, second)] == [3, 6]
    assert (hanging.closed, well.closed) == (False, True)


def test_any_exception_of_a_backend_is_its_own_affair() -> None:
    time = FakeTime()
    broken, well = Server(time), Server(time)
    broken.read = lambda: 1 / 0  # type: ignore[method-assign,assignment,return-value]

    one, two = Gatherer([broken, well], time.clock).gather()

    assert one == Unread(
        "mysql", "db:3306", "mysql at db:3306: ZeroDivisionError: division by zero"
    )
    assert two.values["Queries", ()] == 3


@pytest.mark.parametrize(
    ("before", "after", "whole", "told"),
    [
        ("", "", False, ("Queries", "Used")),
        ("Used", "", False, ("Queries",)),
        ("", "Used", False, ("Queries",)),
        ("Used", "Used", True, None),
    ],
)
def test_which_counters_were_read_at_both_ends_is_told_but_by_who_tells_all(
    before: str, after: str, whole: bool, told: tuple[str, ...] | None
) -> None:
    server = Server(time := FakeTime())
    server.hides, server.whole = before, whole
    around = bracket(time, server)

    around.open()
    server.hides = after
    (read,), _ = around.close()

    assert read.counters == told


def test_what_is_shown_at_neither_end_may_have_moved_if_something_went_unseen() -> None:
    """A queue that was made and deleted within the run: its scope is not 0, but unknown."""
    server = Server(time := FakeTime())
    server.whole, server.hides = True, "Used"
    around = bracket(time, server)

    around.open()
    server.unseen = "1 queue of unknown scope"
    (read,), _ = around.close()

    assert read.counters == ("Queries",)
