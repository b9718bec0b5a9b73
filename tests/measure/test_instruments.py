"""Counters, gauges, events: made once by name, bound to dimensions, switched by level."""

import copy
import gc
import re
import weakref

import pytest

import nilometer
from nilometer.errors import ConfigError, InstrumentClashError
from nilometer.measure import Registry
from nilometer.measure import events as events_module
from nilometer.measure import registry as registry_module
from nilometer.measure.levels import Levels
from nilometer.model import Distribution, Event, Kind, Level, Reading

from .conftest import moved


def test_a_reading_says_what_moved_since_the_last_collect(registry, hands):
    requests = registry.counter("api.requests", unit="{request}", description="Asked of us.")
    requests.add()
    requests.bind(tenant="acme", method="GET").add(3)
    hands.wall_ns = 11_000

    assert registry.collect() == (
        (
            Reading(
                "api.requests", Kind.COUNTER, (), 1, 1_000, 11_000, "{request}", "Asked of us."
            ),
            Reading(
                "api.requests",
                Kind.COUNTER,
                (("method", "GET"), ("tenant", "acme")),
                3,
                1_000,
                11_000,
                "{request}",
                "Asked of us.",
            ),
        ),
        (),
    )


def test_collecting_starts_afresh_and_leaves_out_what_did_not_move(registry, hands):
    counter, timer = registry.counter("c"), registry.timer("t")
    counter.add(5)
    timer.record(7)
    registry.collect()
    first = registry.collect()
    counter.add(2)
    hands.wall_ns = 3_000

    assert first == ((), ())
    assert registry.collect() == ((Reading("c", Kind.COUNTER, (), 2, 1_000, 3_000, "1"),), ())


def test_a_wall_clock_that_steps_back_makes_no_negative_interval(registry, hands):
    registry.counter("c").add()
    hands.wall_ns = 400

    assert [(r.started_ns, r.ended_ns) for r in registry.collect()[0]] == [(400, 400)]


def test_a_timer_gives_the_distribution_of_what_was_recorded(registry):
    timer = registry.timer("t")
    values = [0, 1, 2, 3, 700, 1000, 1024, 3_600_000_000_000]
    for elapsed_ns in values:
        timer.record(elapsed_ns)

    assert [reading.value for reading in registry.collect()[0]] == [Distribution.of(values)]


def test_times_beyond_an_hour_share_its_bucket_but_their_extremes_stay_exact(registry):
    timer = registry.timer("t")
    values = [2**63 - 1, 2**63 - 1, 3_700_000_000_000]
    for elapsed_ns in values:
        timer.record(elapsed_ns)

    (reading,) = registry.collect()[0]
    hour = Distribution.of([3_600_000_000_000])

    assert reading.value == Distribution(
        3, sum(values), min(values), max(values), dict.fromkeys(hour.buckets, 3)
    )


def test_a_counter_never_wraps(registry):
    counter = registry.counter("c")
    for _ in range(5):
        counter.add(2**63 - 1)

    assert moved(registry) == {("c",): 5 * (2**63 - 1)}


def test_the_same_name_gives_the_same_instrument(registry):
    assert registry.counter("c") is registry.counter("c", description="again")
    assert registry.gauge("g") is registry.gauge("g")
    assert registry.timer("t") is registry.timer("t")
    assert registry.event_source("e") is registry.event_source("e")


def test_a_level_may_be_given_by_its_name_or_number_and_a_wrong_one_says_where(registry):
    made = [
        registry.timer("t", level="detail"),
        registry.counter("c", level="DEEP"),
        registry.gauge("g", level=2),
        registry.event_source("e", level="deep"),
    ]

    assert [one.level for one in made] == [2, 3, 2, 3]
    for level in ("detial", 99, None):
        for make in (
            lambda level=level: registry.counter("wrong", level=level),
            lambda level=level: registry.event_source("wrong", level=level),
            lambda level=level: registry.set_level("a", level),
        ):
            with pytest.raises(ConfigError, match=r"test_instruments\.py:\d+: no level .*deep"):
                make()
    with pytest.raises(TypeError, match="prefix must be text, not NoneType"):
        registry.set_level(None, "detail")


