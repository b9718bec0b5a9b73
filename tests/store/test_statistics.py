"""Statistics from the tables are those of the model, computed from the same readings."""

import math
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import reduce

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nilometer.errors import StoreError
from nilometer.model import Batch, Distribution, Kind, Resource
from nilometer.store import measured
from nilometer.store.lake import Lake
from nilometer.store.query import Reader
from nilometer.store.series import parted
from tests.store.batches import NOW_NS, S, counted

SHARES = (0.0, 0.01, 0.5, 0.9, 0.99, 1.0)
slow = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def asked(batches, name="c", **question):
    """What a fresh store says of these batches."""
    with tempfile.TemporaryDirectory() as place:
        Lake(place, durability="os").append(batches)
        return Reader(place).statistics(name, **question)


def batch(*readings, pid=1, **more):
    return Batch(Resource("api", "h", pid, **more), readings)


def at(n, value, **more):
    """A reading that ended `n` seconds after now."""
    kind = Kind.DISTRIBUTION if isinstance(value, Distribution) else Kind.COUNTER
    return counted(value, at_ns=NOW_NS + n * S, **({"kind": kind} | more))


values = st.integers(-(10**12), 10**12) | st.floats(-1e12, 1e12)
few = st.lists(values, min_size=1, max_size=20)
scaled = st.tuples(few.map(Distribution.of), st.integers(-2, 5)).map(
    lambda p: p[0].at_scale(p[1])
)


# ---- against the model -----------------------------------------------------------------------


@given(st.lists(scaled, min_size=1, max_size=6))
@slow
def test_merged_distributions_are_those_of_the_model(some):
    merged = reduce(Distribution.merged, some)

    [row] = asked([batch(*(at(n, each) for n, each in enumerate(some)))], quantiles=SHARES)

    assert row.samples == merged.samples
    assert row.total == pytest.approx(merged.total, abs=1e-3)
    assert (row.minimum, row.maximum) == (merged.minimum, merged.maximum)
    assert row.average == pytest.approx(row.total / merged.samples)
    assert row.quantiles == tuple((share, merged.quantile(share)) for share in SHARES)


@given(st.lists(st.lists(st.integers(0, 9), min_size=5, max_size=5), min_size=1, max_size=5))
@slow
def test_explicit_bounds_are_read_as_the_model_reads_them(some):
    held = [
        Distribution(sum(c), 0, None, None, {i: n for i, n in enumerate(c) if n}, bounds=BOUNDS)
        for c in some
    ]
    merged = reduce(Distribution.merged, held)

    [row] = asked([batch(*(at(n, each) for n, each in enumerate(held)))], quantiles=SHARES)

    assert row.quantiles == tuple((share, merged.quantile(share)) for share in SHARES)


BOUNDS = (1.0, 5.0, 10.0, 100.0)


def test_bounds_of_several_kinds_are_told_together():
    some = [
        Distribution(10, 30, None, None, {1: 10}, bounds=BOUNDS),
        Distribution(10, 300, None, None, {1: 10}, bounds=(20.0, 40.0)),
        Distribution.of([1000] * 10),
    ]

    [row] = asked(
        [batch(*(at(n, each) for n, each in enumerate(some)))], quantiles=(0.3, 0.6, 1)
    )

    assert (row.minimum, row.maximum) == (None, None)  # two of three did not keep them
    found = [value for _, value in row.quantiles]
    assert found == [pytest.approx(x, rel=0.011) for x in (3, 30, 1000)]


