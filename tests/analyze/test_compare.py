"""Before and after: effect sizes by all pairs, intervals that hold the truth."""

from math import comb, log, sqrt
from random import Random
from statistics import NormalDist, mean, variance

import pytest

from nilometer.analyze.asking import Wanted
from nilometer.analyze.compare import QUESTION, median_error
from nilometer.model import Batch, Resource, Status
from tests.analyze.over import nearest_rank, rows
from tests.store.batches import NOW_NS, S, span

OPERATIONS = ["get", "pay'; --", "100%_!", "naïve 店\0", ""]


def _spans(before, after, *, first=1, name="get", **more):
    """Spans that took so long: those after start a second later."""
    sides = [(NOW_NS, took) for took in before] + [(NOW_NS + S, took) for took in after]
    return [
        span(first + n, at_ns=at_ns, took_ns=took, name=name, **more)
        for n, (at_ns, took) in enumerate(sides)
    ]


def _web(spans, version=""):
    return Batch(Resource("web", version=version), (), tuple(spans))


def _delta(before, after):
    """Cliff's delta and its standard error, by each pair."""
    pairs = [[(b > a) - (b < a) for a in before] for b in after]
    of_after = [mean(each) for each in pairs]
    of_before = [mean(each) for each in zip(*pairs, strict=True)]
    error = sqrt(variance(of_after) / len(after) + variance(of_before) / len(before))
    return mean(of_after), error


def _random_sides(seed):
    random = Random(seed)
    drawn = [round(random.lognormvariate(3, 1)) for _ in range(random.randrange(10, 80))]
    slower = 1 + random.random()
    others = [round(slower * random.lognormvariate(3, 1)) for _ in range(50)]
    return drawn, others


@pytest.mark.parametrize("seed", range(6))
def test_an_effect_is_that_of_all_pairs_of_spans(seed):
    before, after = _random_sides(seed)
    spans = _spans(before, after, name=OPERATIONS[seed % 5])

    [found] = rows(QUESTION, [_web(spans), _web(spans[:7])])

    delta, error = _delta(before, after)
    z = NormalDist().inv_cdf(0.975)
    half = z * error * sqrt((1 - delta**2) ** 2 + (z * error) ** 2)
    below = 1 - delta**2 + (z * error) ** 2
    assert found["delta"] == pytest.approx(delta)
    assert found["delta_low"] == pytest.approx((delta - delta**3 - half) / below)
    assert found["delta_high"] == pytest.approx((delta - delta**3 + half) / below)
    assert found["operation"] == OPERATIONS[seed % 5]
    assert (found["spans_before"], found["spans_after"]) == (len(before), len(after))
    assert found["p50_before_ns"] == nearest_rank(before, 50)
    assert found["p50_after_ns"] == nearest_rank(after, 50)
    assert found["mean_before_ns"] == pytest.approx(mean(before))
    assert found["mean_ratio"] == pytest.approx(mean(after) / mean(before))


def _log_error(values):
    """The standard error of the logarithm of a median, from its order statistics."""
    ordered, count = sorted(values), len(values)
    place = max(1, int((count + 1) / 2 - sqrt(count)))
    outside = sum(comb(count, k) * 0.5**count for k in range(place))
    spread = log(max(1, ordered[-place])) - log(max(1, ordered[place - 1]))
    return spread / (2 * NormalDist().inv_cdf(1 - outside))


@pytest.mark.parametrize("seed", range(6))
def test_the_ratio_of_medians_lies_in_an_interval_of_order_statistics(seed):
    before, after = _random_sides(seed)

    [found] = rows(QUESTION, [_web(_spans(before, after))], confidence="0.9")

    z = NormalDist().inv_cdf(0.95)
    ratio = nearest_rank(after, 50) / nearest_rank(before, 50)
    half = z * sqrt(_log_error(before) ** 2 + _log_error(after) ** 2)
    assert found["p50_ratio"] == pytest.approx(ratio)
    assert log(found["p50_ratio_low"]) == pytest.approx(log(ratio) - half)
    assert log(found["p50_ratio_high"]) == pytest.approx(log(ratio) + half)


def test_the_intervals_hold_the_truth_as_often_as_they_say():
    """100 comparisons of samples of which one takes 1.5 times as long."""
    random = Random(11)
    batches = []
    for number in range(100):
        before = [round(random.lognormvariate(12, 0.7)) for _ in range(40)]
        after = [round(1.5 * random.lognormvariate(12, 0.7)) for _ in range(60)]
        batches.append(_web(_spans(before, after, first=1 + 1000 * number, name=f"op{number}")))
    delta = 2 * NormalDist().cdf(log(1.5) / (0.7 * sqrt(2))) - 1

    found = rows(QUESTION, batches)

    assert len(found) == 100
    assert sum(r["p50_ratio_low"] <= 1.5 <= r["p50_ratio_high"] for r in found) >= 90
    assert sum(r["delta_low"] <= delta <= r["delta_high"] for r in found) >= 90


