"""The graph of services: each call once, whoever tells of it."""

from collections import defaultdict
from random import Random

import pytest

from nilometer.analyze.asking import Wanted
from nilometer.analyze.dependencies import QUESTION
from nilometer.model import Batch, Resource, SpanKind, Status
from tests.analyze.over import nearest_rank, rows
from tests.store.batches import NOW_NS, S, span

SERVICES = ["shop", "pay'; DROP TABLE spans; --", "100%_!", "naïve 店\0", ""]
BACKENDS = [
    {"db.system.name": "mysql", "server.address": "db1"},
    {"db.system": "redis"},
    {"peer.service": 'the "bank"'},
    {"server.address": "10.0.0.1"},
    {"messaging.system": "rabbitmq", "net.peer.name": "mq"},
    {},
]
NAMED = ["mysql@db1", "redis", 'the "bank"', "10.0.0.1", "rabbitmq@mq", ""]
CALLING = (SpanKind.CLIENT, SpanKind.PRODUCER)
CALLED = (SpanKind.SERVER, SpanKind.CONSUMER)


def _random_spans(seed):
    """Spans with their services: some are of one trace, some of none, some parents are lost."""
    random = Random(seed)
    pairs = []
    for number in range(1, 300):
        trace = random.randrange(1, 20)
        above = [s for _, s in pairs if s.trace_id == trace.to_bytes(16, "big")]
        parent = random.choice(above).span_id if above and random.random() < 0.9 else b""
        if random.random() < 0.05:
            parent = (10_000 + number).to_bytes(8, "big")
        one = span(
            number,
            trace=trace,
            at_ns=NOW_NS + random.randrange(S),
            took_ns=random.randrange(-5, 1000),
            attributes=random.choice(BACKENDS),
            status=random.choice([Status.ERROR, Status.OK, Status.UNSET]),
        )
        kind = random.choice(list(SpanKind))
        pairs.append((random.choice(SERVICES), one._replace(parent_id=parent, kind=kind)))
    return pairs


def _batches(pairs):
    return [Batch(Resource(name, "h", 1), (), (one,)) for name, one in pairs]


def _calls(pairs):
    """Each call: caller, callee, who tells of it, and the span that is it; one by one."""
    by_id = {(s.trace_id, s.span_id): (name, s) for name, s in pairs}
    goes_on, silent = set(), []
    for name, one in pairs:
        above = by_id.get((one.trace_id, one.parent_id))
        if one.kind in CALLING:
            goes_on.add((one.trace_id, one.parent_id))
            silent.append((name, one))
        if above is None:
            if not one.parent_id or one.kind in CALLED:
                yield "", name, "callee", one
                goes_on.add((one.trace_id, one.parent_id))
        elif above[0] != name or (above[1].kind in CALLING and one.kind in CALLED):
            yield above[0], name, "callee", one
            goes_on.add((one.trace_id, one.parent_id))
    for name, one in silent:
        if (one.trace_id, one.span_id) not in goes_on:
            yield name, NAMED[BACKENDS.index(dict(one.attributes))], "caller", one


@pytest.mark.parametrize("seed", range(5))
def test_every_call_counts_once_for_who_calls_and_who_is_called(seed):
    pairs = _random_spans(seed)
    batches = _batches(pairs)
    graph = defaultdict(list)
    for caller, callee, told_by, one in _calls(pairs):
        graph[caller, callee, told_by].append(one)

    found = rows(QUESTION, [*batches, *batches[:50]])

    first_ns = min(one.started_ns for calls in graph.values() for one in calls)
    last_ns = max(max(o.started_ns, o.ended_ns) for calls in graph.values() for o in calls)
    expected = {}
    for edge, calls in graph.items():
        took = [max(0, one.ended_ns - one.started_ns) for one in calls]
        errors = sum(one.status is Status.ERROR for one in calls)
        expected[edge] = {
            "calls": len(calls),
            "rate": len(calls) * S / (last_ns - first_ns),
            "errors": errors,
            "error_share": errors / len(calls),
            "total_ns": sum(took),
            "p50_ns": nearest_rank(took, 50),
            "p90_ns": nearest_rank(took, 90),
            "p99_ns": nearest_rank(took, 99),
            "max_ns": max(took),
        }
    edges = {(r.pop("caller"), r.pop("callee"), r.pop("told_by")): r for r in found}
    assert edges == expected
    assert len(edges) == len(found) > 20
    assert [r["calls"] for r in found] == sorted((r["calls"] for r in found), reverse=True)


def test_a_call_is_the_callee_s_span_and_of_a_silent_callee_the_caller_s():
    asks = [
        span(1, took_ns=500),
        span(2, parent=1, took_ns=300)._replace(kind=SpanKind.CLIENT),
        span(3, parent=1, attributes=BACKENDS[0])._replace(kind=SpanKind.CLIENT),
        span(4, parent=3, attributes=BACKENDS[1])._replace(kind=SpanKind.CLIENT),
    ]
    answers = [span(5, parent=2, took_ns=250, status=Status.ERROR)]

    found = rows(
        QUESTION,
        [Batch(Resource("web"), (), tuple(asks)), Batch(Resource("api"), (), tuple(answers))],
    )

    told = [[r[n] for n in ("caller", "callee", "told_by", "errors", "p50_ns")] for r in found]
    assert told == [
        ["", "web", "callee", 0, 500],
        ["web", "api", "callee", 1, 250],
        ["web", "redis", "caller", 0, 1000],
    ]


def test_a_service_is_shown_with_who_calls_it_and_whom_it_calls():
    web = Batch(Resource("web"), (), (span(1), span(7, trace=2)))
    api = Batch(Resource("api"), (), (span(2, parent=1),))
    deep = Batch(Resource("db"), (), (span(3, parent=2),))

    told = {
        service: [
            (row["caller"], row["callee"])
            for row in rows(QUESTION, [web, api, deep], wanted=Wanted(service=service))
        ]
        for service in ("d?", "a*")
    }

    assert told == {"d?": [("api", "db")], "a*": [("api", "db"), ("web", "api")]}


def test_no_spans_are_no_calls_and_one_span_is_one_from_outside():
    [alone] = rows(QUESTION, [Batch(Resource("web"), (), (span(1, took_ns=0),))])

    assert rows(QUESTION, []) == []
    assert (alone["caller"], alone["callee"], alone["calls"]) == ("", "web", 1)
    assert alone["rate"] is None