@given(
    st.lists(
        st.tuples(st.integers(0, 200), st.sampled_from("ab"), st.integers(0, 2**62)),
        min_size=1,
        max_size=20,
        unique_by=lambda each: each[:2],
    ),
    st.sampled_from([None, 7 * S, 60 * S]),
)
@slow
def test_counters_add_up_by_period_and_group(some, period_ns):
    expected = {}
    for second, tenant, moved in some:
        ended = NOW_NS + second * S
        start = min(NOW_NS + s * S - S for s, t, _ in some if t == tenant)
        key = (ended // period_ns * period_ns if period_ns else start, (tenant,))
        expected[key] = expected.get(key, 0) + moved

    found = asked(
        [batch(*(at(n, moved, where={"tenant": t}) for n, t, moved in some))],
        group_by=["tenant"],
        period_ns=period_ns,
    )

    assert {(row.started_ns, row.group): row.total for row in found} == expected


# ---- cumulative readings ---------------------------------------------------------------------


def grown(deltas, started=0):
    """Cumulative distributions that grow by these."""
    whole, told = Distribution.of([]), []
    for n, delta in enumerate(deltas):
        whole = whole.merged(delta)
        told.append(at(n + 1, whole, started_ns=NOW_NS + started, cumulative=True))
    return told


@given(st.lists(few.map(Distribution.of), min_size=2, max_size=6))
@slow
def test_cumulative_distributions_answer_like_their_deltas(deltas):
    first, merged = deltas[0], reduce(Distribution.merged, deltas[1:])
    merged = merged._replace(
        minimum=merged.minimum if merged.minimum < first.minimum else None,
        maximum=merged.maximum if merged.maximum > first.maximum else None,
    )

    [row] = asked(
        [batch(*grown(deltas, started=-7200 * S))],
        since_ns=NOW_NS + 2 * S,
        quantiles=SHARES,
    )

    assert (row.samples, row.minimum, row.maximum) == (
        merged.samples,
        merged.minimum,
        merged.maximum,
    )
    assert row.total == pytest.approx(merged.total, abs=1e-2)
    assert row.quantiles == tuple((share, merged.quantile(share)) for share in SHARES)


@given(st.lists(few.map(Distribution.of), min_size=1, max_size=5), st.integers(1, 4))
@slow
def test_extremes_of_a_cumulative_series_that_began_in_the_asked_time_are_all_known(
    deltas, resets
):
    told = grown(deltas)
    again = [
        at(10 + n, each.value, started_ns=NOW_NS + (10 + n - 1) * S, cumulative=True)
        for n, each in enumerate(told[:resets])
    ]
    merged = reduce(Distribution.merged, [told[-1].value, *(each.value for each in again)])

    [row] = asked([batch(*told, *again)], since_ns=NOW_NS, quantiles=SHARES)

    assert (row.samples, row.minimum, row.maximum) == (
        merged.samples,
        merged.minimum,
        merged.maximum,
    )
    assert row.quantiles == tuple((share, merged.quantile(share)) for share in SHARES)


def test_extremes_of_cumulative_series_are_told_where_they_can_be_known():
    """By period of ten seconds: the start, a new maximum, nothing recorded, who knows."""
    of = Distribution.of
    told = [(1, [5, 9]), (2, [5, 9, 7]), (11, [5, 9, 7, 12]), (21, [5, 9, 7, 12]),
            (31, [5, 9, 7, 12, 8])]  # fmt: skip
    some = [at(n, of(v), started_ns=NOW_NS, cumulative=True) for n, v in told]
    delta = at(22, of([6]))

    found = asked([batch(*some), batch(delta, pid=2)], since_ns=NOW_NS, period_ns=10 * S)

    assert [(row.samples, row.minimum, row.maximum) for row in found] == [
        (3, 5, 9),
        (1, None, 12),
        (1, 6, 6),
        (1, None, None),
    ]


def heights(*told, pid=1, started_ns=NOW_NS - 9 * 3600 * S):
    return batch(
        *(at(n + 1, v, started_ns=started_ns, cumulative=True) for n, v in enumerate(told)),
        pid=pid,
    )


@pytest.mark.parametrize(
    ("told", "moved"),
    [
        ([100, 110, 130], 30),  # what it counted before anyone looked is not ours
        ([100, 110, 5, 7], 17),  # fell: reset, and what it says is new
        ([100], None),
        ([100, 100, 100], 0),
        ([2**62, 2**62 + 1], 1),
        ([0.5, 2.0, 2.5], 2.0),
    ],
)
def test_cumulative_counters_moved_by_their_differences(told, moved):
    found = asked([heights(*told)], since_ns=NOW_NS)

    assert [row.total for row in found] == ([] if moved is None else [moved])


@pytest.mark.parametrize(
    ("told", "extremes"),
    [
        ([100, 110, 130], (10, 20)),
        ([100, 110, 5, 7], (2, 10)),
        ([2**62, 2**62 + 1], (1, 1)),
        ([0.5, 2.0, 2.5], (0.5, 1.5)),
    ],
)
def test_the_extremes_of_a_cumulative_counter_are_those_of_its_moves(told, extremes):
    [row] = asked([heights(*told)], since_ns=NOW_NS)

    assert (row.minimum, row.maximum) == extremes


def test_a_new_start_is_a_reset_even_if_the_value_grew():
    before = at(1, 10, started_ns=NOW_NS - 9 * 3600 * S, cumulative=True)
    after = at(2, 15, started_ns=NOW_NS + S, cumulative=True)

    assert [row.total for row in asked([batch(before, after)], since_ns=NOW_NS)] == [15]


@pytest.mark.parametrize("began_ns", [NOW_NS, NOW_NS - 9 * 3600 * S])
def test_streams_of_one_series_that_take_turns_have_each_their_own_past(began_ns):
    small = [(n, 10 * n, began_ns) for n in range(1, 5)]
    large = [(n, 100 * n, began_ns + 1) for n in range(1, 5)]
    told = [at(n, v, started_ns=start, cumulative=True) for n, v, start in small + large]

    [row] = asked([batch(*told)], since_ns=NOW_NS)

    assert row.total == (440 if began_ns == NOW_NS else 330)


def test_extremes_of_streams_that_take_turns_are_those_of_each():
    def told(n, start, *values):
        held = Distribution.of(values)
        return at(n, held, started_ns=start, cumulative=True)

    low, high = NOW_NS, NOW_NS + 1
    rows = [told(1, low, 5), told(2, high, 50), told(3, low, 5, 6), told(4, high, 50, 60)]

    [row] = asked([batch(*rows)], since_ns=NOW_NS)

    assert (row.samples, row.total, row.minimum, row.maximum) == (4, 121, 5, 60)


def test_a_counter_that_started_in_sight_moved_by_all_it_says():
    first = at(1, 10, started_ns=NOW_NS - 5 * S, cumulative=True)

    assert [row.total for row in asked([batch(first)], since_ns=NOW_NS)] == [10]


def test_all_of_time_is_all_that_a_counter_ever_said():
    assert [row.total for row in asked([heights(100, 110, 130)])] == [130]


def test_each_process_has_its_own_past():
    [row] = asked([heights(100, 110), heights(5, 9, pid=2)], since_ns=NOW_NS)

    assert row.total == 14


def test_the_reading_before_the_asked_time_is_where_a_counter_moved_from():
    [row] = asked([heights(100, 110, 130)], since_ns=NOW_NS + 3 * S)

    assert row.total == 20


# ---- gauges and rates ------------------------------------------------------------------------


def test_gauges_have_average_extremes_and_last_but_no_sum():
    some = [at(n, value, kind=Kind.GAUGE) for n, value in enumerate([4, 2.5, 1, 6])]
    [row] = asked([batch(*some)])

    assert (row.samples, row.total, row.average) == (4, None, 3.375)
    assert (row.minimum, row.maximum, row.last, row.rate) == (1, 6, 6, None)


@pytest.mark.parametrize("of", [int, float, lambda n: Distribution.of(range(1, n + 1))])
def test_a_cumulative_reading_that_comes_again_in_another_batch_counts_once(of):
    told = [at(n, of(n), started_ns=NOW_NS, cumulative=True) for n in range(1, 7)]
    once = asked([batch(*told)], quantiles=SHARES)

    again = [batch(*told[:2]), batch(*told[2:]), batch(*told[:4]), batch(*told[4:])]

    assert asked(again, quantiles=SHARES) == once
    assert once[0].samples == 6


def test_cumulative_says_nothing_about_a_gauge():
    some = [at(n, value, kind=Kind.GAUGE, cumulative=True) for n, value in enumerate([4, 2])]

    assert [row.average for row in asked([batch(*some)])] == [3]


def test_a_reading_that_is_no_number_does_not_spoil_the_others():
    some = [at(0, 5, kind=Kind.GAUGE), at(1, math.nan, kind=Kind.GAUGE)]

    assert [(row.samples, row.average) for row in asked([batch(*some)])] == [(1, 5)]


def test_rates_are_per_second_of_the_period():
    [row] = asked([batch(at(1, 30), at(2, 90))], since_ns=NOW_NS, until_ns=NOW_NS + 60 * S)
    [timer] = asked([batch(at(1, Distribution.of([5] * 20)))], period_ns=10 * S)

    assert (row.rate, timer.rate) == (2.0, 2.0)


def test_an_average_is_of_all_samples_and_never_of_averages():
    some = [at(0, Distribution.of([10] * 99)), at(1, Distribution.of([1000]))]

    assert [row.average for row in asked([batch(*some)])] == [19.9]


def test_sums_of_whole_numbers_are_exact():
    [row] = asked([batch(*(at(n, 2**62 + 1) for n in range(8)))])

    assert (row.total, type(row.total)) == (8 * (2**62 + 1), int)


# ---- choosing --------------------------------------------------------------------------------


def test_where_and_group_by_take_dimensions_and_resource_columns():
    some = [
        batch(at(1, 1, where={"tenant": "a"}), at(1, 2, where={"tenant": "b"}), pid=1),
        batch(at(1, 4, where={"tenant": "a"}), at(1, 8), pid=2),
    ]

    def totals(**question):
        return {row.group: row.total for row in asked(some, **question)}

    assert totals(group_by=["tenant"]) == {(None,): 8, ("a",): 5, ("b",): 2}
    assert totals(group_by=["pid"]) == {("1",): 3, ("2",): 12}
    assert totals(where={"tenant": "a"}) == {(): 5}
    assert totals(where={"tenant": "a", "pid": "2"}) == {(): 4}
    assert totals(where={"tenant": "x"}) == {}


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
@example("'; DROP TABLE readings; --")
@example('"$.a"')
@slow
def test_any_text_may_be_a_name_a_key_or_a_value(text):
    some = [batch(at(1, 3, name=text, where={text: text}), at(1, 5, name=text + "x"))]

    [row] = asked(some, text, where={text: text}, group_by=[text])

    assert (row.group, row.total) == ((text,), 3)


def test_one_name_of_two_units_is_never_added_up():
    found = asked([batch(at(1, 3, unit="s"), at(1, 5, unit="By"))])

    assert [(row.unit, row.total) for row in found] == [("By", 5), ("s", 3)]


def test_the_names_the_series_and_their_dimensions(tmp_path):
    Lake(tmp_path).append([batch(at(1, 3, where={"t": "a"}), at(1, 5, where={"t": "b"}))])
    reader = Reader(tmp_path)

    assert [(i.name, i.kind, i.series) for i in reader.metric_names()] == [("c", "counter", 2)]
    assert reader.metric_names("d") == []
    assert [s.dimensions for s in reader.series("c", {"t": "b"})] == [(("t", "b"),)]
    assert reader.dimensions("c")["t"] == ["a", "b"]


def test_series_that_are_not_one_can_be_told_apart(tmp_path):
    reading = at(1, 3)
    resources = [
        Resource("api", version="1"),
        Resource("api", version="2"),
        Resource("api", attributes=(("service.instance.id", "a"),)),
        Resource("api", attributes=(("service.instance.id", "b"),)),
    ]
    batches = [Batch(resource, (reading,)) for resource in resources]
    Lake(tmp_path).append([*batches, Batch(resources[0], (reading._replace(scope="lib"),))])

    found = [one._replace(series=0) for one in Reader(tmp_path).series("c")]

    assert len(found) == 5
    assert all(found.count(one) == 1 for one in found)


def test_versions_are_told_apart_and_grouped_by(tmp_path):
    batches = [
        Batch(Resource("api", version=version), (at(0, value),))
        for version, value in (("1.0", 3), ("1.1", 4))
    ]

    rows = asked(batches, group_by=["version"])

    assert [(row.group, row.total) for row in rows] == [(("1.0",), 3), (("1.1",), 4)]


# ---- values over time ------------------------------------------------------------------------


def test_what_timers_kept_is_told_by_period_and_merged_over_series(tmp_path):
    Lake(tmp_path, durability="os").append(
        [
            batch(at(1, Distribution.of([5, 1000]), where={"n": 1})),
            batch(at(2, Distribution.of([7]), where={"n": 2})),
            batch(at(61, Distribution.of([0, -3, 9]))),
            batch(at(62, 8, name="c")),
        ]
    )
    reader = Reader(tmp_path)

    found = reader.spread("c", parted(reader.series("c"), []), period_ns=60 * S)

    start = NOW_NS // (60 * S) * 60 * S
    timers = [(one, told) for one, told in found if one.kind == "distribution"]
    assert [(one.started_ns, told) for one, told in timers] == [
        (start, Distribution.of([5, 1000, 7])),
        (start + 60 * S, Distribution.of([0, -3, 9])),
    ]


# ---- limits ----------------------------------------------------------------------------------


def test_too_large_an_answer_is_refused_and_never_cut(tmp_path, monkeypatch):
    Lake(tmp_path).append(
        [batch(*(at(n, Distribution.of([1, 10]), where={"n": n}) for n in range(9)))]
    )
    reader = Reader(tmp_path)
    for limit in ("ROWS_MAX", "SERIES_MAX", "BUCKETS_MAX"):
        monkeypatch.setattr(measured, limit, 8)
        with pytest.raises(StoreError) as error:
            reader.statistics("c", group_by=["n"], quantiles=[0.5])
        assert error.value.slug == "store-too-much"
        monkeypatch.undo()


def test_a_question_beyond_its_memory_is_refused(tmp_path):
    many = tuple(at(n, Distribution.of(range(1, 200))) for n in range(5000))
    Lake(tmp_path).append([batch(*many)])
    reader = Reader(tmp_path, memory_max="2MB")

    with pytest.raises(StoreError) as error:
        reader.statistics("c", period_ns=S, quantiles=[0.5])

    assert error.value.slug == "store-too-much"


def test_many_threads_may_ask_at_once(tmp_path):
    lake = Lake(tmp_path, durability="os")
    reader = Reader(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(reader.statistics, "c") for _ in range(40)]
        for n in range(5):
            lake.append([batch(at(n, 1))])
        totals = [row.total for each in asking for row in each.result()]

    assert set(totals) <= {1, 2, 3, 4, 5}
    assert [row.total for row in reader.statistics("c")] == [5]


# ---- hostile questions -----------------------------------------------------------------------

texts = st.text() | st.sampled_from(["c", "g", "service", "tenant", "\ud800", "\0"])
numbers = st.none() | st.integers(-(2**70), 2**70) | st.sampled_from([0, S, NOW_NS])


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    place = tmp_path_factory.mktemp("kept")
    lake = Lake(place, durability="os")
    lake.append(
        [batch(at(1, 3, where={"tenant": "a"}), at(1, Distribution.of([1, 5]), name="d"))]
    )
    lake.append([batch(at(-(10**9), 3, name="g", kind=Kind.GAUGE))])
    return Reader(place)


@given(
    name=texts | st.sampled_from("cdg"),
    since_ns=numbers,
    until_ns=numbers,
    period_ns=numbers,
    group_by=st.lists(texts, max_size=3),
    where=st.none() | st.dictionaries(texts, texts, max_size=2),
    quantiles=st.lists(st.floats(), max_size=3),
)
@slow
def test_any_question_gets_an_answer_or_a_reason(kept, name, **question):
    try:
        for row in kept.statistics(name, **question):
            assert len(row.group) == len(question["group_by"])
        kept.dimensions(name, since_ns=question["since_ns"])
        kept.metric_names(name, until_ns=question["until_ns"])
        kept.find_traces(service=name, min_duration_ns=question["period_ns"], request_id=name)
        kept.events(name=name, trace_id=name, since_ns=question["since_ns"])
        kept.trace(name)
    except StoreError as error:
        if error.slug != "store-too-much":
            raise


@pytest.mark.parametrize("period_ns", [-1, 0, 2**63, 2**70, 1])
def test_any_period_will_do(kept, period_ns):
    rows = kept.statistics("c", period_ns=period_ns)

    assert [row.total for row in rows] == [3]
