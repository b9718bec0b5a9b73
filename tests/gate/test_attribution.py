"""What a change is put down to: statements, queue scopes and tests, with lines of code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.gate.attribution import Place, parts_of, place_of
from nilometer.gate.history import Key, Series, all_series, past_of
from nilometer.gate.verdict import judge
from nilometer.model.run import Accepted, BackendRead, Count
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


def after_accepting(number: int):
    """Digests A and B cost more from run 21 on, which was accepted; C from run 28 on."""
    figures = {"A": 60, "B": 40, "C": 12}
    if number >= 21:
        figures |= {"A": 80, "B": 50}
    if number >= 28:
        figures |= {"C": 18}
    parts = [
        Count("mysql", "statement.calls", calls, (("digest", digest),))
        for digest, calls in figures.items()
    ]
    return run(number, {"statement.calls": sum(figures.values())}, parts=parts)


def test_what_was_accepted_explains_no_later_move() -> None:
    """The parts are expected as the runs of the level have them, as their counter is."""
    now, *_ = runs = [after_accepting(at) for at in range(28, -1, -1)]
    past = past_of(now, runs[:0:-1])
    series = tuple(all_series(now, past, parts=True))
    key = Key("mysql", "statement.calls")

    parts = parts_of(key, 6, series, levels=[21])

    assert [(part.key.dimensions, part.now, part.expected) for part in parts] == [
        ((("digest", "C"),), 18, 12)
    ]


@pytest.mark.parametrize("passes", [1, 7])
def test_after_an_accept_a_verdict_names_what_moved_since_then(passes) -> None:
    """However few runs show the level: the accepted step is no part of a later one."""
    told = [after_accepting(at) for at in range(22)]
    told += [after_accepting(21)._replace(id=f"p{at}") for at in range(passes)]
    accepted = Accepted("shop", "r21", told[-1].started_ns, "more lines", counters=())

    verdict = judge(after_accepting(28), told, [accepted])

    (finding,) = verdict.findings
    assert (finding.delta, [(one.key.dimensions, one.delta) for one in finding.parts]) == (
        6,
        [((("digest", "C"),), 6)],
    )


def test_one_run_of_a_level_tells_what_is_expected_and_those_before_it_the_noise() -> None:
    """Noise of the level before is noise of this one, too: two counts more are no move of B."""
    a, b = (Key("mysql", "statement.calls", (("digest", name),)) for name in "AB")
    series = [
        Series(a, (*[60.0] * 20, 80.0, 86.0)),
        Series(b, (*[40.0, 42.0] * 10, 52.0, 54.0)),
    ]

    parts = parts_of(Key("mysql", "statement.calls"), 8, series, levels=[20, 40])

    assert [(part.key, part.expected, part.delta) for part in parts] == [(a, 80, 6)]


@pytest.mark.parametrize(
    ("counter", "explained_by"),
    [
        ("Com_insert", ["INSERT INTO `t` VALUES (...)", "insert into t values (?)"]),
        ("Com_insert_select", ["INSERT INTO `t` VALUES (...)", "insert into t values (?)"]),
        ("Com_select", ["SELECT * FROM `t`", "( SELECT ? ) UNION ( SELECT ? )", "WITH `x` AS"]),
        ("Com_begin", ["START TRANSACTION"]),
    ],
)
def test_a_verb_s_counter_is_put_down_to_statements_of_that_verb(counter, explained_by) -> None:
    """As many selects more explain no insert."""
    statements = ["SELECT * FROM `t`", "( SELECT ? ) UNION ( SELECT ? )", "WITH `x` AS"]
    statements += ["INSERT INTO `t` VALUES (...)", "START TRANSACTION"]
    moved = [
        Series(Key("mysql", "statement.calls", (("digest", text),)), (*[7.0] * 9, 12.0))
        for text in statements
    ]
    told = (("caller", "a.py:7 in f"), ("statement", "insert into t values (?)"))
    moved.append(Series(Key("tests", "sql.statements", told), (*[7.0] * 9, 12.0)))

    found = parts_of(Key("mysql", counter), 5, moved)

    assert {dict(part.key.dimensions).popitem()[1] for part in found} == set(explained_by)


@pytest.mark.parametrize("counter", ["Com_select", "Questions", "Queries", "sql.statements"])
@pytest.mark.parametrize("calls", [17, 12])
def test_a_counter_of_statements_is_put_down_to_calls_and_not_to_rows_that_are_nearer(
    counter: str, calls: int
) -> None:
    moved = [
        Series(Key("mysql", "statement.rows_examined", LINES), (*[70.0] * 9, 103.0)),
        Series(Key("mysql", "statement.calls", LINES), (*[7.0] * 9, 7.0 + calls)),
    ]

    of_statements = parts_of(Key("mysql", counter), 29, moved)
    of_rows = parts_of(Key("mysql", "Handler_read_next"), 29, moved)

    assert [(one.key.counter, one.delta) for one in of_statements] == [
        ("statement.calls", calls)
    ]
    assert [one.key.counter for one in of_rows] == ["statement.rows_examined"]


def test_a_counter_of_prepared_statements_is_put_down_to_whatever_they_do() -> None:
    calls = Key("mysql", "statement.calls", (("digest", "SELECT ?"),))

    found = parts_of(Key("mysql", "Com_stmt_execute"), 5, [Series(calls, (*[7.0] * 9, 12.0))])

    assert [part.key for part in found] == [calls]


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
