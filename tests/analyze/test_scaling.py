"""Throughput against concurrency: windows as they were, and the law that made them."""

from random import Random

import numpy as np
import pytest

from nilometer.analyze.asking import Wanted
from nilometer.analyze.scaling import QUESTION
from nilometer.analyze.usl import Law, Points, fit, resampled
from nilometer.model import Batch, Resource, SpanKind
from tests.analyze.over import rows, sums
from tests.store.batches import NOW_NS, S, span

LAW = Law(100.0, 0.05, 0.002)
PEAK = ((1 - 0.05) / 0.002) ** 0.5


def _closed_loop(law, levels, *, seconds=8):
    """Requests of so many callers, each of whom asks again as soon as it has its answer."""
    random, spans, begins_ns = Random(3), [], NOW_NS // S * S
    for level in levels:
        each_ns = level / law.throughput(level) * S
        for _ in range(level):
            at_ns = begins_ns - random.randrange(round(each_ns))
            while at_ns < begins_ns + seconds * S:
                took_ns = round(each_ns * random.uniform(0.8, 1.2))
                if at_ns >= begins_ns:
                    spans.append(span(len(spans) + 1, at_ns=at_ns, took_ns=took_ns))
                at_ns += took_ns
        begins_ns += seconds * S
    return spans


def _web(spans, name="web"):
    return Batch(Resource(name), (), tuple(spans))


def test_the_law_that_made_the_requests_is_found_again():
    spans = _closed_loop(LAW, [1, 2, 4, 8, 16, 32, 48])

    [found] = rows(QUESTION, [_web(spans)])

    assert found["single_rate"] == pytest.approx(100, rel=0.05)
    assert found["contention"] == pytest.approx(0.05, abs=0.02)
    assert found["coherency"] == pytest.approx(0.002, rel=0.25)
    assert found["peak_concurrency"] == pytest.approx(PEAK, rel=0.15)
    assert found["peak_throughput"] == pytest.approx(LAW.throughput(PEAK), rel=0.05)
    assert found["concurrency_maximum"] == pytest.approx(48, abs=1)
    assert found["peak_concurrency_low"] < PEAK < found["peak_concurrency_high"]
    assert found["single_rate_low"] < 100 < found["single_rate_high"]
    assert "up to 48 in flight" in found["because"]


def _windows(spans, width_ns):
    """Of each whole window: time in flight and how many ended, of one span after the other."""
    first = min(one.started_ns for one in spans) // width_ns
    last = max(one.ended_ns for one in spans) // width_ns
    for window in range(first + 1, last):
        low, high = window * width_ns, (window + 1) * width_ns
        busy = [max(0, min(s.ended_ns, high) - max(s.started_ns, low)) for s in spans]
        yield sum(busy), sum(low <= one.ended_ns < high for one in spans)


@pytest.mark.parametrize("seed", range(6))
def test_each_window_has_the_time_of_all_that_was_in_flight_in_it(seed):
    random, width_ns = Random(seed), 10**6
    spans = [
        span(n + 1, at_ns=NOW_NS + random.randrange(10**8), took_ns=random.randrange(10**7))
        for n in range(30)
    ]
    batches = [_web(spans[:20]), _web(spans[10:])]

    found = sums(QUESTION, batches, window="1ms")

    told = []
    for row in found:
        told += [(row["busy_ns"], row["ended"])] * row["is_whole"]
        told += [(row["running_after"] * width_ns, 0)] * row["quiet"]
    assert told == list(_windows(spans, width_ns))


def test_a_service_under_a_steady_load_has_no_law_and_says_why():
    steady = _closed_loop(LAW, [4], seconds=30)
    idle = [span(n + 1, trace=2, at_ns=NOW_NS + n * S, took_ns=n * 10**6) for n in range(40)]

    found = {row["service"]: row for row in rows(QUESTION, [_web(steady), _web(idle, "x")])}

    assert found["web"]["contention"] is found["web"]["peak_concurrency_low"] is None
    assert "load must vary" in found["web"]["because"]
    assert found["web"]["latency_ns"] == pytest.approx(4 / LAW.throughput(4) * S, rel=0.02)
    assert "nothing waited" in found["x"]["because"]


def test_requests_that_do_not_hinder_each_other_have_no_peak():
    spans = _closed_loop(Law(10.0, 0.0, 0.0), [1, 4, 16, 64])

    [found] = rows(QUESTION, [_web(spans)])

    assert found["contention"] == pytest.approx(0, abs=0.01)
    assert found["peak_concurrency_high"] is None


def test_only_requests_of_the_service_and_the_name_asked_for_are_counted():
    mine = [span(n + 1, at_ns=NOW_NS + n * S, took_ns=S, name="pay'; --") for n in range(5)]
    inner = [
        s._replace(span_id=b"i" * 8, parent_id=s.span_id, kind=SpanKind.INTERNAL) for s in mine
    ]
    other = [span(n + 1, trace=9, at_ns=NOW_NS + n * S, name="get") for n in range(5)]

    found = sums(QUESTION, [_web([*mine, *inner[:1], *other])], operation="pay'; --")
    none = rows(QUESTION, [_web(mine)], wanted=Wanted(service="shop"))

    assert {row["busy_ns"] for row in found if row["is_whole"]} == {S}
    assert none == []


def test_no_requests_have_no_law_and_neither_has_one():
    [alone] = rows(QUESTION, [_web([span(1, took_ns=5 * S)])])

    assert rows(QUESTION, []) == []
    assert alone["single_rate"] is None
    assert "4 windows" in alone["because"]


def test_a_fit_to_points_of_a_law_is_that_law():
    concurrency = np.linspace(0.2, 60, 50)
    points = Points(
        concurrency, np.array([LAW.throughput(n) for n in concurrency]), np.ones(50)
    )

    law = fit(points)

    assert law == pytest.approx(LAW)
    assert law.peak == pytest.approx(PEAK)


def test_what_more_callers_speed_up_has_no_negative_contention():
    concurrency = np.linspace(1, 20, 50)

    law = fit(Points(concurrency, concurrency**1.2, np.ones(50)))

    assert (law.contention, law.coherency, law.peak) == (0.0, 0.0, None)


def test_no_other_law_is_nearer_to_noisy_points():
    """Steps in every direction that is allowed miss the points by more."""
    random = np.random.default_rng(2)
    concurrency = random.uniform(0.5, 40, 300)
    exact = np.array([LAW.throughput(n) for n in concurrency])
    points = Points(concurrency, exact + random.normal(0, 30, 300), random.uniform(0.5, 3, 300))
    law = fit(points)

    def missed(one):
        gaps = points.throughput - np.array([one.throughput(n) for n in concurrency])
        return (points.weight * gaps**2).sum()

    others = [
        law._replace(**{name: getattr(law, name) * factor})
        for name in Law._fields
        for factor in (0.99, 1.01)
    ]
    assert all(missed(other) > missed(law) for other in others)


def test_intervals_by_drawing_anew_hold_the_law_and_are_the_same_each_time():
    random = np.random.default_rng(4)
    held = 0
    for _ in range(20):
        concurrency = random.uniform(0.5, 40, 200)
        exact = np.array([LAW.throughput(n) for n in concurrency])
        points = Points(concurrency, exact + random.normal(0, 20, 200), np.ones(200))
        drawn = sorted(law.contention for law in resampled(points, 60))
        held += drawn[1] <= LAW.contention <= drawn[-2]

    assert held >= 17
    assert resampled(points, 3) == resampled(points, 3)