def test_an_instrument_by_thread_is_another_than_one_that_is_not(registry):
    registry.counter("c")
    registry.timer("t", per_thread=True)

    with pytest.raises(InstrumentClashError, match="'c' by thread was made as a counter at"):
        registry.counter("c", per_thread=True)
    with pytest.raises(InstrumentClashError, match="'t' was made as a timer by thread at"):
        registry.timer("t")


def test_an_instrument_stays_itself_in_a_copy_of_what_holds_it(registry):
    made = [registry.counter("c"), registry.gauge("g"), registry.timer("t").bind(x=1)]
    holder = {"made": made, "again": [made[0]]}

    copied = copy.deepcopy(holder)
    copy.copy(made[0]).add(5)

    assert [one is other for one, other in zip(copied["made"], made, strict=True)] == [True] * 3
    assert moved(registry) == {("c",): 5}


def test_a_name_beyond_the_limit_is_cut_and_counted(registry):
    registry.counter("c" * 100_000).add()
    registry.timer("t" * 100_000)(lambda: None)()
    registry.event("e" * 100_000)
    with pytest.raises(KeyError):
        registry.timer("t" * 100_000)({}.__getitem__)(1)
    readings, events = registry.collect()

    assert [event.name for event in events] == ["e" * 255]
    assert {reading.name: reading.value for reading in readings if reading.unit != "ns"} == {
        "nilometer.lost": 4,
        "c" * 255: 1,
        "t" * 248 + ".errors": 1,
    }


def test_an_instrument_says_what_it_is(registry):
    timer = registry.timer("t", level=Level.DETAIL, description="How long.")

    assert (timer.name, timer.unit, timer.level, timer.description, timer.on) == (
        "t",
        "ns",
        Level.DETAIL,
        "How long.",
        False,
    )
    assert repr(registry.counter("c").bind(b=1, a=2)) == "<Counter c a=2 b=1 on>"


def test_a_timer_counts_in_nanoseconds_only(registry):
    timer = registry.timer("t", unit="ns")
    with pytest.raises(ValueError, match=r"^a timer counts in ns, not in 's'$"):
        registry.timer("t", unit="s")

    assert registry.timer("t") is timer


def test_what_a_service_imports_makes_all_four_kinds_alike():
    made = [
        make("test.alike." + make.__name__, level=nilometer.DEEP, description="Alike.")
        for make in (
            nilometer.counter,
            nilometer.gauge,
            nilometer.timer,
            nilometer.event_source,
        )
    ]

    assert [(one.level, one.description, one.on) for one in made] == [
        (Level.DEEP, "Alike.", False)
    ] * 4
    assert [one.bind(a=1).name for one in made] == [one.name for one in made]


def test_a_clash_says_where_the_name_was_taken_and_where_it_is_wanted(registry):
    registry.counter("a", unit="By")
    with pytest.raises(InstrumentClashError) as kind:
        registry.timer("a")
    with pytest.raises(InstrumentClashError) as unit:
        registry.counter("a", unit="1")

    pattern = (
        r".*test_instruments\.py:\d+: {} was made as a counter in 'By' "
        r"at .*test_instruments\.py:\d+ \[instrument-clash\]"
    )
    assert re.fullmatch(pattern.format("timer 'a' in 'ns'"), str(kind.value))
    assert re.fullmatch(pattern.format("counter 'a' in '1'"), str(unit.value))


def test_a_timer_whose_errors_have_no_name_left_is_not_made_at_all(registry):
    registry.counter("a.errors")
    with pytest.raises(
        InstrumentClashError, match=r"counter 'a\.errors' in '{error}' was made"
    ):
        registry.timer("a")
    registry.counter("a").add()

    assert moved(registry) == {("a",): 1}


