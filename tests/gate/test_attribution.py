"""What a change is put down to: statements, queue scopes and tests, with lines of code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.gate.attribution import Place, place_of
from nilometer.gate.verdict import judge
from nilometer.model.run import BackendRead, Count
from tests.gate.histories import run

LINES = (("db", "shop"), ("digest", "SELECT * FROM `lines` WHERE `order_id` = ?"))
ORDERS = (("db", "shop"), ("digest", "SELECT * FROM `orders`"))
TEST = (("caller", "shop/orders.py:17 in lines_of"), ("test", "tests/test_shop.py::test_list"))
OTHER = (("caller", "shop/pay.py:3 in pay"), ("test", "tests/test_shop.py::test_pay"))


def shop_run(number: int, lines: int):
    """800 selects, of which `lines` by one digest and by one test."""
    parts = [
        Count("mysql", "statement.calls", lines, LINES),
        Count("mysql", "statement.rows_examined", lines * 100, LINES),
        Count("mysql", "statement.calls", 800 - 40, ORDERS),
        Count("tests", "sql.statements", lines, TEST),
        Count("tests", "sql.statements", 760, OTHER),
    ]
    one = run(number, {"Com_select": 760 + lines}, parts=parts)
    return one._replace(backends=(*one.backends, BackendRead("tests")))


def test_a_change_is_put_down_to_its_statement_test_and_line() -> None:
    verdict = judge(shop_run(30, 80), [shop_run(at, 40) for at in range(30)])

    (finding,) = verdict.findings
    assert [
        (part.key.backend, part.key.counter, part.key.dimensions, part.delta, str(part.place))
        for part in finding.parts
    ] == [
        ("mysql", "statement.calls", LINES, 40, "None"),
        ("tests", "sql.statements", TEST, 40, "shop/orders.py:17"),
    ]


def test_the_parts_of_the_counter_itself_come_first_by_how_far_they_moved() -> None:
    def published(number: int, replies: int, fanout: int):
        parts = [
            Count("rabbitmq", "published", replies, (("scope", "reply"),)),
            Count("rabbitmq", "published", fanout, (("scope", "compute_fanout"),)),
            Count("rabbitmq", "published", 50, (("scope", "x"),)),
        ]
        figures = {"published": replies + fanout + 50}
        return run(number, figures, backend="rabbitmq", parts=parts)

    verdict = judge(published(30, 101, 60), [published(at, 100, 20) for at in range(30)])

    (finding,) = verdict.findings
    assert [(part.key.dimensions, part.delta) for part in finding.parts] == [
        ((("scope", "compute_fanout"),), 40),
        ((("scope", "reply"),), 1),
    ]


def test_a_part_that_moved_the_other_way_explains_nothing() -> None:
    def mixed(number: int, more: int, less: int):
        parts = [
            Count("mysql", "Com_select", more, (("digest", "A"),)),
            Count("mysql", "Com_select", less, (("digest", "B"),)),
        ]
        return run(number, {"Com_select": more + less}, parts=parts)

    (finding,) = judge(mixed(30, 500, 340), [mixed(at, 400, 400) for at in range(30)]).findings

    assert [(part.key.dimensions, part.delta) for part in finding.parts] == [
        ((("digest", "A"),), 100)
    ]


def test_a_counter_with_parts_by_test_is_put_down_to_its_statement_as_well() -> None:
    def both(number: int, lines: int):
        parts = [
            Count("mysql", "Com_select", lines, (("test", "tests/a.py::b"),)),
            Count("mysql", "statement.calls", lines, LINES),
        ]
        return run(number, {"Com_select": 760 + lines}, parts=parts)

    (finding,) = judge(both(30, 80), [both(at, 40) for at in range(30)]).findings

    assert [part.key.counter for part in finding.parts] == ["Com_select", "statement.calls"]


def test_a_part_that_was_never_there_is_put_down_from_nought() -> None:
    before = [run(at, {"Com_select": 800}) for at in range(30)]
    new = [Count("mysql", "Com_select", 40, (("digest", "SELECT 1"),))]

    (finding,) = judge(run(30, {"Com_select": 840}, parts=new), before).findings

    assert [(part.now, part.expected) for part in finding.parts] == [(40, 0)]


def test_a_line_that_only_moved_explains_nothing() -> None:
    """An edit above it gives a statement another line; what is new is the one in a loop."""

    def asked(number: int, line: int, *more: tuple[int, int]):
        places = [(line, 700), (line + 1, 60), *more]
        parts = [
            Count("tests", "sql.statements", n, (("caller", f"shop.py:{at} in Shop.bill"),))
            for at, n in places
        ]
        one = run(number, {"sql.statements": sum(n for _, n in places)}, backend="tests")
        return one._replace(counts=(*one.counts, *parts))

    verdict = judge(asked(30, 19, (25, 40)), [asked(at, 17) for at in range(30)])

    (finding,) = verdict.findings
    assert [(str(part.place), part.expected, part.delta) for part in finding.parts] == [
        ("shop.py:19", 760, 40)
    ]


def test_a_statement_is_told_from_others_of_its_function() -> None:
    def asked(number: int, line: int, loop: int):
        parts = [
            Count(
                "tests", "sql.statements", n, (("caller", f"s.py:{at} in f"), ("statement", t))
            )
            for at, n, t in ((line, 700, "select all"), (line + 2, loop, "select one"))
        ]
        one = run(number, {"sql.statements": 700 + loop}, backend="tests")
        return one._replace(counts=(*one.counts, *parts))

    verdict = judge(asked(30, 19, 50), [asked(at, 17, 10) for at in range(30)])

    (finding,) = verdict.findings
    assert [(str(p.place), p.delta) for p in finding.parts] == [("s.py:21", 40)]


@pytest.mark.parametrize(
    ("told", "place"),
    [
        ({"code.file.path": "a/b.py", "code.line.number": "7"}, Place("a/b.py", 7)),
        ({"code.file.path": "a/b.py", "code.line.number": "x7"}, Place("a/b.py")),
        ({"caller": "a/b.py:7"}, Place("a/b.py", 7)),
        ({"caller": "a/b.py:7 in f"}, Place("a/b.py", 7)),
        ({"test": "tests/a.py::t[x::y:3]"}, Place("tests/a.py")),
        ({"test": "no place"}, None),
        ({"digest": "SELECT a.py:7"}, None),
        ({}, None),
    ],
)
def test_the_line_of_code_is_found_where_a_part_tells_it(told, place) -> None:
    assert place_of(tuple(sorted(told.items()))) == place


@given(st.dictionaries(st.sampled_from(["file", "line", "caller", "test", "x"]), st.text()))
def test_any_text_has_a_place_or_none(told) -> None:
    place = place_of(tuple(sorted(told.items())))

    assert place is None or (place.file != "" and place.line >= 0)
