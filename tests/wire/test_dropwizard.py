"""What we write in DropWizard's shapes, beside what the real library (3.2.6) wrote.

`data/dropwizard/Golden.java` made the files, by a clock turned by hand.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nilometer.errors import ConfigError
from nilometer.model import Distribution, Kind, Reading
from nilometer.wire.dropwizard import document, encode, health, health_status
from nilometer.wire.dropwizard_names import JAVA_NAMES, Name, Names
from nilometer.wire.dropwizard_totals import Totals

GOLDEN = Path(__file__).parent.parent / "data" / "dropwizard"
S = 10**9
STEP = 5 * S


class Hand:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


def reading(name, value, *, unit="1", kind=Kind.COUNTER, over=(0, 5), dimensions=(), **more):
    return Reading(name, kind, dimensions, value, over[0] * S, over[1] * S, unit, **more)


def as_golden() -> tuple[Totals, list[list[float]]]:
    """The same as Golden.java measured, and the rates after each step."""
    clock = Hand()
    totals, rates = Totals(clock), []
    for tick in range(1, 241):
        clock.now = tick * STEP + 1
        marks = 10 + tick % 7 if tick <= 60 else 600 if tick % 60 == 0 else 0
        over = (5 * tick - 5, 5 * tick)
        values = [tick * 1_000_000 + i * 1000 for i in range(1, 6)]
        sizes = [tick * i for i in range(1, 6)]
        timed, sized = Distribution.of(values), Distribution.of(sizes)
        totals.add(
            [
                reading("requests", marks, over=over),
                reading("idle", 0, over=over),
                reading("flush-timer", timed, unit="ns", kind=Kind.DISTRIBUTION, over=over),
                reading("sizes", sized, unit="By", kind=Kind.DISTRIBUTION, over=over),
                reading("unused", Distribution.of([]), unit="ns", kind=Kind.DISTRIBUTION),
                reading("depth", 17, kind=Kind.GAUGE),
                reading("share", 0.25, kind=Kind.GAUGE),
                reading("added", 42 if tick == 1 else 0, over=over),
            ]
        )
        told = document(totals.all(), Names({}), totals.elapsed_s)["meters"]["requests"]
        rates.append([marks, *(told[f"{r}_rate"] for r in ("m1", "m5", "m15", "mean"))])
    return totals, rates


def ours() -> dict:
    totals, _ = as_golden()
    return document(totals.all(), Names({"added": "counter:added"}), totals.elapsed_s)


def shape(answer):
    """Its keys in their order, with the types of what they hold."""
    if isinstance(answer, dict):
        return [(key, shape(value)) for key, value in answer.items()]
    return type(answer).__name__


def test_keys_order_and_types_are_those_of_the_real_library():
    real = json.loads((GOLDEN / "metrics.json").read_bytes())

    assert shape(ours()) == shape(real)


def test_the_three_rates_are_those_of_the_real_library_after_every_step():
    real = json.loads((GOLDEN / "rates.json").read_bytes())
    _, rates = as_golden()

    assert rates == [pytest.approx(one, rel=1e-9) for one in real]


def test_counts_extremes_and_means_are_exact_and_quantiles_within_a_bucket():
    real, told = json.loads((GOLDEN / "metrics.json").read_bytes()), ours()

    assert told["gauges"] == real["gauges"]
    assert told["counters"] == real["counters"]
    sections = [("timers", "flush-timer"), ("histograms", "sizes"), ("timers", "unused")]
    for section, name in [*sections, ("meters", "requests"), ("meters", "idle")]:
        exact = {"count", "max", "min", "mean"}
        for key, value in real[section][name].items():
            if key.endswith("units"):
                assert told[section][name][key] == value
            elif key in exact or key.endswith("rate"):
                assert told[section][name][key] == pytest.approx(value, rel=1e-9), key
            else:  # interpolated there, the sample's own bucket here
                assert told[section][name][key] == pytest.approx(value, rel=0.015), key


def test_what_is_pretty_is_laid_out_as_java_does_it():
    """Numbers of Java's own look are ours by value, so they are compared by shape above."""
    for name in ("metrics", "healthcheck"):
        real = (GOLDEN / f"{name}.pretty.json").read_text()
        value = json.loads(real)

        assert encode(value, pretty=True).decode() == real
        assert encode(value, pretty=False).decode() == (GOLDEN / f"{name}.json").read_text()


