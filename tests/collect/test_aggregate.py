"""Laws of the statsd aggregation: exact sums, one series in any order, all of it bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.clock import Clock
from nilometer.collect import aggregate
from nilometer.collect.aggregate import Aggregator
from nilometer.model import Distribution, Event, Kind, Reading

S = 10**9


class Timed(Aggregator):
    """Is told what time it is by both clocks; `step_ns` corrects the wall clock only."""

    def __init__(self, **more):
        self.at_ns = self.step_ns = 0
        super().__init__(Clock(lambda: self.at_ns, lambda: self.at_ns + self.step_ns), **more)

    def take(self, packet, at_ns):
        self.at_ns = at_ns
        return super().take(packet)

    def flush(self, at_ns):
        self.at_ns = at_ns
        return super().flush()


def gathered(*packets, at=5 * S):
    """Readings and events of one flush."""
    aggregator = Timed()
    refused = [dict(aggregator.take(packet, at)) for packet in packets]
    assert refused == [{}] * len(packets)
    return aggregator.flush(10 * S)


def reading(name, kind, value, *dimensions, unit="", started=0, ended=10 * S):
    return Reading(name, kind, tuple(dimensions), value, started, ended, unit)


def test_every_type_becomes_the_reading_it_means():
    readings, events = gathered(
        b"hits:3|c\nhits:4|c|@0.1",
        b"boot:320|ms\nboot:0.5|ms|@0.5",
        b"size:10|h\nsize:30|h",
        b"size:10|d",
        b"pool:7|g\npool:+3|g\npool:-1|g",
        b"users:ann|s\nusers:bob|s\nusers:ann|s",
    )

    assert [(r.name, r.kind, r.value, r.unit) for r in readings] == [
        ("hits", Kind.COUNTER, 43, ""),
        ("pool", Kind.GAUGE, 9, ""),
        (
            "boot",
            Kind.DISTRIBUTION,
            Distribution.of([320_000_000]).merged(Distribution.of([500_000], weight=2)),
            "ns",
        ),
        ("size", Kind.DISTRIBUTION, Distribution.of([10, 30]), ""),
        ("size", Kind.DISTRIBUTION, Distribution.of([10]), ""),
        ("users", Kind.GAUGE, 2, ""),
    ]
    assert events == ()


def test_a_reading_covers_the_time_between_two_flushes():
    aggregator = Timed()
    aggregator.flush(1 * S)
    aggregator.take(b"a:1|c", 2 * S)

    first = aggregator.flush(11 * S)
    aggregator.take(b"a:2|c", 12 * S)
    second = aggregator.flush(21 * S)

    assert first == ((reading("a", Kind.COUNTER, 1, started=1 * S, ended=11 * S),), ())
    assert second == ((reading("a", Kind.COUNTER, 2, started=11 * S, ended=21 * S),), ())


def test_the_order_of_dimensions_makes_no_new_series():
    readings, _ = gathered(
        b"n:1|c|#b:2,a:1", b"n:1|c|#a:1,b:2", b"n,a=1,b=2:1|c", b"n;b=2;a=1:1|c"
    )

    assert readings == (reading("n", Kind.COUNTER, 4, ("a", "1"), ("b", "2")),)


def test_a_gauge_keeps_its_value_over_flushes_for_later_deltas():
    aggregator = Timed()
    aggregator.take(b"g:10|g", 1 * S)
    aggregator.flush(10 * S)
    silent = aggregator.flush(20 * S)
    aggregator.take(b"g:+5|g", 21 * S)

    moved, _ = aggregator.flush(30 * S)

    assert silent == ((), ())
    assert [r.value for r in moved] == [15]


def test_a_negative_gauge_sent_as_zero_and_delta_arrives():
    readings, _ = gathered(b"g:10|g\ng:0|g\ng:-5|g")

    assert [r.value for r in readings] == [-5]


def test_a_time_of_its_own_is_honoured_and_not_aggregated():
    readings, _ = gathered(b"c:3|c|T1700000000\nc:4|c|T1700000000\ng:7|g|T1700000001")

    assert readings == (
        reading("c", Kind.COUNTER, 3, started=1700000000 * S, ended=1700000000 * S),
        reading("c", Kind.COUNTER, 4, started=1700000000 * S, ended=1700000000 * S),
        reading("g", Kind.GAUGE, 7, started=1700000001 * S, ended=1700000001 * S),
    )


def test_events_and_service_checks_arrive():
    readings, events = gathered(
        b"_e{5,5}:title|hello|t:error|#env:prod", b"_sc|db.up|2|#env:prod|m:no answer"
    )

    assert readings == (reading("db.up", Kind.GAUGE, 2, ("env", "prod")),)
    assert events == (
        Event(
            "title", 5 * S, {"alert_type": "error", "env": "prod"}, severity=17, body="hello"
        ),
        Event("db.up", 5 * S, {"env": "prod", "status": 2}, severity=17, body="no answer"),
    )


def test_a_rate_is_growth_per_second_and_nothing_falls_between_flushes():
    aggregator = Timed()
    for at, value in ((1, 100), (5, 140)):
        aggregator.take(b"r:%d|r" % value, at * S)
    first, _ = aggregator.flush(10 * S)
    aggregator.take(b"r:200|r", 11 * S)
    second, _ = aggregator.flush(20 * S)

    assert [(r.kind, r.value, r.unit) for r in (*first, *second)] == [
        (Kind.GAUGE, 10.0, "1/s"),
        (Kind.GAUGE, 10.0, "1/s"),
    ]


@given(
    st.lists(
        st.tuples(st.integers(0, 10**6), st.sampled_from(["1", "0.5", "0.1", "0.25", "0.3"])),
        min_size=1,
        max_size=60,
    )
)
def test_sampled_timers_count_and_sum_what_they_stand_for(lines):
    aggregator = Timed()
    for value, rate in lines:
        aggregator.take(b"t:%d|h|@%s" % (value, rate.encode()), S)

    ((found,), _) = aggregator.flush(10 * S)

    weights = sum(1 / float(rate) for _, rate in lines)
    values = [value for value, _ in lines]
    assert weights - 1 < found.value.samples <= weights + 1e-6
    assert min(values) == found.value.minimum <= found.value.average <= found.value.maximum
    assert found.value.maximum == max(values)
    counted = sum(found.value.buckets.values()) + found.value.zeros
    assert counted == found.value.samples


@given(
    st.lists(st.tuples(st.integers(-(10**9), 10**9), st.sampled_from([1, 2, 4, 5, 10, 100])))
)
def test_sampled_counters_add_up_exactly(lines):
    aggregator = Timed()
    for value, times in lines:
        aggregator.take(b"c:%d|c|@%s" % (value, repr(1 / times).encode()), S)

    readings, _ = aggregator.flush(10 * S)

    assert sum(r.value for r in readings) == sum(value * times for value, times in lines)


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_no_packet_raises_and_its_good_line_is_kept(packets):
    aggregator = Timed()
    for packet in packets:
        aggregator.take(packet.replace(b"|", b"|x") + b"\ngood:1|c", S)

    readings, _ = aggregator.flush(10 * S)

    assert sum(r.value for r in readings if r.name == "good") == len(packets)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"n" * 600 + b":1|c", "name-too-long"),
        (b"n:1|c|#k:" + b"v" * 5000, "dimensions-too-long"),
        (b"n:1e300|g", "value-out-of-range"),
        (b"n:1|c|@1e-12", "rate"),
        (b"n:1e999|c", "value"),
        (b"n:nan|g", "value"),
        (b"n:1", "form"),
    ],
)
def test_bad_lines_are_refused_by_reason_and_the_rest_of_the_packet_is_kept(packet, reason):
    aggregator = Timed()

    refused = aggregator.take(b"a:1|c\n" + packet + b"\nb:1|c", S)

    assert dict(refused) == {reason: 1}
    assert [r.name for r in aggregator.flush(10 * S)[0]] == ["a", "b"]


def test_the_number_of_series_is_bounded_and_known_ones_go_on():
    aggregator = Timed(series_max=2)

    refused = [
        dict(aggregator.take(line, S)) for line in (b"a:1|c", b"b:1|c", b"c:1|c", b"a:1|c")
    ]

    assert refused == [{}, {}, {"series-overflow": 1}, {}]
    assert [(r.name, r.value) for r in aggregator.flush(10 * S)[0]] == [("a", 2), ("b", 1)]


def test_silent_series_are_forgotten_gauges_later_than_others():
    aggregator = Timed(series_max=2)
    aggregator.take(b"c:1|c\ng:5|g", S)
    aggregator.flush(10 * S)
    remembered = []
    for now in (S + aggregate.EXPIRE_NS + 1, S + aggregate.EXPIRE_GAUGE_NS + 1):
        aggregator.flush(now)
        remembered.append(aggregator.series_count)

    assert remembered == [1, 0]


def test_events_and_stamped_readings_of_one_flush_are_bounded(monkeypatch):
    monkeypatch.setattr(aggregate, "EVENTS_MAX", 1)
    monkeypatch.setattr(aggregate, "STAMPED_MAX", 1)
    monkeypatch.setattr(aggregate, "MEMBERS_MAX", 1)
    aggregator = Timed()

    refused = aggregator.take(b"_e{1,1}:t|x\n_e{1,1}:t|x\nc:1|c|T1\nc:1|c|T1\ns:a|s\ns:b|s", S)
    readings, events = aggregator.flush(10 * S)

    assert dict(refused) == {"event-overflow": 1, "stamped-overflow": 1, "set-overflow": 1}
    assert (len(readings), len(events)) == (2, 1)


def test_sets_begin_empty_after_each_flush_and_so_does_their_bound(monkeypatch):
    monkeypatch.setattr(aggregate, "MEMBERS_MAX", 2)
    aggregator = Timed()
    told = []
    for second in (10, 20):
        refused = aggregator.take(b"s:a|s\ns:b|s\ns:c|s", second * S)
        told.append((dict(refused), [r.value for r in aggregator.flush(second * S)[0]]))

    assert told == [({"set-overflow": 1}, [2])] * 2


def test_a_name_with_a_nul_is_refused():
    assert Timed().take(b"a\0b:1|c", 1) == {"name": 1}


@pytest.mark.parametrize("step", [-3600 * S, 3 * 3600 * S])
def test_a_step_of_the_wall_clock_changes_no_value_and_makes_no_interval_negative(step):
    aggregator = Timed()
    aggregator.take(b"g:5|g\nr:10|r", 1 * S)
    aggregator.flush(10 * S)
    aggregator.step_ns = step
    aggregator.take(b"c:1|c\ng:+1|g\nr:30|r", 11 * S)
    first, _ = aggregator.flush(20 * S)
    aggregator.take(b"r:40|r", 21 * S)
    second, _ = aggregator.flush(30 * S)

    at, before = 20 * S + step, min(10 * S, 20 * S + step)
    assert first == (
        reading("c", Kind.COUNTER, 1, started=before, ended=at),
        reading("g", Kind.GAUGE, 6, started=before, ended=at),
        reading("r", Kind.GAUGE, 2, unit="1/s", started=before, ended=at),
    )
    assert second == (reading("r", Kind.GAUGE, 1, unit="1/s", started=at, ended=at + 10 * S),)


@pytest.mark.parametrize("step", [-3600 * S, 3 * 3600 * S])
def test_a_step_of_the_wall_clock_makes_no_series_older_or_younger(step):
    aggregator = Timed()
    aggregator.take(b"g:5|g", S)
    remembered = []
    for after in (aggregate.EXPIRE_GAUGE_NS, aggregate.EXPIRE_GAUGE_NS + 1):
        aggregator.step_ns = step
        aggregator.flush(S + after)
        remembered.append(aggregator.series_count)

    assert remembered == [1, 0]
