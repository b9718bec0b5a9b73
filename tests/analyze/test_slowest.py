"""Where the time went, against the trees that `nilometer trace show` makes."""

from __future__ import annotations

from collections import defaultdict
from random import Random

from nilometer.analyze.asking import Wanted
from nilometer.model import Batch, SpanKind
from nilometer.model.folded import shape_of, statement_of
from nilometer.model.tree import tree_of
from tests.analyze.putting import MS, SHOP, TILL, S, answer, span

STATEMENTS = (
    "SELECT a FROM t WHERE b = 'it''s' AND c IN (1, 2, 3)",
    "SELECT a FROM t WHERE b = 'no' AND c IN (4)",
    "SELECT a1 FROM t2 WHERE x = 0xFF AND y > 1.5e3",
    "INSERT INTO t VALUES (1, 'a'), (2, 'b')",
    "SELECT   a\n FROM t WHERE b = %s AND c = %(name)s",
    "",
)


def traces(seed=2, count=60):
    """Trees of spans that overlap, outlive their parents, and sometimes have none."""
    dice = Random(seed)
    shop, till = [], []
    for trace in range(1, count):
        whole = []
        for number in range(1, dice.randrange(2, 25)):
            parent = dice.randrange(0, number)
            if dice.random() < 0.05:
                parent = 999  # nowhere
            statement = dice.choice(STATEMENTS)
            key = dice.choice(["db.query.text", "db.statement"])
            made = span(
                number,
                parent,
                trace,
                dice.choice(["GET", "query", "work"]),
                started=dice.randrange(S),
                took=dice.randrange(300 * MS) if dice.random() < 0.95 else 0,
                kind=dice.choice([SpanKind.SERVER, SpanKind.CLIENT]),
                failed=dice.random() < 0.1,
                attributes={key: statement} if statement else {},
            )
            whole.append(made)
        shop += whole[::2]
        till += whole[1::2]
    return [Batch(SHOP, spans=tuple(shop)), Batch(TILL, spans=tuple(till))]


def truth(batches, by="statement"):
    by_trace = defaultdict(list)
    for batch in batches:
        for each in batch.spans:
            by_trace[each.trace_id].append((batch.resource, each))
    groups = defaultdict(list)
    for pairs in by_trace.values():
        for node in tree_of(pairs).walk():
            shape = shape_of(statement_of(node)) if by == "statement" else ""
            kind = node.span.kind.name.lower()
            groups[node.resource.service, node.span.name, kind, shape].append(node)
    rows = []
    for key, nodes in groups.items():
        total = sum(node.duration_ns for node in nodes)
        rows.append(
            {
                **dict(zip(("service", "operation", "kind", "statement"), key, strict=True)),
                "calls": len(nodes),
                "errors": sum(node.is_error for node in nodes),
                "total_ns": total,
                "self_ns": sum(node.self_ns for node in nodes),
                "average_ns": total / len(nodes),
                "max_ns": max(node.duration_ns for node in nodes),
            }
        )
    for name in ("total", "self"):
        every = sum(row[f"{name}_ns"] for row in rows)
        for row in rows:
            row[f"{name}_share"] = row[f"{name}_ns"] / every
    names = ("service", "operation", "kind", "statement")
    return sorted(rows, key=lambda row: (-row["self_ns"], *(row[name] for name in names)))


def test_totals_and_own_times_are_those_of_the_trees():
    batches = traces()

    assert answer("slowest", batches) == truth(batches)


def test_an_operation_s_statements_are_one_row_where_that_is_asked_for():
    batches = traces(3)

    assert answer("slowest", batches, by="operation") == truth(batches, "operation")


def test_the_order_is_by_total_time_where_that_is_asked_for():
    told = [row["total_ns"] for row in answer("slowest", traces(4), order="total")]

    assert told == sorted(told, reverse=True)


def test_children_of_other_services_take_off_of_a_service_that_is_asked_for_alone():
    batches = [
        Batch(SHOP, spans=(span(1, took=10 * MS),)),
        Batch(TILL, spans=(span(2, 1, started=2 * MS, took=5 * MS),)),
    ]

    [row] = answer("slowest", batches, Wanted(service="shop"))

    assert (row["total_ns"], row["self_ns"], row["self_share"]) == (10 * MS, 5 * MS, 1.0)