def test_health_is_told_as_the_real_library_does():
    checks = {"pump": (True, ""), "exporter": (False, "it is down")}

    assert health(checks) == json.loads((GOLDEN / "healthcheck.json").read_bytes())
    assert [health_status(c) for c in (checks, {"pump": (True, "")}, {})] == [500, 200, 501]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 12)), min_size=1, max_size=30))
def test_a_reading_of_several_steps_says_the_same_as_even_readings_of_one(lumps):
    fine_clock, coarse_clock = Hand(), Hand()
    fine, coarse = Totals(fine_clock), Totals(coarse_clock)
    at = 0
    for each, steps in lumps:
        for _ in range(steps):
            at += 1
            fine_clock.now = at * STEP
            fine.add([reading("x", each, over=(5 * at - 5, 5 * at))])
        coarse_clock.now = at * STEP
        coarse.add([reading("x", each * steps, over=(5 * (at - steps), 5 * at))])

    [one], [other] = fine.all(), coarse.all()
    assert (one.value, one.rates) == (other.value, pytest.approx(other.rates, rel=1e-9))


def test_what_comes_after_a_silence_is_not_spread_over_the_silence():
    clock = Hand()
    totals = Totals(clock)
    clock.now = 100 * STEP
    totals.add([reading("x", 50, over=(495, 500))])

    [total] = totals.all()
    assert total.rates[0] == pytest.approx(10 * 0.07995558537067671)  # one step of 10/s after 0


def test_a_reading_that_comes_again_counts_once():
    totals = Totals(Hand())
    one, other = reading("x", 3), reading("x", 4, over=(5, 10))
    totals.add([one, other])
    totals.add([one, other])

    assert [total.value for total in totals.all()] == [7]


def test_of_counts_since_another_s_start_the_last_is_the_total_and_restarts_add_up():
    totals = Totals(Hand())
    for start, end, value in ((1, 2, 5), (1, 3, 9), (4, 5, 2), (4, 6, 3)):
        totals.add([reading("x", value, over=(start, end), cumulative=True)])

    assert [total.value for total in totals.all()] == [12]


def test_processes_that_nothing_tells_apart_but_their_start_add_up():
    totals = Totals(Hand())
    for tick in range(1, 6):
        totals.add([reading("x", 10 * tick, over=(1, 10 * tick), cumulative=True)])
        totals.add([reading("x", 100 * tick, over=(2, 10 * tick + 1), cumulative=True)])

    assert [total.value for total in totals.all()] == [550]


def test_many_replicas_that_nothing_tells_apart_add_up_too():
    totals = Totals(Hand())
    for tick in range(1, 6):
        for replica in range(1, 101):
            over = (replica, 1000 * tick + replica)
            totals.add([reading("x", 10 * tick, over=over, cumulative=True)])

    assert [total.value for total in totals.all()] == [100 * 50]


@pytest.mark.parametrize("cumulative", [False, True])
def test_instruments_of_one_name_in_two_scopes_are_one_metric(cumulative):
    totals = Totals(Hand())
    for tick in range(1, 6):
        times = tick if cumulative else 1
        over = (1, 10 * tick) if cumulative else (10 * tick - 10, 10 * tick)
        more = {"over": over, "cumulative": cumulative}
        totals.add([reading("x", each * times, scope=f"s{each}", **more) for each in (10, 100)])

    told = document(totals.all(), Names({}), 1.0)
    assert told["meters"]["x"]["count"] == 550


def test_of_what_was_counted_before_it_began_only_the_moves_count():
    clock = Hand()
    totals = Totals(clock, began_ns=100 * S)
    for tick in (1, 2, 3):
        clock.now = tick * STEP
        over = (50, 100 + 5 * tick)
        totals.add([reading("x", 1_000_000 + 10 * tick, over=over, cumulative=True)])

    [total] = totals.all()
    assert total.value == 20
    assert total.rates[0] < 2


