"""Gaps are where no child ran: together they are a span's own time."""

from hypothesis import given
from hypothesis import strategies as st

from nilometer.model.gaps import gaps_of, longest_gaps
from tests.model.trees import tree_from


def told(gap):
    names = [node and node.span.name for node in (gap.node, gap.after, gap.before)]
    return (*names, gap.began_ns, gap.ended_ns)


def test_a_gap_is_told_by_what_stands_before_and_after_it():
    tree = tree_from("""
        GET        0 100
          a       10  30
          within  12  14
          b       60  90
    """)

    assert [told(gap) for gap in gaps_of(tree.root)] == [
        ("GET", None, "a", 0, 10),
        ("GET", "a", "b", 30, 60),
        ("GET", "b", None, 90, 100),
    ]


def test_a_span_without_children_has_no_gaps():
    assert list(gaps_of(tree_from("GET  0 100").root)) == []


def test_the_longest_of_a_trace_come_first():
    tree = tree_from("""
        GET      0 100
          a     10  60
            b   55  60
    """)

    assert [told(gap) for gap in longest_gaps(tree, 2)] == [
        ("a", None, "b", 10, 55),
        ("GET", "a", None, 60, 100),
    ]


times = st.tuples(st.integers(-20, 120), st.integers(-20, 120))


@given(st.lists(times, min_size=1, max_size=8))
def test_gaps_of_any_children_add_up_to_the_self_time(children):
    lines = "".join(f"  c  {began} {ended}\n" for began, ended in children)
    tree = tree_from("root  0 100\n" + lines)
    root = next(node for node in tree.walk() if node.span.name == "root")

    found = list(gaps_of(root))

    assert sum(gap.duration_ns for gap in found) == root.self_ns
    assert all(0 <= gap.began_ns < gap.ended_ns <= 100 for gap in found)