def test_what_a_timer_records_is_its_tally_and_its_errors_have_the_name_they_are_given(
    registry, hands
):
    dropped, received = registry.counter("dropped"), registry.counter("received")
    timer = registry.timer("work", errors=dropped, tally=received).bind(topic="a")
    with timer.lap():
        hands.elapsed_ns += 7
    with pytest.raises(ValueError, match="broken"), timer.lap():
        raise ValueError("broken")
    first = moved(registry)
    registry.set_level("received", "off")
    timer.record(5)

    assert (first, moved(registry)) == (
        {
            ("work", "topic=a"): (2, 7),
            ("received", "topic=a"): 2,
            ("dropped", "error.type=ValueError", "topic=a"): 1,
        },
        {("work", "topic=a"): (1, 5)},
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": 7}, "name must be text, not int"),
        ({"name": ""}, "name must not be empty"),
        ({"unit": None}, "unit must be text, not NoneType"),
        ({"description": b""}, "description must be text, not bytes"),
        ({"read": 7}, "read must be callable, not int"),
    ],
)
def test_what_cannot_be_an_instrument_is_refused_where_it_is_made(registry, wrong, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}$"):
        registry.gauge(**{"name": "g", **wrong})

    assert [state.name for state in registry.instruments()] == [
        "nilometer.lost",
        "nilometer.series.overflow",
    ]


def test_events_and_instruments_share_one_name_space(registry):
    registry.event_source("e")

    with pytest.raises(InstrumentClashError, match="was made as a event in '1'"):
        registry.gauge("e")


def test_dimensions_are_text_and_their_order_is_nothing(registry):
    counter = registry.counter("c")
    one = counter.bind(code=200, ok=True)

    assert one is counter.bind(ok="true", code="200")
    assert one is counter.bind(code=200).bind(ok=True)
    assert one is not counter.bind(code=200, ok=1)
    assert counter.bind() is counter
    assert one.dimensions == (("code", "200"), ("ok", "true"))


def test_a_dimension_may_have_any_name(registry):
    names = dict.fromkeys(["self", "name", "dimensions", "a b", ""], 1)
    registry.counter("c").bind(**names).add()
    registry.event_source("e").bind(**names).emit(**names)

    (reading,), (event,) = registry.collect()
    assert (dict(reading.dimensions), event.attributes) == (dict.fromkeys(names, "1"), names)


class Unspeakable:
    def __str__(self):
        raise ZeroDivisionError


class Killing:
    def __str__(self):
        raise KeyboardInterrupt


def test_a_value_without_a_text_raises_nothing_into_the_service(registry):
    registry.counter("c").bind(server=Unspeakable()).add()
    registry.event("e", server=Unspeakable())

    (reading,), (event,) = registry.collect()
    told = "<Unspeakable: ZeroDivisionError in str>"
    assert (reading.dimensions, event.attributes) == ((("server", told),), {"server": told})


def test_an_interrupt_while_a_text_is_made_goes_on_its_way(registry):
    with pytest.raises(KeyboardInterrupt):
        registry.counter("c").bind(server=Killing())


def test_a_later_bind_replaces_an_earlier_value(registry):
    assert registry.counter("c").bind(a=1, b=1).bind(a=2).dimensions == (("a", "2"), ("b", "1"))


def test_series_beyond_the_bound_go_to_one_overflow_and_are_counted(core, hands):
    registry = Registry(core=core, clock=hands.clock, series_max=3)
    counter = registry.counter("c")
    for user in range(5):
        counter.bind(user=user).add()
    counter.bind(user=0).add()

    assert moved(registry) == {
        ("nilometer.series.overflow", "instrument=c"): 2,
        ("c", "user=0"): 2,
        ("c", "user=1"): 1,
        ("c", "user=2"): 1,
        ("c", "otel.metric.overflow=true"): 2,
    }
    (state,) = [state for state in registry.instruments() if state.name == "c"]
    assert (state.series, state.overflowed) == (5, 2)


def test_the_count_of_overflows_is_bounded_too(core):
    registry = Registry(core=core, series_max=2)
    for name in "abcd":
        for user in range(3):
            registry.counter(name).bind(user=user)

    assert moved(registry) == {
        ("nilometer.series.overflow", "instrument=a"): 1,
        ("nilometer.series.overflow", "instrument=b"): 1,
        ("nilometer.series.overflow", "otel.metric.overflow=true"): 2,
    }


def test_a_dimension_from_outside_is_cut_and_made_encodable(registry):
    child = registry.counter("c").bind(path="x" * 1_000_000, name="caf\udce9")

    assert child.dimensions == (("name", "caf?"), ("path", "x" * 255))
    assert child is registry.counter("c").bind(path="x" * 2_000_000, name="caf\udce9")
    assert moved(registry)["nilometer.lost", "reason=too_long", "what=dimension"] == 2


