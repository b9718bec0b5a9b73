"""What many traces waited for: one trace's critical path, added up over all of them."""

from collections import defaultdict
from hashlib import md5
from random import Random

import pytest

from nilometer.analyze.asking import Wanted
from nilometer.analyze.critical_path import QUESTION
from nilometer.model import Batch, Resource, SpanKind
from tests.analyze.over import rows
from tests.store.batches import NOW_NS, span

SERVICES = ["web", "pay'; --", "naïve 店\0"]
OPERATIONS = ["get", "100%_!", ""]


def _nested(random, trace):
    """A trace as (service, span) whose spans lie within their parents, and are too short for
    two clocks to matter."""
    pairs, number, open_ends = [], 0, [(0, NOW_NS, NOW_NS + 60)]
    while open_ends and number < 12:
        parent, low, high = open_ends.pop(0)
        for _ in range(1 if not parent else random.randrange(4)):
            begins = low if not parent else random.randrange(low, high)
            ends = high if not parent else random.randrange(begins, high + 1)
            number += 1
            one = span(
                number,
                trace=trace,
                parent=parent,
                at_ns=begins,
                took_ns=ends - begins,
                name=random.choice(OPERATIONS),
            )
            pairs.append((random.choice(SERVICES), one._replace(kind=SpanKind.INTERNAL)))
            if ends - begins > 2:
                open_ends.append((number, begins, ends))
    return pairs


def _waits(pairs, pair, low, high, found):
    """Walk backwards from `high` to `low`, one child that ended last after the other."""
    number = int.from_bytes(pair[1].span_id, "big")
    below = [p for p in pairs if p[1].parent_id == pair[1].span_id]
    at = high
    while at > low:
        ended = [
            p
            for p in below
            if low < p[1].ended_ns <= at and p[1].started_ns < p[1].ended_ns and p is not pair
        ]
        if not ended:
            found[number] += at - low
            return
        last = max(ended, key=lambda p: (p[1].ended_ns, -p[1].started_ns, -_id(p)))
        found[number] += at - last[1].ended_ns
        begins = max(low, last[1].started_ns)
        _waits(pairs, last, begins, last[1].ended_ns, found)
        below.remove(last)
        at = begins


def _id(pair):
    return int.from_bytes(pair[1].span_id, "big")


def _batches(traces):
    return [Batch(Resource(name, "h"), (), (one,)) for pairs in traces for name, one in pairs]


@pytest.mark.parametrize("seed", range(5))
def test_the_waits_of_all_traces_add_up_by_operation(seed):
    random = Random(seed)
    traces = [_nested(random, trace) for trace in range(1, 25)]
    waited, spans, longest = defaultdict(int), defaultdict(int), defaultdict(int)
    for pairs in traces:
        here, by_span = defaultdict(int), defaultdict(int)
        _waits(pairs, pairs[0], NOW_NS, NOW_NS + 60, by_span)
        for name, one in pairs:
            key = name, one.name
            spans[key] += 1
            waited[key] += by_span[_id((name, one))]
            here[key] += by_span[_id((name, one))]
        for key, ns in here.items():
            longest[key] = max(longest[key], ns)

    found = rows(QUESTION, _batches(traces) * 2)

    keyed = {(row["service"], row["operation"]): row for row in found}
    assert {k: r["waited_ns"] for k, r in keyed.items()} == dict(waited)
    assert {k: r["spans"] for k, r in keyed.items()} == dict(spans)
    assert {k: r["max_ns"] for k, r in keyed.items()} == dict(longest)
    assert sum(row["waited_ns"] for row in found) == 24 * 60
    assert sum(row["waited_share"] for row in found) == pytest.approx(1)
    assert {row["traces_there"] for row in found} == {24}


def test_of_too_many_traces_those_of_the_least_digests_are_looked_at():
    traces = [[("web", span(1, trace=trace, name=f"op{trace}"))] for trace in range(1, 30)]
    digests = {md5(f"{trace:032x}".encode()).hexdigest(): trace for trace in range(1, 30)}

    found = rows(QUESTION, _batches(traces), traces="3")

    least = [f"op{digests[each]}" for each in sorted(digests)[:3]]
    assert {row["operation"] for row in found} == set(least)
    assert {(r["traces_looked"], r["traces_there"]) for r in found} == {(3, 29)}


def test_a_service_is_looked_for_in_whole_traces():
    with_pay = [("web", span(1, took_ns=100)), ("pay", span(2, parent=1, took_ns=40))]
    without = [("web", span(1, trace=2, took_ns=500))]

    found = rows(QUESTION, _batches([with_pay, without]), wanted=Wanted(service="p*"))

    assert [(row["service"], row["waited_ns"]) for row in found] == [("web", 60), ("pay", 40)]


def test_time_between_spans_of_no_common_parent_is_nobody_s():
    lost = [
        ("web", span(2, parent=9, took_ns=10)),
        ("web", span(3, parent=9, at_ns=NOW_NS + 30, took_ns=10)),
    ]

    found = rows(QUESTION, _batches([lost]))

    told = [(r["service"], r["operation"], r["kind"], r["waited_ns"]) for r in found]
    assert ("", "", "", 20) in told
    assert sum(row["waited_ns"] for row in found) == 40


def test_no_trace_waits_for_nothing_and_a_lone_span_for_itself():
    [alone] = rows(QUESTION, _batches([[("web", span(1, took_ns=7))]]))

    assert rows(QUESTION, []) == []
    assert (alone["waited_ns"], alone["waited_share"], alone["traces"]) == (7, 1.0, 1)
    assert alone["trace_id"] == f"{1:032x}"
