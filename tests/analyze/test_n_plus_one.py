"""Repeated statements, against the same counted in Python."""

from __future__ import annotations

from collections import defaultdict
from math import ceil

from nilometer.model import Batch, SpanKind
from nilometer.model.folded import shape_of
from tests.analyze.putting import MS, SHOP, answer, span
from tests.analyze.test_slowest import traces

FIELDS = ("parent_service", "parent", "service", "operation", "kind", "statement")


def truth(batches, least):
    there = {
        (each.trace_id, each.span_id): (batch.resource.service, each.name)
        for batch in batches
        for each in batch.spans
    }
    below = defaultdict(list)
    for batch in batches:
        for each in batch.spans:
            told = each.attributes.get("db.query.text") or each.attributes.get("db.statement")
            if told:
                what = (batch.resource.service, each.name, each.kind.name.lower())
                key = (each.trace_id, each.parent_id, *what, shape_of(told))
                below[key].append(each.ended_ns - each.started_ns)
    groups = defaultdict(list)
    for (trace, parent, *what), took in below.items():
        if len(took) >= least:
            whose = there.get((trace, parent), ("", ""))
            groups[(*whose, *what)].append((trace, took))
    rows = []
    for key, found in groups.items():
        counts = sorted(len(took) for _, took in found)
        calls, total = sum(counts), sum(sum(took) for _, took in found)
        rows.append(
            {
                **dict(zip(FIELDS, key, strict=True)),
                "traces": len({trace for trace, _ in found}),
                "parents": len(found),
                "calls": calls,
                "calls_average": calls / len(found),
                "calls_p50": counts[ceil(len(counts) / 2) - 1],
                "calls_max": counts[-1],
                "total_ns": total,
                "spare_ns": total * (calls - len(found)) // calls,
            }
        )
    names = ("service", "operation", "kind", "statement", "parent_service", "parent")
    return sorted(rows, key=lambda row: (-row["spare_ns"], *(row[name] for name in names)))


def test_repetitions_are_those_that_siblings_of_every_trace_make():
    batches = traces(5, 400)

    told = answer("n-plus-one", batches, least="2")

    assert len(told) > 20
    assert told == truth(batches, 2)


def test_statements_that_differ_in_values_only_are_one_repetition():
    asked = [
        span(
            number,
            1,
            name="SELECT",
            kind=SpanKind.CLIENT,
            started=number * MS,
            took=number * MS,
            attributes={
                "db.query.text": f"SELECT * FROM o WHERE id = {number} AND s = 'x{number}'"
            },
        )
        for number in range(2, 12)
    ]
    batch = Batch(SHOP, spans=(span(1, name="GET /orders", took=60 * MS), *asked))

    [row] = answer("n-plus-one", [batch])

    assert row["statement"] == "SELECT * FROM o WHERE id = ? AND s = ?"
    assert (row["parent"], row["calls"], row["traces"]) == ("GET /orders", 10, 1)
    assert (row["total_ns"], row["spare_ns"]) == (65 * MS, 65 * MS * 9 // 10)


def test_fewer_than_are_asked_for_are_none():
    spans = [
        span(number, 1, attributes={"db.query.text": "SELECT 1"}) for number in range(2, 6)
    ]
    batch = Batch(SHOP, spans=(span(1), *spans))

    assert answer("n-plus-one", [batch], least="5") == []
    assert len(answer("n-plus-one", [batch], least="4")) == 1