def test_so_is_a_dimensions_name(registry):
    child = registry.counter("c").bind(**{"x" * 1000: 1, "caf\udce9": 2})

    assert child.dimensions == (("caf?", "2"), ("x" * 255, "1"))
    assert moved(registry)["nilometer.lost", "reason=too_long", "what=dimension"] == 1


def test_instruments_named_by_data_are_bounded_and_counted(registry, monkeypatch):
    monkeypatch.setattr(registry_module, "INSTRUMENTS_MAX", 4)  # two are ours
    for user in range(4):
        registry.counter(f"user.{user}").add()
        registry.event(f"login.{user}")

    readings, events = registry.collect()

    assert {(r.name, r.dimensions, r.value) for r in readings} == {
        ("user.0", (), 1),
        ("nilometer.lost", (("reason", "too_many"), ("what", "instruments")), 6),
    }
    assert [event.name for event in events] == [f"login.{user}" for user in range(4)]


# --- levels ---------------------------------------------------------------------------------


def test_an_instrument_is_on_at_its_own_level_and_deeper(registry):
    deep = registry.counter("c", level=Level.DETAIL)
    seen = []
    for level in Level:
        registry.set_level("", level)
        seen.append(deep.on)

    assert seen == [False, False, True, True]


def test_a_level_may_be_given_by_its_name_and_a_wrong_one_is_told_with_the_choice(registry):
    deep = registry.counter("instance.boot", level=Level.DETAIL)
    registry.set_level("instance.", "Detail")

    assert deep.on
    with pytest.raises(ConfigError) as refused:
        registry.set_level("instance", "detial")
    assert re.fullmatch(
        r".*test_instruments\.py:\d+: no level 'detial'; did you mean 'detail'\? "
        r"\(off, basic, detail, deep\) \[no-such-level\]",
        str(refused.value),
    )
    assert registry.level_of("instance") is Level.DETAIL


def test_the_longest_prefix_of_whole_parts_decides(registry):
    registry.set_level("instance", Level.DETAIL)
    registry.set_level("instance.boot", Level.OFF)
    names = ["instance", "instance.stop", "instance.boot", "instance.boot.x", "instances", "i"]

    assert {name: registry.level_of(name).name for name in names} == {
        "instance": "DETAIL",
        "instance.stop": "DETAIL",
        "instance.boot": "OFF",
        "instance.boot.x": "OFF",
        "instances": "BASIC",
        "i": "BASIC",
    }


def test_a_level_reaches_bound_children_and_wrappers_while_running(registry):
    timer = registry.timer("a.b")
    child, counter = timer.bind(x=1), registry.counter("a.c").bind(x=1)
    wrapped = timer(lambda: None)
    registry.set_level("a", Level.OFF)
    wrapped()
    child.record(1)
    counter.add()
    with timer.lap():
        pass
    silent = moved(registry)
    registry.set_level("a", Level.BASIC)
    wrapped()
    child.record(1)
    counter.add()
    with timer.lap():
        pass

    assert silent == {}
    assert moved(registry) == {("a.b",): (2, 0), ("a.b", "x=1"): (1, 1), ("a.c", "x=1"): 1}


def test_an_instrument_made_off_is_never_on(registry):
    counter = registry.counter("c", level=Level.OFF)
    registry.set_level("", Level.DEEP)

    assert not counter.on


def test_losses_are_told_even_when_everything_is_switched_off(registry):
    registry.set_level("", Level.OFF)
    registry.lost("spans", "ring_full", 7)

    assert moved(registry) == {("nilometer.lost", "reason=ring_full", "what=spans"): 7}


def test_while_off_nothing_is_looked_at(registry):
    registry.set_level("", Level.OFF)
    registry.counter("c").add("nonsense")
    registry.timer("t").record(-1)

    assert moved(registry) == {}


# --- gauges ---------------------------------------------------------------------------------


def test_a_gauge_gives_its_last_value_at_each_collect(registry):
    gauge = registry.gauge("g")
    gauge.set(3)
    gauge.set(7.5)

    assert [moved(registry), moved(registry)] == [{("g",): 7.5}, {("g",): 7.5}]


def test_a_gauge_moves_up_and_down_from_zero(registry):
    gauge = registry.gauge("g")
    gauge.add()
    gauge.add(4)
    gauge.add(-2)
    gauge.bind(x=1).add(0.5)

    assert moved(registry) == {("g",): 3, ("g", "x=1"): 0.5}


