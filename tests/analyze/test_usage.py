"""Who used what, against the same added up in Python."""

from __future__ import annotations

from collections import defaultdict
from random import Random

import pytest

from nilometer.analyze.asking import Wanted
from nilometer.model import Batch, Distribution, Kind, Reading, Resource
from tests.analyze.putting import NOW_NS, SHOP, S, answer

TIMER = "http.server.request"


def timed(count, total, tenant="acme", at=0, since=0, **told):
    """A reading of the timer: `since` and `at` are seconds."""
    unit = told.pop("unit", "ns")
    return Reading(
        told.pop("name", TIMER),
        Kind.DISTRIBUTION,
        (("http.route", "/a"), ("tenant", tenant)),
        Distribution(count, total, None, None),
        NOW_NS + since * S,
        NOW_NS + at * S,
        unit,
        **told,
    )


def failed(count, tenant="acme", at=0, since=0, **told):
    return Reading(
        f"{TIMER}.errors",
        Kind.COUNTER,
        (("error.type", "ValueError"), ("tenant", tenant)),
        count,
        NOW_NS + since * S,
        NOW_NS + at * S,
        "{error}",
        **told,
    )


def test_requests_time_and_errors_are_added_up_by_tenant_region_zone_and_service():
    dice = Random(1)
    sums = defaultdict(lambda: [0, 0, 0])
    batches = []
    for number in range(200):
        place = (
            dice.choice(["eu", "us"]),
            dice.choice(["a", "b"]),
            dice.choice(["shop", "till"]),
        )
        resource = Resource(place[2], "h", number % 5, place[0], place[1])
        tenant = dice.choice(["acme", "Gibson & Söhne", "'; DROP TABLE readings --"])
        count, total, errors = dice.randrange(50), dice.randrange(10**12), dice.randrange(4)
        at = {"at": number + 1, "since": number}
        readings = (timed(count, total, tenant, **at), failed(errors, tenant, **at))
        batches.append(Batch(resource, readings))
        for at, value in enumerate((count, total, errors)):
            sums[(tenant, *place)][at] += value
    requests, time = (sum(each[at] for each in sums.values()) for at in (0, 1))

    told = answer("usage", batches)

    assert told == [
        {
            **dict(zip(("tenant", "region", "zone", "service"), who, strict=True)),
            "requests": count,
            "request_share": count / requests,
            "errors": errors,
            "error_share": errors / count,
            "total_ns": total,
            "time_share": total / time,
            "average_ns": total / count,
        }
        for who, (count, total, errors) in sorted(
            sums.items(), key=lambda each: (-each[1][1], each[0])
        )
    ]


def test_what_counts_since_a_start_moved_by_differences_and_by_all_after_a_restart():
    """5, 9, then a restart: 2 of a new start; one whose start is long ago; one that fell."""
    told = [
        timed(5, 500, at=10, cumulative=True),
        timed(9, 800, at=20, cumulative=True),
        timed(2, 100, at=30, since=25, cumulative=True),
        timed(70, 7000, "old", at=10, since=-(10**7), cumulative=True),
        timed(71, 7010, "old", at=20, since=-(10**7), cumulative=True),
        timed(6, 60, "fell", at=10, cumulative=True),
        timed(4, 40, "fell", at=20, cumulative=True),
        failed(3, at=10, cumulative=True),
        failed(4, at=20, cumulative=True),
        failed(6, "fell", at=10, cumulative=True),
        failed(5, "fell", at=20, cumulative=True),
    ]
    wanted = Wanted(since_ns=NOW_NS)

    rows = answer("usage", [Batch(SHOP, (reading,)) for reading in told], wanted)

    found = {r["tenant"]: (r["requests"], r["total_ns"], r["errors"]) for r in rows}
    assert found == {"acme": (11, 900, 4), "old": (1, 10, 0), "fell": (10, 100, 11)}


def test_a_batch_that_was_delivered_twice_counts_once():
    batch = Batch(SHOP, (timed(5, 500, at=10),))

    [row] = answer("usage", [batch, batch])

    assert row["requests"] == 5


@pytest.mark.parametrize(("unit", "total"), [("s", 0.25), ("ms", 250), ("us", 250_000.0)])
def test_timers_of_other_units_are_told_in_nanoseconds(unit, total):
    [row] = answer("usage", [Batch(SHOP, (timed(1, total, unit=unit),))])

    assert row["total_ns"] == 250_000_000


def test_a_tenant_may_be_called_otherwise_and_stand_in_the_resource():
    resource = Resource("shop", attributes=(("customer", "acme"),))
    reading = timed(3, 30)._replace(dimensions=(("x", "y"),))

    [row] = answer("usage", [Batch(resource, (reading,))], tenant="who,customer")

    assert (row["tenant"], row["requests"]) == ("acme", 3)


def test_only_the_timers_that_are_named_count():
    readings = (
        timed(1, 10),
        timed(2, 20, name="task.run"),
        timed(4, 40, name="http.server.xx"),
    )

    [row] = answer("usage", [Batch(SHOP, readings)], timer="task.*")

    assert row["requests"] == 2
