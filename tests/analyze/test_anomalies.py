"""Hours unlike the others: what was planted is found, and nothing else is."""

from collections import defaultdict
from math import sqrt
from random import Random

import pytest

from nilometer.analyze.anomalies import QUESTION
from nilometer.analyze.asking import Wanted
from nilometer.model import Batch, Resource, Status
from tests.analyze.over import rows
from tests.store.batches import NOW_NS, S, span

H = 3600 * S
DAY = 24 * H
START = NOW_NS // DAY * DAY
NAMED = ("service", "operation", "kind", "measure", "at_ns")


def _hours(seed, hours, *, usual=lambda hour: 20, name="get", trace=1):
    """Spans of so many hours; how many start in an hour varies by chance."""
    random, spans = Random(seed), []
    for hour in range(hours):
        for _ in range(max(0, round(random.gauss(usual(hour), 1)))):
            at_ns = START + hour * H + random.randrange(H)
            took = random.randrange(900, 1100)
            number = len(spans) + 1
            spans.append(span(number, trace=trace, at_ns=at_ns, took_ns=took, name=name))
    return spans


def _web(spans):
    return Batch(Resource("web"), (), tuple(spans))


def _hour(one):
    return (one.started_ns - START) // H


def _told(found):
    return {(row["measure"], (row["at_ns"] - START) // H) for row in found}


def test_what_was_planted_is_found_and_nothing_else():
    spans = []
    for one in _hours(1, 24 * 6, usual=lambda hour: 20 + hour % 24):
        if _hour(one) == 90:
            one = one._replace(ended_ns=one.started_ns + 3000)
        if _hour(one) == 100 and one.span_id[-1] % 2:
            one = one._replace(status=Status.ERROR)
        if _hour(one) != 80:
            spans.append(one)
    more = [
        span(n, trace=2, at_ns=START + 70 * H + n, name="get", took_ns=1000)
        for n in range(1, 200)
    ]

    found = rows(QUESTION, [_web(spans), _web(more), _web(more)])

    assert _told(found) == {("p50_ns", 90), ("spans", 70), ("errors", 100), ("spans", 80)}
    scores = {(row["measure"], (row["at_ns"] - START) // H): row["score"] for row in found}
    assert scores["spans", 80] < 0 < scores["spans", 70]
    assert {row["compared"] for row in found} == {"hour of the day"}
    assert [abs(r["score"]) for r in found] == sorted(
        (abs(r["score"]) for r in found), reverse=True
    )
    assert next(r for r in found if r["measure"] == "p50_ns")["at"] == "2026-11-21 18:00:00.000"


def _median(values):
    return sorted(values)[(len(values) - 1) // 2]


def _expected(spans, season_hours, least):
    """The same score of every hour of one operation, by lists of numbers."""
    by_hour = defaultdict(list)
    for one in spans:
        by_hour[_hour(one)].append(one)
    hours = range(min(by_hour) + 1, max(by_hour))
    measures = {
        "spans": {h: len(by_hour[h]) for h in hours},
        "errors": {h: sum(o.status is Status.ERROR for o in by_hour[h]) for h in hours},
        "p50_ns": {
            h: _median([o.ended_ns - o.started_ns for o in by_hour[h]])
            for h in hours
            if by_hour[h]
        },
    }
    for measure, values in measures.items():
        slots = defaultdict(list)
        for hour, value in values.items():
            slots[hour % season_hours].append(value)
        off = {}
        for hour, value in values.items():
            if len(alike := slots[hour % season_hours]) >= 4:
                usual = _median(alike)
                is_time = measure == "p50_ns"
                root = 2 * (sqrt(value + 3 / 8) - sqrt(usual + 3 / 8))
                off[hour] = (value - usual) / max(1, usual) if is_time else root
        scale = 1.4826 * _median([abs(each) for each in off.values()]) if off else 0
        scale = max(scale, 0.05 if measure == "p50_ns" else 1)
        for hour, each in off.items():
            if abs(each / scale) >= least:
                yield (measure, hour), each / scale


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("season", "hours"), [("none", 1), ("day", 24), ("week", 168)])
def test_a_score_is_the_distance_from_the_median_of_hours_alike(seed, season, hours):
    random, spans = Random(seed), []
    for hour in random.choices(range(24 * 30), k=1500):
        spans.append(
            span(
                len(spans) + 1,
                at_ns=START + hour * H + random.randrange(H),
                took_ns=round(random.lognormvariate(8, 2)),
                name="pay'; -- %_!\0",
                status=random.choice([Status.ERROR, Status.OK]),
            )
        )
    expected = dict(_expected(spans, hours, 1))

    found = rows(QUESTION, [_web(spans), _web(spans[:99])], season=season, score="1")

    scores = {(row["measure"], (row["at_ns"] - START) // H): row["score"] for row in found}
    # Millionths are cut off, so what is just at the border may be on either side of it.
    clear = {key for key, score in expected.items() if abs(score) > 1.001}
    assert (
        clear
        <= scores.keys()
        <= expected.keys() | {k for k in scores if abs(scores[k]) < 1.001}
    )
    for key in clear:
        assert scores[key] == pytest.approx(expected[key], rel=1e-3)
    assert len(scores) > 50


def test_the_season_is_the_longest_that_there_is_enough_of():
    compared = {}
    for days in (2, 6, 30):
        spans = _hours(days, 24 * days, usual=lambda hour: 3)
        spans += [s._replace(span_id=b"x" * 8, status=Status.ERROR) for s in spans[:1]]
        found = rows(QUESTION, [_web(spans)], score="0")
        compared[days] = {row["compared"] for row in found}

    assert compared == {2: {"all"}, 6: {"hour of the day"}, 30: {"hour of the week"}}


def test_an_operation_counts_from_its_first_span_on():
    """Hours before it was there are not unusual; hours after it went are."""
    spans = [s for s in _hours(3, 48) if 20 <= _hour(s) < 40]
    others = _hours(4, 48, trace=2)

    found = rows(QUESTION, [_web(spans), Batch(Resource("x"), (), tuple(others))])

    assert _told(found) == {("spans", hour) for hour in range(40, 47)}


def test_a_clock_that_was_years_off_is_not_filled_with_empty_buckets():
    far = span(9999, trace=7, at_ns=S)

    found = rows(QUESTION, [_web([*_hours(1, 48), far])], bucket="1s")

    assert len(found) < 1000


def test_nothing_is_unusual_in_nothing_or_in_one_span():
    assert rows(QUESTION, []) == []
    assert rows(QUESTION, [_web([span(1)])]) == []
    assert rows(QUESTION, [_web(_hours(1, 48))], wanted=Wanted(service="shop")) == []
