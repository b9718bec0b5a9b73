"""Laws of the tree of spans: whatever was sent, each span is in it exactly once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.model import Resource, SpanKind, SpanRecord, Status
from nilometer.model.tree import tree_of

API = Resource(service="api", host="h1", pid=1)
TRACE = b"t" * 16


def span(name, key, parent="", started=0, ended=0, status=Status.UNSET, trace=TRACE):
    ids = key.encode().ljust(8, b"."), parent.encode().ljust(8, b".") if parent else b""
    return SpanRecord(trace, *ids, name, SpanKind.INTERNAL, started, ended, {}, status)


def drawn(tree):
    """Every node as (depth, name, self time, orphan)."""
    return [(n.depth, n.span.name, n.self_ns, n.orphan) for n in tree.walk()]


def test_nothing_gives_an_empty_tree():
    tree = tree_of([])

    assert tree == ((), 0, 0, 0, False)
    assert (tree.root, tree.started_ns, tree.duration_ns) == (None, 0, 0)


def test_children_hang_under_their_parent_in_the_order_of_their_start():
    spans = [
        span("late", "c", "a", 60, 90),
        span("root", "a", "", 0, 100),
        span("inner", "d", "b", 15, 20, Status.ERROR),
        span("early", "b", "a", 10, 30),
    ]

    tree = tree_of((API, s) for s in spans)

    assert drawn(tree) == [
        (0, "root", 50, False),
        (1, "early", 15, False),
        (2, "inner", 5, False),
        (1, "late", 30, False),
    ]
    assert (tree.spans, tree.errors, tree.duplicates) == (4, 1, 0)
    assert (tree.root.span.name, tree.started_ns, tree.duration_ns) == ("root", 0, 100)


def test_siblings_closer_than_a_millisecond_keep_their_order():
    """OSProfiler shows them reversed (known weakness 11): it cuts times to milliseconds."""
    names = ["BEGIN", "INSERT", "COMMIT"]
    spans = [span(n, n[0], "r", 1_000 + i, 1_001 + i) for i, n in enumerate(names)]

    tree = tree_of((API, s) for s in [*reversed(spans), span("root", "r", "", 0, 9_000)])

    assert [n.span.name for n in tree.root.children] == names


def test_self_time_takes_off_what_children_cover_once_and_only_inside():
    spans = [
        span("root", "r", "", 100, 200),
        span("before", "a", "r", 50, 110),
        span("one", "b", "r", 120, 150),
        span("overlaps", "c", "r", 130, 160),
        span("inside", "d", "r", 135, 140),
        span("after", "e", "r", 190, 900),
    ]

    tree = tree_of((API, s) for s in spans)

    assert tree.root.self_ns == 100 - 10 - 40 - 10


def test_a_span_whose_parent_never_came_stands_at_the_top_as_an_orphan():
    tree = tree_of([(API, span("lost", "b", "x", 5, 9)), (API, span("root", "a", "", 6, 8))])

    assert drawn(tree) == [(0, "lost", 4, True), (0, "root", 2, False)]
    assert tree.root.span.name == "root"


def test_the_same_span_sent_twice_is_one():
    again = [span("a", "a", "", 1, 3), span("a", "a", "", 2, 9)]

    tree = tree_of((API, s) for s in again)

    assert (drawn(tree), tree.spans, tree.duplicates) == ([(0, "a", 2, False)], 1, 1)


def test_the_same_span_id_in_two_traces_is_two_spans():
    tree = tree_of(
        [(API, span("a", "a", trace=b"1" * 16)), (API, span("b", "a", trace=b"2" * 16))]
    )

    assert [n.span.name for n in tree.roots] == ["a", "b"]


def test_a_circle_is_opened_at_its_earliest_span():
    spans = [
        span("b", "b", "a", 20, 30),
        span("a", "a", "c", 10, 30),
        span("c", "c", "b", 25, 30),
    ]
    below = span("below", "d", "c", 26, 27)

    tree = tree_of((API, s) for s in [*spans, below])

    assert [(d, n, o) for d, n, _, o in drawn(tree)] == [
        (0, "a", True),
        (1, "b", False),
        (2, "c", False),
        (3, "below", False),
    ]


def test_a_span_that_is_its_own_parent_stands_at_the_top():
    assert drawn(tree_of([(API, span("a", "a", "a", 0, 1))])) == [(0, "a", 1, True)]


def test_a_chain_deeper_than_pythons_stack_is_no_problem():
    spans = [
        span(str(i), f"{i:x}", f"{i - 1:x}" if i else "", i, 20_000) for i in range(10_000)
    ]

    tree = tree_of((API, s) for s in reversed(spans))

    assert [n.depth for n in tree.walk()] == list(range(10_000))


@pytest.mark.parametrize(("started", "ended"), [(10, 3), (0, 0)])
def test_a_span_that_ends_before_it_starts_has_lasted_nothing(started, ended):
    tree = tree_of([(API, span("odd", "a", "", started, ended))])

    assert (tree.root.duration_ns, tree.root.self_ns, tree.duration_ns) == (0, 0, 0)


ids = st.sampled_from("abcdef")
hostile_spans = st.builds(
    span,
    name=st.just("s"),
    key=ids,
    parent=st.one_of(st.just(""), ids, st.just("missing")),
    started=st.integers(-5, 50),
    ended=st.integers(-5, 50),
    trace=st.sampled_from([TRACE, b"u" * 16]),
)


@given(st.lists(hostile_spans, max_size=14), st.randoms(use_true_random=False))
def test_any_spans_give_a_tree_with_each_exactly_once(spans, random):
    tree = tree_of((API, s) for s in spans)
    nodes = list(tree.walk())

    assert len({id(n) for n in nodes}) == len(nodes) == tree.spans
    assert {(n.span.trace_id, n.span.span_id) for n in nodes} == {
        (s.trace_id, s.span_id) for s in spans
    }
    assert tree.spans + tree.duplicates == len(spans)
    assert all(n.span in spans and 0 <= n.self_ns <= n.duration_ns for n in nodes)
    for node in nodes:
        starts = [child.span.started_ns for child in node.children]
        assert starts == sorted(starts)
        for child in node.children:
            assert child.depth == node.depth + 1
            assert (child.span.trace_id, child.span.parent_id) == (
                node.span.trace_id,
                node.span.span_id,
            )

    shuffled = sorted(spans, key=lambda s: (s.started_ns, -s.ended_ns, s.span_id, s.trace_id))
    if len({(s.started_ns, s.ended_ns, s.span_id) for s in spans}) == len(spans):
        random.shuffle(shuffled)

        assert drawn(tree_of((API, s) for s in shuffled)) == drawn(tree)
