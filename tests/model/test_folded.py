"""What does the same is taken together, and an N+1 stands out by its count."""

import pytest

from nilometer.model.critical import critical_path, waited_ns
from nilometer.model.folded import folds_of, groups_of, name_of, shape_of
from tests.model.trees import tree_from

ORDERS = """
    GET /orders      0 1000
      query Order   10   60
        SELECT      20   50  "SELECT * FROM orders WHERE day = '2026-11-21'"
      SELECT       100  200  "SELECT name FROM articles WHERE id = 17"
      SELECT       200  250 error  "SELECT name FROM articles WHERE id = 18"
      audit        250  260
      SELECT       300  450  "SELECT name FROM articles WHERE id = 19"
"""
LAST = '"SELECT name FROM articles WHERE id = 19"'


def folds(text):
    tree = tree_from(text)
    return [
        (
            fold.parent and fold.parent.span.name,
            fold.group.operation.statement or fold.group.operation.name,
            fold.group.spans,
            fold.group.total_ns,
            fold.statements,
        )
        for fold in folds_of(tree, waited_ns(critical_path(tree)))
    ]


def test_statements_of_siblings_that_differ_in_values_only_are_one_fold():
    shape = "SELECT name FROM articles WHERE id = ?"

    assert folds(ORDERS) == [("GET /orders", shape, 3, 300, 3)]


def test_two_of_a_kind_are_no_fold():
    assert folds(ORDERS.replace(LAST, '"DELETE FROM articles"')) == []


def test_a_fold_counts_the_statements_below_it():
    text = "GET /  0 100\n" + "".join(
        f'  load  {n * 10} {n * 10 + 9}\n    SELECT  {n * 10} {n * 10 + 5}  "SELECT {n}"\n'
        for n in range(5)
    )

    assert folds(text) == [("GET /", "load", 5, 45, 5)]


def test_a_group_tells_count_total_own_waited_least_and_most():
    tree = tree_from(ORDERS)

    (select,) = [
        group
        for group in groups_of(tree.walk(), waited_ns(critical_path(tree)), name_of)
        if group.operation.name == "SELECT"
    ]

    assert select[1:] == (4, 1, 330, 330, 330, 30, 150)
    assert select.average_ns == 82.5


def test_operations_are_in_the_order_of_their_own_time_and_add_up():
    tree = tree_from(ORDERS)

    groups = groups_of(tree.walk(), {})

    assert [group.self_ns for group in groups] == [640, 300, 30, 20, 10]
    assert sum(group.spans for group in groups) == tree.spans


@pytest.mark.parametrize(
    ("statement", "shape"),
    [
        ("SELECT 1", "SELECT ?"),
        ("SELECT a1, b2 FROM t3 WHERE x = -1.5e3", "SELECT a1, b2 FROM t3 WHERE x = ?"),
        ("WHERE a = 'it''s' AND b = 'un\\'done", "WHERE a = ? AND b = ?"),
        ("IN (1, 2,\n 3)", "IN (?)"),
        ("IN (%s, %s)", "IN (?)"),
        ("VALUES (%(a)s, :b), ($1, 0x1f)", "VALUES (?)"),
        ("a::int = :b", "a::int = ?"),
        ("", ""),
    ],
)
def test_a_statement_s_shape_has_neither_values_nor_the_lengths_of_lists(statement, shape):
    assert shape_of(statement) == shape