def test_of_many_operations_that_did_not_change_none_is_called_slower():
    random = Random(5)
    batches = []
    for number in range(60):
        drawn = [round(random.lognormvariate(12, 0.7)) for _ in range(60)]
        batches.append(
            _web(_spans(drawn[:30], drawn[30:], first=1 + 1000 * number, name=f"op{number}"))
        )
    slower = _spans(range(100, 130), range(140, 170), first=900_000, name="slower")
    faster = _spans(range(140, 170), range(100, 130), first=910_000, name="faster")

    found = rows(QUESTION, [*batches, _web(slower), _web(faster)])

    told = {row["operation"]: row["verdict"] for row in found}
    assert {told.pop("slower"), told.pop("faster")} == {"slower", "faster"}
    assert set(told.values()) == {"alike"}
    assert [row["verdict"] for row in found[:2]] == ["slower", "faster"]
    assert (found[0]["delta"], found[0]["delta_high"]) == (1.0, 1.0)
    assert 0.5 < found[0]["delta_low"] < 1


def test_a_sure_difference_that_nobody_notices_is_none():
    random = Random(8)
    before = [round(random.gauss(10_000, 1000)) for _ in range(2000)]
    after = [round(random.gauss(10_150, 1000)) for _ in range(2000)]

    [found] = rows(QUESTION, [_web(_spans(before, after))])

    assert found["delta_low"] > 0
    assert found["verdict"] == "alike"


def test_two_versions_are_compared_whenever_they_ran():
    old, new = _spans([5] * 12, []), _spans([], [9] * 12, first=100)
    other = _spans([700] * 12, [], first=200)
    batches = [_web(old, "1.0"), _web(new, "1'1"), _web(other, "0.9")]

    [both] = rows(QUESTION, batches, before="1.0", after="1'1")
    [since] = rows(QUESTION, batches, after="1'1")
    [until] = rows(QUESTION, batches, before="0.9")

    assert (both["p50_before_ns"], both["p50_after_ns"], both["verdict"]) == (5, 9, "slower")
    assert (since["spans_before"], since["spans_after"]) == (24, 12)
    assert (until["p50_before_ns"], until["spans_after"]) == (700, 24)


def test_a_moment_parts_before_from_after():
    spans = _spans([5] * 10, [9] * 20)
    moment = "2026-11-18T11:06:40.5Z"

    [found] = rows(QUESTION, [_web(spans)], split=moment)

    assert (found["spans_before"], found["spans_after"]) == (10, 20)
    assert found["p50_ratio"] == 1.8


def test_equal_durations_are_no_difference():
    [found] = rows(QUESTION, [_web(_spans([0] * 10, [0] * 10))])

    assert (found["delta"], found["verdict"]) == (0.0, "alike")
    assert found["p50_ratio"] is None


def test_errors_are_counted_on_both_sides():
    bad = _spans([1] * 3, [1] * 5, first=100, status=Status.ERROR)

    [found] = rows(QUESTION, [_web(_spans([1] * 9, [1] * 5)), _web(bad)])

    assert (found["errors_before_share"], found["errors_after_share"]) == (0.25, 0.5)


def test_of_few_spans_nothing_is_said():
    [alone] = rows(QUESTION, [_web([span(1, took_ns=7)])])
    [few] = rows(QUESTION, [_web(_spans([5] * 9, [9] * 10))])

    assert rows(QUESTION, []) == []
    assert (alone["verdict"], alone["spans_before"], alone["spans_after"]) == ("too few", 1, 0)
    assert (alone["p50_before_ns"], alone["p50_after_ns"], alone["delta"]) == (7, None, None)
    assert (few["verdict"], few["delta"], few["mean_ratio"]) == ("too few", None, 1.8)


def test_only_the_services_that_are_asked_for_are_compared():
    shop = Batch(Resource("shop"), (), tuple(_spans([1] * 10, [2] * 10, first=500)))

    found = rows(QUESTION, [_web(_spans([1], [2])), shop], wanted=Wanted(service="sh*"))

    assert [row["service"] for row in found] == ["shop"]


def test_the_error_of_a_median_of_many_is_that_of_an_exact_sum():
    """From 1,000 values on the binomial distribution is taken for a normal one."""
    place = 1001 // 2 - 31
    exact = sum(comb(1001, below) for below in range(place)) / 2**1001
    z = -NormalDist().inv_cdf(exact)

    assert median_error(100, 200, place, 1001) == pytest.approx(log(2) / (2 * z), rel=2e-3)
