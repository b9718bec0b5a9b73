"""Laws of what the collector says of itself: all counted, little said, silence kept."""

from __future__ import annotations

import logging

from nilometer.clock import Clock
from nilometer.collect.instruments import COMMITTED, Refusals, taken
from nilometer.measure import REGISTRY
from nilometer.model import Kind
from tests.collect.doors import counted


class Hands:
    """A clock whose hands a test moves."""

    def __init__(self):
        self.now_ns = 0
        self.clock = Clock(elapsed_ns=lambda: self.now_ns, wall_ns=lambda: self.now_ns)


def test_a_flood_of_one_reason_is_one_line_a_minute_with_its_number(caplog):
    caplog.set_level(logging.WARNING)
    hands = Hands()
    refusals = Refusals(hands.clock)
    REGISTRY.collect()
    for second in range(121):
        hands.now_ns = second * 10**9
        refusals.count("otlp", "json", 2, detail="x\n" * 500)
    refusals.count("otlp", "malformed")

    counted = {
        (r.dimensions, r.value)
        for r in REGISTRY.collect()[0]
        if r.name == "nilometer.collector.rejected"
    }
    assert [record.getMessage().partition(")")[0] for record in caplog.records] == [
        "otlp: refused, json (2 times",
        "otlp: refused, json (120 times",
        "otlp: refused, json (120 times",
        "otlp: refused, malformed (1 times",
    ]
    assert max(len(record.getMessage()) for record in caplog.records) < 400
    assert counted == {
        ((("door", "otlp"), ("reason", "json")), 242),
        ((("door", "otlp"), ("reason", "malformed")), 1),
    }


def test_no_item_is_no_refusal(caplog):
    counted()
    Refusals(Clock(elapsed_ns=lambda: 0)).count("otlp", "item-temporality", 0)

    assert caplog.records == []
    assert counted() == {}


def test_gauges_alone_are_no_news():
    gauge = REGISTRY.gauge("test.collector.idle")
    gauge.set(7)
    COMMITTED.add(3)
    busy, _ = taken()
    idle = taken()

    assert {reading.name for reading in busy} >= {"test.collector.idle", COMMITTED.name}
    assert Kind.GAUGE in {reading.kind for reading in REGISTRY.collect()[0]}
    assert idle == ((), ())
