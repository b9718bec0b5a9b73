"""What waits is merged before any of it is given up, and no sum is lost by merging."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.export.backlog import BUCKETS_PER_ROW, Backlog
from nilometer.model import Batch, Distribution, Kind, Reading, Resource

SHOP = Resource("shop")
S = 10**9  # nanoseconds


def reading(kind, value, at_s=0, name="x", **more):
    return Reading(name, kind, (), value, at_s * S, (at_s + 10) * S, "1", **more)


def counter(value, at_s=0, name="x", **more):
    return reading(Kind.COUNTER, value, at_s, name, **more)


def timer(*values, at_s=0, **more):
    return reading(Kind.DISTRIBUTION, Distribution.of(values), at_s, "t", **more)


def full(*batches, rows_max):
    """A backlog of these batches, merged; and how many readings that saved."""
    backlog = Backlog()
    for batch in batches:
        backlog.append(batch if isinstance(batch, Batch) else Batch(SHOP, batch))
    return backlog, backlog.merge(rows_max)


READINGS = st.one_of(
    st.builds(
        lambda name, value, cumulative: counter(value, name=name, cumulative=cumulative),
        st.sampled_from("abcdef"),
        st.integers(0, 10**20),
        st.sampled_from([False, False, False, True]),
    ),
    st.builds(lambda value: reading(Kind.GAUGE, value, name="g"), st.floats()),
    st.builds(lambda values: timer(*values), st.lists(st.integers(0, 10**12), max_size=5)),
    st.builds(
        lambda bounds: reading(Kind.DISTRIBUTION, Distribution(3, 7, 1, 4, bounds=bounds)),
        st.sampled_from([(1.0, 2.0), (5.0,)]),
    ),
)
BATCHES = st.builds(
    lambda resource, readings, spans, events: (resource, tuple(readings), spans, events),
    st.sampled_from([SHOP, SHOP, SHOP, Resource("other")]),
    st.lists(READINGS, max_size=8),
    st.integers(0, 6),
    st.integers(0, 3),
)
STEPS = st.lists(
    st.one_of(BATCHES, BATCHES, st.tuples(st.just("take"), st.integers(1, 12), st.booleans())),
    max_size=25,
)


def sums(batches):
    """Of each series: what its counter moved, or samples, total and buckets of its timer."""
    added = Counter()
    for batch in batches:
        for one in batch.readings:
            series = batch.resource.service, one.name, one.cumulative
            value = one.value
            if isinstance(value, Distribution):
                added[*series, "samples"] += value.samples
                added[*series, "total"] += value.total
                for index, count in value.buckets.items():
                    added[*series, "bucket", index, value.bounds] += count
            elif one.kind is Kind.COUNTER:
                added[*series, "sum"] += value
    return +added


def loose(batches):
    """Spans and events in their order."""
    return [s for b in batches for s in b.spans], [e for b in batches for e in b.events]


@given(STEPS, st.integers(1, 40))
def test_what_is_taken_given_up_or_kept_adds_up_to_what_was_put_in(make, steps, rows_max):
    backlog, put, out, gone = Backlog(), [], [], []
    merged = number = 0

    for step in steps:
        if step[0] == "take":
            batch = backlog.take(step[1])
            out += [] if batch is None else [batch]
            continue
        resource, readings, spans, events = step
        number += 10
        put.append(
            Batch(
                resource,
                readings,
                tuple(make.span(number + n) for n in range(spans)),
                tuple(make.event(number + n) for n in range(events)),
            )
        )
        backlog.append(put[-1])
        merged += backlog.merge(rows_max)
        gone += backlog.drop(backlog.rows - rows_max)

        kept = backlog.batches
        assert backlog.rows == sum(batch.rows for batch in kept) <= rows_max
        assert backlog.readings == sum(len(batch.readings) for batch in kept)
        everywhere = out + gone + kept
        assert sums(everywhere) == sums(put)
        assert sum(batch.rows for batch in everywhere) + merged == sum(b.rows for b in put)
        spans, events = loose(everywhere)
        assert (sorted(spans), sorted(events)) == tuple(map(sorted, loose(put)))
        assert loose(kept) == tuple(map(sorted, loose(kept)))


@given(st.lists(st.sets(st.sampled_from("abcdef")), max_size=30))
def test_no_counter_is_given_up_while_all_series_have_room(rows):
    backlog = Backlog()
    for names in rows:
        backlog.append(Batch(SHOP, tuple(counter(1, name=name) for name in names)))
        backlog.merge(6)

        assert backlog.rows <= 6  # so nothing is left for `drop` to do


def test_counters_add_up_timers_merge_and_gauges_keep_the_last():
    backlog, merged = full(
        (counter(3), timer(5, 700), reading(Kind.GAUGE, 4, name="g")),
        (counter(4, 10), timer(9, at_s=10), reading(Kind.GAUGE, 2, 10, name="g")),
        (timer(1, at_s=20), counter(5, 20)),
        rows_max=3,
    )

    assert backlog.batches == [
        Batch(
            SHOP,
            (
                counter(12)._replace(ended_ns=30 * S),
                timer(5, 700, 9, 1)._replace(ended_ns=30 * S),
                reading(Kind.GAUGE, 2, 10, name="g"),
            ),
        )
    ]
    assert merged == 5


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(counter(1, name="y"), id="another name"),
        pytest.param(counter(1)._replace(dimensions=(("k", "v"),)), id="other dimensions"),
        pytest.param(counter(1)._replace(unit="By"), id="another unit"),
        pytest.param(counter(1, scope="lib"), id="another scope"),
        pytest.param(counter(1, cumulative=True), id="cumulative"),
        pytest.param(reading(Kind.GAUGE, 1), id="another kind"),
        pytest.param(reading(Kind.DISTRIBUTION, Distribution.of([1])), id="a timer"),
    ],
)
def test_what_is_not_the_same_series_is_not_merged(other):
    for pair in ((counter(1), other), (other, counter(1))):
        backlog, merged = full((pair[0],), (pair[1],), rows_max=1)

        assert (backlog.batches, merged) == ([Batch(SHOP, pair)], 0)


def test_histograms_are_merged_if_their_explicit_bounds_are_equal():
    def histogram(*bounds):
        value = Distribution(2, 3, None, None, {0: 1, 1: 1}, bounds=bounds)
        return (reading(Kind.DISTRIBUTION, value),)

    backlog, merged = full(histogram(1.0), histogram(1.0), histogram(2.0), rows_max=1)

    (batch,) = backlog.batches
    assert [(r.value.samples, r.value.buckets, r.value.bounds) for r in batch.readings] == [
        (4, {0: 2, 1: 2}, (1.0,)),
        (2, {0: 1, 1: 1}, (2.0,)),
    ]
    assert merged == 1


def test_a_clock_that_was_set_back_makes_no_interval_shorter():
    backlog, _ = full((counter(1, 50),), (counter(2, 20),), rows_max=1)

    assert backlog.batches == [Batch(SHOP, (counter(3, 20)._replace(ended_ns=60 * S),))]


def test_nothing_is_merged_while_there_is_room():
    batches = [Batch(SHOP, (counter(n),)) for n in range(5)]
    backlog, merged = full(*batches, rows_max=5)

    assert (backlog.batches, merged) == (batches, 0)


def test_what_different_resources_measured_stays_apart():
    one, other = (Batch(Resource(name), (counter(1),)) for name in ("a", "b"))
    backlog, merged = full(one, other, one, other, rows_max=2)

    assert (backlog.batches, merged) == ([one, other, one, other], 0)


def test_intervals_grow_alike_in_an_outage_that_lasts():
    """At no time is one more than four times as long as another, but for the youngest."""
    backlog = Backlog()
    for n in range(1_000):
        backlog.append(Batch(SHOP, (counter(1, n * 10),)))
        backlog.merge(16)
    lengths = [b.readings[0].ended_ns - b.readings[0].started_ns for b in backlog.batches]

    assert (len(lengths), sum(lengths)) == (16, 1_000 * 10 * S)
    assert max(lengths) <= 4 * sorted(lengths)[len(lengths) // 2]
    assert max(lengths) <= 1_280 * S  # sixteen even ones would be 625 s


def test_an_outage_costs_one_join_for_each_batch(monkeypatch):
    joins = []
    join = Backlog._join

    def counted(self):
        joins.append(join(self))
        return joins[-1]

    monkeypatch.setattr(Backlog, "_join", counted)
    backlog = Backlog()
    for n in range(1_000):
        backlog.append(Batch(SHOP, tuple(counter(1, n, name=name) for name in "abc")))
        backlog.merge(300)

    assert sum(joins) == 1_000 - 100
    assert joins.count(False) <= 2 * sum(joins)  # pairs that were looked at and not joined


def test_large_distributions_are_merged_before_their_buckets_fill_the_memory():
    rows_max = 20
    wide = [timer(*(2**n for n in range(60)), at_s=10 * n) for n in range(10)]
    backlog, merged = full(*((one,) for one in wide), rows_max=rows_max)

    assert backlog.buckets <= rows_max * BUCKETS_PER_ROW
    assert merged == 10 - backlog.rows == 6
    assert sum(r.value.samples for b in backlog.batches for r in b.readings) == 600


def test_a_flood_of_spans_leaves_the_readings_their_times(make):
    backlog = Backlog()
    for n in range(50):
        backlog.append(make.batch(spans=100)._replace(readings=(counter(1, n),)))
        backlog.merge(1_000)
        backlog.drop(backlog.rows - 1_000)

    assert (backlog.rows, backlog.readings) == (1_000, 50)


@pytest.mark.parametrize("flood", ["readings", "spans", "events"])
def test_a_flood_of_one_leaves_the_other_its_half(make, flood):
    other = "spans" if flood == "readings" else "readings"
    backlog = Backlog()
    for n in range(40):
        one_of_each = tuple(counter(1, n, name=f"{n}.{k}") for k in range(90))
        flooding = one_of_each if flood == "readings" else getattr(make.batch(0, 90, 90), flood)
        rest = tuple(counter(1, n, name=f"{n}") for _ in "a") if other == "readings" else ()
        spans = (make.span(n + 1),) if other == "spans" else ()
        batch = Batch(SHOP, rest, spans)._replace(**{flood: flooding})
        backlog.append(batch)
        backlog.merge(100)
        backlog.drop(backlog.rows - 100)

    assert sum(len(getattr(b, other)) for b in backlog.batches) == 40
    assert backlog.rows == 100


def test_the_oldest_spans_and_events_are_given_up_first(make):
    backlog = Backlog()
    spans = [make.span(n + 1) for n in range(6)]
    for n in range(0, 6, 2):
        backlog.append(Batch(SHOP, spans=tuple(spans[n : n + 2])))

    gone = backlog.drop(3)

    assert loose(gone) == (spans[:3], [])
    assert loose(backlog.batches) == (spans[3:], [])


def test_in_a_joined_batch_spans_and_events_are_given_up_in_the_order_of_their_ends(make):
    """Two intervals of spans 1 to 3 and events 1 to 3, then of spans and events 4 to 6."""
    backlog = Backlog()
    spans, events = [make.span(n) for n in range(7)], [make.event(n) for n in range(7)]
    for n in (1, 4):
        loose_of_it = tuple(spans[n : n + 3]), tuple(events[n : n + 3])
        backlog.append(Batch(SHOP, (counter(1, n),), *loose_of_it))
    assert backlog.merge(4) == 1

    gone = backlog.drop(8)

    assert loose(gone) == (spans[1:5], events[1:5])
    assert loose(backlog.batches) == (spans[5:], events[5:])


def test_a_batch_is_taken_in_parts_if_it_is_too_large(make):
    backlog = Backlog()
    backlog.append(make.batch(readings=3, spans=2, events=2))
    parts = [backlog.take(4), backlog.take(4), backlog.take(4)]

    assert [(len(p.readings), len(p.events), len(p.spans)) for p in parts[:2]] == [
        (3, 1, 0),
        (0, 1, 2),
    ]
    assert (parts[2], backlog.rows, backlog.buckets) == (None, 0, 0)


def test_what_waited_goes_together_in_its_order_and_unmerged():
    backlog = Backlog()
    batches = [Batch(SHOP, (counter(at, at),)) for at in range(1, 6)]
    for batch in batches:
        backlog.append(batch)

    taken = backlog.take(100)

    assert taken == Batch(SHOP, tuple(batch.readings[0] for batch in batches))
    assert (backlog.rows, backlog.readings, backlog.buckets) == (0, 0, 0)


def test_what_goes_together_is_bounded_and_of_one_resource():
    backlog = Backlog()
    for resource in [SHOP] * 5 + [Resource("other")]:
        backlog.append(Batch(resource, (counter(1),)))

    sizes = []
    while (taken := backlog.take(3)) is not None:
        sizes.append(taken.rows)

    assert sizes == [3, 2, 1]
