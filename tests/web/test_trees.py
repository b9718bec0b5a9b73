"""What pages of one trace are made of: trees kept for a moment, rows, and what stands out."""

from __future__ import annotations

import pytest

from nilometer.api.problems import Refusal
from nilometer.model.tree import tree_of
from nilometer.testing import FakeTime
from nilometer.web import trees
from nilometer.web.remarks import remarks_of
from nilometer.web.trees import KEPT_NS, Trees, whole_of
from nilometer.web.waterfall import note_of, rows_of
from tests.model.trees import pairs_from, tree_from


class Store:
    """Tables that hold one trace; `read` is how often it was asked for."""

    def __init__(self, text):
        self.text = text
        self.read = 0

    def trace(self, _trace_id, *, limit):
        self.read += 1
        return list(pairs_from(self.text))[:limit]

    def trace_points(self, _trace_id):
        return []


def whole(text):
    return whole_of("t", tree_from(text))


def said(text):
    return [(one.kind, one.words, round(one.share, 2)) for one in remarks_of(whole(text))]


def test_a_trace_is_read_once_for_its_page_rows_and_spans_and_again_when_it_may_have_grown():
    store, time = Store("GET /  0 10"), FakeTime()
    kept = Trees(store, time.clock)

    first, again = kept.of("a"), kept.of("a")
    time.advance(KEPT_NS / 1e9)
    later = kept.of("a")

    assert (first is again, first is later, store.read) == (True, False, 2)


def test_traces_are_kept_as_long_as_there_is_room(monkeypatch):
    monkeypatch.setattr(trees, "SPANS_KEPT", 4)
    store = Store("GET /  0 10\n  a  1 2")
    kept = Trees(store, FakeTime().clock)

    for trace_id in "abcbc":
        kept.of(trace_id)
    kept.of("a")

    assert store.read == 4


def test_a_trace_that_is_larger_than_the_room_is_shown_and_not_kept(monkeypatch):
    monkeypatch.setattr(trees, "SPANS_KEPT", 1)
    store = Store("GET /  0 10\n  a  1 2")
    kept = Trees(store, FakeTime().clock)

    assert [kept.of("a").tree.spans, kept.of("a").tree.spans, store.read] == [2, 2, 2]


def test_no_trace_is_refused_with_what_to_do():
    with pytest.raises(Refusal, match="some seconds after they ended") as refusal:
        Trees(Store(""), FakeTime().clock).of("a")

    assert refusal.value.status == 404


def test_leaves_are_folded_from_three_on_and_what_has_children_from_ten_on():
    def folded(times, below):
        child = "\n".join(
            f"  a  {n * 10} {n * 10 + 9}{below.format(n * 10, n * 10 + 1)}"
            for n in range(times)
        )
        rows = rows_of(whole(f"GET /  0 200\n{child}"))
        return [len(places) for places in rows["folds"]]

    assert [folded(2, ""), folded(3, "")] == [[], [3]]
    assert [folded(9, "\n    b  {} {}"), folded(10, "\n    b  {} {}")] == [[], [10]]


def test_a_note_is_one_line_of_what_tells_most_and_not_longer_than_a_row():
    (node,) = tree_from('SELECT  0 9 error  "SELECT  a\tFROM b"').walk()
    (long,) = tree_from(f'x  0 9  "{"SELECT " * 100}"').walk()

    assert note_of(node) == "SELECT a FROM b"
    assert len(note_of(long)) == 161


def test_what_takes_less_than_a_tenth_does_not_stand_out():
    text = """
        GET /      0 1000
          a        0   90
          b       90  990
    """

    assert said(text) == [("wait", "the request waited 900 ns for b of api itself", 0.9)]


def test_a_long_time_in_which_nothing_ran_is_told_with_its_place():
    text = """
        GET /      0 1000
          a        0  100
          b      700 1000
    """

    assert said(text)[:2] == [
        ("wait", "the request waited 600 ns for GET / of api itself", 0.6),
        ("gap", "600 ns in GET /, between a and b, in which no span of it ran", 0.6),
    ]


def test_five_statements_are_a_repetition_and_four_are_not():
    def repeated(times):
        selects = "\n".join(
            f'  SELECT  {n * 10} {n * 10 + 9}  "SELECT {n}"' for n in range(times)
        )
        return [one for one in said(f"GET /  0 60\n{selects}") if one[0] == "repeat"]

    assert repeated(4) == []
    assert repeated(5) == [
        ("repeat", "5 times the same under GET /: SELECT ?; 45 ns together, 9 ns each", 0.75)
    ]


def test_what_is_repeated_inside_of_what_is_repeated_is_told_once():
    loads = "\n".join(
        f"  load  {n * 10} {n * 10 + 9}\n"
        + "\n".join(f'    SELECT  {n * 10 + k} {n * 10 + k + 1}  "SELECT 1"' for k in range(5))
        for n in range(5)
    )

    (one,) = [each for each in said(f"GET /  0 60\n{loads}") if each[0] == "repeat"]
    assert "5 times the same under GET /: load, 25 statements in all" in one[1]


def test_of_many_failures_the_first_three_are_told_and_the_rest_counted():
    failed = "\n".join(f"  part {n}  {n} {n + 1} error" for n in range(5))

    words = [one[1] for one in said(f"GET /  0 100 error\n{failed}") if one[0] == "error"]
    assert words == ["part 0 failed", "part 1 failed", "part 2 failed", "2 more spans failed"]


def test_the_parents_of_spans_are_known_by_place():
    found = whole("a  0 9\n  b  1 5\n    c  2 3\n  d  6 7")

    assert found.parents == [None, 0, 1, 0]
    assert found.node("0000000000000003").span.name == "c"
    assert found.node("ff") is None
    assert tree_of([]).spans == 0