def test_of_a_distribution_that_counts_since_before_it_began_only_what_is_new_counts():
    totals = Totals(Hand(), began_ns=100 * S)
    more = {"kind": Kind.DISTRIBUTION, "cumulative": True}
    for end, values in (
        (101, [1, 5000]),
        (102, [1, 5000, 40, 50]),
        (103, [1, 5000, 40, 50, 9]),
    ):
        totals.add([reading("t", Distribution.of(values), over=(50, end), **more)])

    [total] = totals.all()
    assert (total.value.samples, total.value.total) == (3, 99)
    assert total.value.minimum == pytest.approx(9, rel=0.03)
    assert total.value.maximum == pytest.approx(50, rel=0.03)


def test_whatever_starts_a_sender_makes_up_they_stay_within_bounds_and_count_once():
    totals = Totals(Hand(), series_max=12)
    for end in (100, 200):
        for start in range(1, 51):
            totals.add([reading("x", 1, over=(start, end + start), cumulative=True)])
            assert len(totals) <= 12

    assert [total.value for total in totals.all()] == [50]


def test_a_cumulative_reading_that_comes_late_or_again_changes_nothing():
    totals = Totals(Hand())
    for end, value in ((10, 5), (20, 9), (10, 5), (20, 9), (30, 12)):
        totals.add([reading("x", value, over=(1, end), cumulative=True)])

    assert [total.value for total in totals.all()] == [12]


def test_series_beyond_the_bound_are_left_out_and_counted():
    totals = Totals(Hand(), series_max=2)
    totals.add([reading(f"x{n}", 1) for n in range(5)])

    assert (len(totals), totals.left_out) == (2, 3)


def test_what_another_counted_is_taken_over_but_for_its_gauges():
    mine, theirs = Totals(Hand()), Totals(Hand())
    mine.add([reading("x", 1), reading("depth", 5, kind=Kind.GAUGE)])
    theirs.add([reading("x", 2), reading("y", 3), reading("depth", 7, kind=Kind.GAUGE)])
    mine.take_over(theirs)

    assert {t.name: t.value for t in mine.all()} == {"x": 3, "depth": 5, "y": 3}


def test_what_is_no_finite_number_leaves_the_rest_readable():
    totals, inf = Totals(Hand()), float("inf")
    broken = Distribution(2, inf, -inf, float("nan"), {3: 2})
    totals.add(
        [
            reading("depth", float("nan"), kind=Kind.GAUGE),
            reading("calls", inf),
            reading("t", broken, unit="ns", kind=Kind.DISTRIBUTION),
            reading("\ud800", 1),
        ]
    )
    told = json.loads(
        encode(document(totals.all(), Names({}), 1.0), pretty=True),
        parse_constant=lambda word: pytest.fail(word),
    )

    assert told["gauges"] == {"depth": {"error": "the value is nan"}}
    assert [meter["count"] for meter in told["meters"].values()] == [0, 1]
    assert told["timers"]["t"]["count"] == 2


def test_series_of_one_name_are_one_metric():
    totals = Totals(Hand())
    for tenant, n in (("a", 1), ("b", 2)):
        dimensions = (("tenant", tenant),)
        timed = Distribution.of([n * 1_000_000])
        totals.add(
            [
                reading("calls", n, dimensions=dimensions),
                reading("t", timed, unit="ns", kind=Kind.DISTRIBUTION, dimensions=dimensions),
                reading("depth", n, kind=Kind.GAUGE, dimensions=dimensions),
            ]
        )
    names = Names({"calls": "All", "t": "All-timer", "depth": "Depth"})
    told = document(totals.all(), names, 1.0)

    assert told["meters"]["All"]["count"] == 3
    assert told["gauges"] == {"Depth": {"value": 3}}
    timer = told["timers"]["All-timer"]
    assert (timer["count"], timer["min"], timer["max"]) == (2, 0.001, 0.002)


def timed(value, *, unit="s", **more):
    return reading("t", value, unit=unit, kind=Kind.DISTRIBUTION, **more)


def explicit(counts, total, *, bounds=(0.005, 0.05, 0.5), extremes=(None, None)):
    """What OpenTelemetry's histograms are."""
    return Distribution(sum(counts.values()), total, *extremes, counts, bounds=bounds)


def timer_of(*totals):
    told = document([one for each in totals for one in each.all()], Names({}), 1.0)
    return told["timers"]["t"]


