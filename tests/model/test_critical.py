"""Laws of the critical path: it lasts as long as the request, and nothing counts twice."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.model import Resource, SpanKind, SpanRecord
from nilometer.model.critical import critical_path, waited_ns
from nilometer.model.tree import tree_of
from tests.model.trees import TRACE, tree_from


def path(text):
    """The critical path as (name, start, end)."""
    return [
        (each.node.span.name if each.node else None, each.began_ns, each.ended_ns)
        for each in critical_path(tree_from(text))
    ]


def test_a_span_alone_waited_for_itself():
    assert path("GET  5 20") == [("GET", 5, 20)]
    assert path("") == []


def test_children_one_after_the_other_are_all_waited_for_and_what_lies_between():
    found = path("""
        GET     0 100
          a    10  30
            b  15  20
          c    40  90
    """)

    assert found == [
        ("GET", 0, 10),
        ("a", 10, 15),
        ("b", 15, 20),
        ("a", 20, 30),
        ("GET", 30, 40),
        ("c", 40, 90),
        ("GET", 90, 100),
    ]


def test_of_children_that_ran_at_once_the_last_to_end_was_waited_for():
    found = path("""
        GET       0 100
          first  10  95
          short  10  50
          late   20  60
          after  96  99
    """)

    assert found == [
        ("GET", 0, 10),
        ("first", 10, 95),
        ("GET", 95, 96),
        ("after", 96, 99),
        ("GET", 99, 100),
    ]


def test_work_that_a_worker_could_begin_only_when_another_ended_waits_for_both():
    found = path("""
        GET    0 20
          a    0 10
          b    0  8
          c    8 15
          d   10 20
    """)

    assert found == [("a", 0, 10), ("d", 10, 20)]


def test_what_outlives_its_parent_was_not_waited_for():
    found = path("""
        GET            0 100
          answer      10  40
          background  40 500
    """)

    assert found == [("GET", 0, 10), ("answer", 10, 40), ("GET", 40, 100)]


def test_a_server_that_goes_on_after_its_answer_was_waited_for_until_the_client_had_it():
    found = path("""
        GET                0 100 client
          GET /            5 400 server
            work          10  60
            afterwards   101 390
    """)

    assert found == [
        ("GET", 0, 5),
        ("GET /", 5, 10),
        ("work", 10, 60),
        ("GET /", 60, 100),
    ]


def test_a_server_whose_clock_is_off_is_thought_of_in_the_middle_of_the_call():
    found = path("""
        GET           0  100 client
          GET /    5000 5060 server host2
            work   5010 5020 server host2
    """)

    assert found == [
        ("GET", 0, 20),
        ("GET /", 5000, 5010),
        ("work", 5010, 5020),
        ("GET /", 5020, 5060),
        ("GET", 80, 100),
    ]


def test_a_start_a_moment_before_the_end_of_another_is_after_it():
    found = path("""
        GET   0 2000
          a   0 1000
          b  990 2000
    """)

    assert found == [("a", 0, 990), ("b", 990, 2000)]


def test_spans_whose_parent_is_missing_count_as_the_root_s():
    found = path("""
        GET     0 100
        lost   20  60 lost
    """)

    assert found == [("GET", 0, 20), ("lost", 20, 60), ("GET", 60, 100)]


def test_between_spans_of_no_common_parent_nobody_is_known_to_have_worked():
    found = path("""
        one   0  10 lost
        two  30  50 lost
    """)

    assert found == [("one", 0, 10), (None, 10, 30), ("two", 30, 50)]


def test_a_chain_deeper_than_pythons_stack_is_no_problem():
    lines = "\n".join(f"{' ' * n}{n}  {n} {10_000 - n}" for n in range(3_000))

    assert len(path(lines)) == 2 * 3_000 - 1


span = st.builds(
    SpanRecord,
    st.just(TRACE),
    st.integers(1, 9).map(lambda n: n.to_bytes(8, "big")),
    st.integers(0, 10).map(lambda n: n.to_bytes(8, "big") if n else b""),
    st.sampled_from("abc"),
    st.sampled_from(SpanKind),
    st.integers(0, 200),
    st.integers(0, 200),
    st.just({}),
)


@pytest.mark.slow
@given(st.lists(st.tuples(st.builds(Resource, st.just("s"), st.sampled_from("hi")), span)))
def test_of_any_spans_the_path_lasts_as_long_as_the_request(pairs):
    tree = tree_of(pairs)
    real = [root for root in tree.roots if not root.orphan]
    only = real[0] if len(real) == 1 else tree.roots[0] if len(tree.roots) == 1 else None

    found = critical_path(tree)

    whole_ns = only.duration_ns if only else tree.duration_ns
    assert sum(each.duration_ns for each in found) == whole_ns
    assert all(each.duration_ns > 0 for each in found)
    assert sum(waited_ns(found).values()) <= whole_ns
    for earlier, later in pairwise([each for each in found if each.node is None]):
        assert earlier.ended_ns <= later.began_ns