def test_a_gauge_switched_off_is_not_told_but_stays_balanced(registry):
    gauge = registry.gauge("in_flight")
    gauge.add(1)
    registry.set_level("", Level.OFF)
    gauge.add(-1)
    silent = moved(registry)
    registry.set_level("", Level.BASIC)

    assert (silent, moved(registry)) == ({}, {("in_flight",): 0})


def test_a_gauge_beyond_64_bits_goes_on_as_a_float(registry):
    gauge = registry.gauge("g")
    gauge.set(2**63 - 1)
    gauge.add(1)

    assert moved(registry) == {("g",): 2.0**63}


def test_a_gauge_reads_its_callable_at_each_collect(registry):
    depths = iter([4, 2.5, None])
    registry.gauge("queue.depth", read=lambda: next(depths))

    assert [moved(registry) for _ in range(3)] == [
        {("queue.depth",): 4},
        {("queue.depth",): 2.5},
        {},
    ]


def test_a_gauge_by_thread_forgets_what_its_callable_no_longer_gives(registry):
    depths = iter([4, None])
    registry.gauge("queue.depth", read=lambda: next(depths), per_thread=True)

    assert [moved(registry) for _ in range(2)] == [
        {("queue.depth", "thread=MainThread"): 4},
        {},
    ]


def test_a_child_may_have_its_own_callable_and_a_new_one_replaces_the_old(registry):
    registry.gauge("pool").bind(name="a").read = lambda: 1
    registry.gauge("pool", read=lambda: 2)
    registry.gauge("pool", read=lambda: 3)

    assert moved(registry) == {("pool",): 3, ("pool", "name=a"): 1}


class Killed(BaseException):
    """What greenlets and tasks are killed by is no Exception."""


@pytest.mark.parametrize("fault", [ValueError, Killed, SystemExit])
def test_a_callable_that_raises_is_counted_and_stops_nobody(registry, fault):
    def broken():
        raise fault

    registry.counter("c").add()
    registry.gauge("broken", read=broken)
    registry.gauge("text", read=lambda: "seven")
    registry.gauge("nan", read=lambda: float("nan"))
    registry.gauge("well", read=lambda: 1)

    assert moved(registry) == {
        ("nilometer.lost", "reason=read_failed", "what=gauge"): 3,
        ("c",): 1,
        ("well",): 1,
    }


def test_a_callable_is_not_called_while_its_gauge_is_off(registry):
    called = []
    registry.gauge("g", level=Level.DEEP, read=lambda: called.append(1))
    registry.collect()

    assert called == []


def test_a_callable_may_make_instruments_and_even_collect(registry):
    def read():
        registry.counter("made.inside").add()
        registry.collect()
        return 1

    registry.gauge("g").set(0)
    registry.counter("c").add(3)
    gauge = registry.gauge("g", read=read)
    gauge.read = lambda: [setattr(gauge, "read", lambda: 1), read()][1]

    assert moved(registry)["g",] == 1


# --- events ---------------------------------------------------------------------------------


def test_an_event_is_kept_with_its_time_and_attributes(registry, hands):
    hands.wall_ns = 5
    registry.event("vm.scheduled", host="c1", attempt=2, ok=True, path=("a",), name="x")

    attributes = {"host": "c1", "attempt": 2, "ok": True, "path": "('a',)", "name": "x"}
    assert registry.collect() == ((), (Event("vm.scheduled", 5, attributes),))
    assert registry.collect() == ((), ())


def test_an_event_source_can_be_bound_and_switched_off(registry):
    source = registry.event_source("vm", level=Level.DETAIL)
    bound = source.bind(host="c1").bind(zone="z")
    bound.emit(n=1)
    registry.set_level("vm", Level.DETAIL)
    bound.emit(n=2, zone="y")

    assert [event.attributes for event in registry.collect()[1]] == [
        {"host": "c1", "zone": "y", "n": 2}
    ]
    assert (bound.name, bound.on, bound.level) == ("vm", True, Level.DETAIL)


def test_a_bound_event_source_can_be_copied(registry):
    bound = copy.copy(registry.event_source("e").bind(host="c1"))
    bound.emit()

    assert [event.attributes for event in registry.collect()[1]] == [{"host": "c1"}]


