"""Two trees are matched span by span: every span of both is in exactly one pair."""

from hypothesis import given
from hypothesis import strategies as st

from nilometer.model.compared import changes_of, only_here, only_there, pairs_of
from nilometer.model.median import median_of
from tests.model.trees import tree_from

FAST = """
    GET /orders   0 100
      query      10  60
        SELECT   20  50  "SELECT 1"
      flush      70  80
"""
SLOW = """
    GET /orders   0 900
      cache       5   9
      query      10 660
        SELECT   20  50  "SELECT 2"
        SELECT   60 650  "SELECT 3"
"""


def shown(pairs):
    return [
        (
            pair.depth,
            pair.either.span.name,
            pair.here is not None,
            pair.there is not None,
            pair.longer_ns,
            pair.self_longer_ns,
        )
        for pair in pairs
    ]


def test_spans_match_under_matched_parents_and_the_rest_is_only_here_or_there():
    pairs = pairs_of(tree_from(SLOW), tree_from(FAST))

    assert shown(pairs) == [
        (0, "GET /orders", True, True, 800, 206),
        (1, "cache", True, False, 4, 4),
        (1, "query", True, True, 600, 10),
        (2, "SELECT", True, True, 0, 0),
        (2, "SELECT", True, False, 590, 590),
        (1, "flush", False, True, -10, -10),
    ]
    assert [node.span.name for node in only_here(pairs)] == ["cache", "SELECT"]
    assert [node.span.name for node in only_there(pairs)] == ["flush"]


def test_changes_of_own_time_add_up_to_the_change_of_the_request():
    changes = changes_of(pairs_of(tree_from(SLOW), tree_from(FAST)))

    assert [
        (one.operation.name, one.count_here, one.count_there, one.longer_ns) for one in changes
    ] == [
        ("SELECT", 2, 1, 590),
        ("GET /orders", 1, 1, 206),
        ("flush", 0, 1, -10),
        ("query", 1, 1, 10),
        ("cache", 1, 0, 4),
    ]
    assert sum(one.longer_ns for one in changes) == 800


def test_requests_are_compared_even_if_they_are_not_called_the_same():
    pairs = pairs_of(tree_from("GET /a  0 10\n  x  1 2"), tree_from("GET /b  0 30\n  x  1 9"))

    assert [pair[2] for pair in pairs] == [0, 1]
    assert [pair.longer_ns for pair in pairs] == [-20, -7]


def test_nothing_can_be_compared_with_something():
    pairs = pairs_of(tree_from(""), tree_from(FAST))

    assert [pair.here for pair in pairs] == [None] * 4


def flat(tree):
    return [
        (node.depth, node.span.name, node.duration_ns, node.self_ns) for node in tree.walk()
    ]


def test_the_median_has_what_at_least_half_did_as_long_as_the_median_of_them():
    trees = [
        tree_from(f"GET /  0 {took}\n  a  5 {5 + inner}{rest}")
        for took, inner, rest in [
            (100, 10, "\n  rare  60 70"),
            (200, 90, "\n  often  60 70"),
            (300, 20, "\n  often  60 90"),
            (900, 20, ""),
        ]
    ]

    median = median_of(trees)

    assert (median.trees, sorted(median.seen.values())) == (4, [2, 4, 4])
    assert flat(median.tree) == [
        (0, "GET /", 200, 110),
        (1, "a", 20, 20),
        (1, "often", 10, 10),
    ]


def test_the_median_of_one_tree_is_that_tree():
    assert flat(median_of([tree_from(SLOW)]).tree) == flat(tree_from(SLOW))
    assert median_of([]).tree.spans == 0


lines = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from("ab"), st.integers(0, 9), st.integers(0, 9)),
    max_size=10,
).map(lambda told: "".join(f"{'  ' * d}{name}  {s} {e}\n" for d, name, s, e in told))


@given(lines, lines)
def test_every_span_of_any_two_trees_is_in_exactly_one_pair(here, there):
    one, other = tree_from("root  0 9\n" + here), tree_from("root  0 9\n" + there)

    pairs = pairs_of(one, other)

    for tree, side in ((one, 0), (other, 1)):
        met = [id(pair[side]) for pair in pairs if pair[side] is not None]
        assert sorted(met) == sorted(id(node) for node in tree.walk())
    total = sum(node.self_ns for node in one.walk()) - sum(n.self_ns for n in other.walk())
    assert sum(change.longer_ns for change in changes_of(pairs)) == total


@given(lines)
def test_a_tree_compared_with_itself_differs_in_nothing(text):
    pairs = pairs_of(tree_from("root  0 9\n" + text), tree_from("root  0 9\n" + text))

    assert [pair.longer_ns for pair in pairs if pair.longer_ns or not pair.here] == []