@pytest.mark.parametrize("other", ["bounds", "exponential"])
@pytest.mark.parametrize("apart", [False, True], ids=["one series", "two series"])
def test_distributions_of_other_buckets_are_told_together(other, apart):
    more = explicit({1: 100}, 2.0, bounds=(0.01, 0.1))
    if other == "exponential":
        more = Distribution.of([0.02] * 100)
    series = [Totals(Hand()) for _ in range(2 if apart else 1)]
    series[0].add([timed(explicit({1: 4}, 0.08), over=(0, 5))])
    series[-1].add([timed(more, over=(5, 10))])
    told = timer_of(*series)

    assert told["count"] == 104
    assert told["mean"] == pytest.approx(0.02)
    assert 0.02 * 0.98 <= told["p50"] <= 0.055 * 1.02
    assert 0.005 <= told["min"] <= told["max"] <= 0.1


def test_timers_of_one_name_in_other_units_are_told_in_seconds():
    ours, theirs, third = Totals(Hand()), Totals(Hand()), Totals(Hand())
    ours.add([timed(Distribution.of([10_000_000] * 7), unit="ns")])
    theirs.add([timed(Distribution.of([0.02] * 100))])
    third.add([timed(explicit({1: 3}, 90, bounds=(25, 35)), unit="ms")])
    orders = ((ours, theirs, third), (third, ours, theirs), (theirs, third, ours))

    for told in (timer_of(*order) for order in orders):
        assert told["count"] == 110
        assert told["mean"] == pytest.approx((0.07 + 2 + 0.09) / 110)
        assert (told["min"], told["max"]) == (pytest.approx(0.01), pytest.approx(0.035))
        assert told["p50"] == pytest.approx(0.02, rel=0.025)


@pytest.mark.parametrize("cumulative", [False, True], ids=["delta", "cumulative"])
def test_without_extremes_quantiles_are_those_of_all_buckets(cumulative):
    first, later = explicit({3: 5}, 10.0), explicit({1: 3}, 0.06)
    if cumulative:
        later = explicit({1: 3, 3: 5}, 10.06)
    totals = Totals(Hand())
    totals.add([timed(first, over=(1, 2), cumulative=cumulative)])
    totals.add([timed(later, over=(1 if cumulative else 2, 3), cumulative=cumulative)])
    told = timer_of(totals)

    assert told["count"] == 8
    assert told["mean"] == pytest.approx(10.06 / 8)
    assert (told["min"], told["max"]) == (0.005, 2.0)
    assert (told["p50"], told["p99"]) == (0.5, 0.5)


def test_the_template_that_says_most_names_a_series_and_others_keep_their_dimensions():
    names = Names(
        {
            "m.received": "Handler[{topic}].events",
            "m.received{topic=metrics}": "MetricHandler[metric-{processor}].events",
            "m.added": "counter:Handler.added",
        }
    )
    of = {
        (("processor", "0"), ("topic", "metrics")): "MetricHandler[metric-0].events",
        (("topic", "metrics"),): "Handler[metrics].events",
        (("x", "1"),): "m.received{x=1}",
    }

    assert {d: names.of("m.received", d).text for d in of} == of
    assert names.of("m.added", ()) == Name("Handler.added", is_counter=True)
    assert names.of("m.other", ()) == Name("m.other")


def test_the_monasca_persister_has_the_names_of_the_one_in_java():
    names = Names(JAVA_NAMES)
    where = (("messaging.destination.name", "metrics"), ("monasca.processor", "3"))
    elsewhere = (("messaging.destination.name", "events"),)
    handler = "monasca.persister.pipeline.event.MetricHandler[metric-3]"

    assert names.of("monasca.persister.received", where).text == (
        f"{handler}.events-processed-meter"
    )
    assert names.of("monasca.persister.completed", where).text == f"{handler}.flush-meter"
    assert names.of("monasca.persister.completed", elsewhere).text == (
        "monasca.persister.completed{messaging.destination.name=events}"
    )


@pytest.mark.parametrize(
    ("key", "text"),
    [("a{b}", "x"), ("a{b=c", "x"), ("", "x"), ("a", ""), ("a", "counter:"), ("a", "x{b")],
)
def test_a_template_that_cannot_be_used_is_refused_with_its_origin(key, text):
    with pytest.raises(ConfigError, match=r"here: .*\[bad-setting\]"):
        Names({key: text}, origin="here")