def test_an_event_knows_its_span_if_tracing_says_so(registry):
    registry.correlate = lambda: (b"t" * 16, b"s" * 8)
    registry.event("e")

    assert [(e.trace_id, e.span_id) for e in registry.collect()[1]] == [(b"t" * 16, b"s" * 8)]


def test_events_beyond_the_buffer_are_counted(registry, monkeypatch):
    monkeypatch.setattr(events_module, "EVENTS_MAX", 2)
    for n in range(5):
        registry.event("e", n=n)

    readings, events = registry.collect()

    assert [event.attributes for event in events] == [{"n": 0}, {"n": 1}]
    assert [(r.dimensions, r.value) for r in readings] == [
        ((("reason", "buffer_full"), ("what", "events")), 3)
    ]


def test_the_text_that_events_hold_is_bounded_and_what_exceeds_it_counted(
    registry, monkeypatch
):
    monkeypatch.setattr(events_module, "EVENTS_CHARS_MAX", 8)
    seen = []
    for _ in range(2):  # each collect begins anew
        for n in range(4):
            registry.event("e", n=n, a="xyz")
        (lost,), events = registry.collect()
        seen.append(([event.attributes["n"] for event in events], lost.dimensions, lost.value))

    assert seen == [([0, 1], (("reason", "buffer_full"), ("what", "events")), 2)] * 2


def test_the_attributes_of_an_event_are_bounded_and_what_exceeds_it_counted(registry):
    registry.event("e", **{f"a{n}": n for n in range(70)})
    readings, (event,) = registry.collect()

    assert event.attributes == {f"a{n}": n for n in range(64)}
    assert [(r.dimensions, r.value) for r in readings] == [
        ((("reason", "limit"), ("what", "attributes")), 6)
    ]


# --- the whole ------------------------------------------------------------------------------


def test_the_doctor_sees_every_instrument(registry):
    registry.timer("t")
    registry.event_source("e", level=Level.DEEP)

    assert [state[:-1] for state in registry.instruments()] == [
        ("nilometer.lost", "counter", "1", Level.BASIC, True, 1, 0),
        ("nilometer.series.overflow", "counter", "1", Level.BASIC, True, 1, 0),
        ("t", "timer", "ns", Level.BASIC, True, 1, 0),
        ("t.errors", "counter", "{error}", Level.BASIC, True, 1, 0),
        ("e", "event", "1", Level.DEEP, False, 0, 0),
    ]


def test_overhead_grows_with_use(core):
    registry = Registry(core=core)
    before = registry.overhead()
    counter = registry.counter("c")
    for _ in range(100_000):
        counter.add()
    registry.collect()

    assert before == 0
    assert registry.overhead() > 0


def test_a_registry_that_nobody_holds_goes_with_all_its_values(core):
    registry = Registry(core=core)
    registry.timer("t").bind(x=1)(lambda: None)()
    registry.counter("c", per_thread=True).bind(x=1).add()
    gauge = registry.gauge("g")
    gauge.read = lambda gauge=gauge: gauge.name and 1
    registry.collect()
    gone = weakref.ref(registry)
    del registry, gauge
    gc.collect()

    assert gone() is None


def test_levels_may_be_set_while_a_signal_handler_makes_instruments(core, hands):
    registry = Registry(core=core, clock=hands.clock)

    class Interrupted(Levels):
        """A handler may run at every call; here it does."""

        made = 0
        begun = False

        def is_on(self, name, level):
            if self.begun and self.made < 3:
                self.begun = False
                self.made += 1
                registry.counter(f"by.handler.{self.made}")
                registry.event_source(f"told.by.handler.{self.made}")
                self.begun = True
            return super().is_on(name, level)

    registry.levels = Interrupted()
    registry.counter("a", level=Level.DETAIL)
    registry.event("e")
    registry.levels.begun = True

    registry.set_level("", Level.DETAIL)

    assert {one.name: one.on for one in registry.instruments()} == {
        **dict.fromkeys(["nilometer.lost", "nilometer.series.overflow", "a", "e"], True),
        **{f"by.handler.{n}": True for n in (1, 2, 3)},
        **{f"told.by.handler.{n}": True for n in (1, 2, 3)},
    }
