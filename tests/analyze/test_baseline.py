"""What is normal, against the same reckoned span by span in Python."""

from __future__ import annotations

from collections import defaultdict
from math import ceil
from random import Random

import pytest

from nilometer.analyze.asking import Wanted
from nilometer.model import Batch, SpanKind, Status
from tests.analyze.putting import DAY, HOUR, NOW_NS, SHOP, TILL, S, answer, span


def many(seed=1, days=15):
    """Spans of two services over two weeks, more of them by day than by night."""
    dice = Random(seed)
    made = []
    for number in range(1, 1500):
        started = dice.randrange(days * 24) * HOUR + dice.randrange(HOUR)
        if started // HOUR % 24 < 6 and dice.random() < 0.7:
            continue
        made.append(
            span(
                number,
                trace=number,
                name=dice.choice(["GET /a", "GET /b"]),
                started=started,
                took=dice.randrange(5 * S) if dice.random() < 0.9 else 7,
                kind=dice.choice([SpanKind.SERVER, SpanKind.CLIENT]),
                failed=dice.random() < 0.2,
            )
        )
    return [Batch(SHOP, spans=tuple(made[::2])), Batch(TILL, spans=tuple(made[1::2]))]


def slot(at_ns, by):
    hours = at_ns // HOUR
    weekday, hour = (hours // 24 + 3) % 7 + 1, hours % 24
    return {
        "week": (weekday, hour),
        "hour": (None, hour),
        "weekday": (weekday, None),
        "all": (None, None),
    }[by]


def truth(batches, by):
    found = defaultdict(list)
    spans = [(batch.resource, each) for batch in batches for each in batch.spans]
    for who, each in spans:
        key = (who.service, each.name, each.kind.name.lower(), *slot(each.started_ns, by))
        found[key].append(each)
    first = min(each.started_ns for _, each in spans)
    end = max(each.ended_ns for _, each in spans)
    lasted = defaultdict(int)
    for hour in range(first // HOUR, end // HOUR + 1):
        inside = min(end, (hour + 1) * HOUR) - max(first, hour * HOUR)
        lasted[slot(hour * HOUR, by)] += inside
    rows = []
    for key, group in found.items():
        took = sorted(each.ended_ns - each.started_ns for each in group)
        errors = sum(each.status == Status.ERROR for each in group)
        rows.append(
            {
                **dict(
                    zip(("service", "operation", "kind", "weekday", "hour"), key, strict=True)
                ),
                "calls": len(group),
                "rate": pytest.approx(len(group) * 10**9 / lasted[key[3:]], rel=1e-12),
                "errors": errors,
                "error_share": errors / len(group),
                "average_ns": sum(took) / len(group),
                "p50_ns": took[ceil(len(took) * 0.5) - 1],
                "p90_ns": took[ceil(len(took) * 90 / 100) - 1],
                "p99_ns": took[ceil(len(took) * 99 / 100) - 1],
                "max_ns": took[-1],
            }
        )
    names = ("service", "operation", "kind", "weekday", "hour")
    return sorted(
        rows, key=lambda row: tuple(row[n] if row[n] is not None else -1 for n in names)
    )


@pytest.mark.parametrize("by", ["week", "hour", "weekday", "all"])
def test_every_hour_has_the_calls_errors_and_quantiles_of_its_spans(by):
    batches = many()

    assert answer("baseline", batches, by=by) == truth(batches, by)


def test_only_the_time_and_the_services_that_were_asked_for_are_told():
    batches = many()
    wanted = Wanted(NOW_NS + 3 * DAY, NOW_NS + 5 * DAY, "sh?p")
    chosen = [
        each
        for each in batches[0].spans
        if wanted.since_ns <= each.started_ns < wanted.until_ns
    ]

    told = answer("baseline", batches, wanted, by="all")

    assert told == truth([Batch(SHOP, spans=tuple(chosen))], "all")


def test_an_hour_that_came_twice_counts_twice_in_the_rate():
    spans = tuple(span(n, trace=n, started=(n - 1) * 7 * DAY, took=S) for n in (1, 2))

    [row] = answer("baseline", [Batch(SHOP, spans=spans)], by="week")

    rest = HOUR - NOW_NS % HOUR  # of the first hour; of the last all till the span's end
    assert row["calls"] == 2
    assert row["rate"] == pytest.approx(2 * 10**9 / (rest + NOW_NS % HOUR + S))
