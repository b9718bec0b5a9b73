"""Counters as a JSON document: what other tools read in it, and what two of them tell."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.counters.document import Document, DocumentError, difference, document, parse
from nilometer.counters.gather import Unread
from nilometer.counters.parts import OVERFLOW
from tests.counters.snapshots import snapshot_of

PART = ("calls", (("digest", "SELECT ?"),))
S = 10**9


def at(seconds: int, values: dict, **differing: object) -> Document:
    """A document as it comes back from a file."""
    written = document([snapshot_of(values, **differing)], wall_ns=seconds * S)
    return parse(json.loads(json.dumps(written.as_json(parts=True))), origin="before.json")


def test_a_document_has_each_backend_and_what_could_not_be_read() -> None:
    made = document(
        [
            snapshot_of({"a": 5, "level": 2, PART: 3}),
            Unread("redis", "cache:6379", "no answer"),
        ],
        wall_ns=1700 * S,
        prefix="gate.job1",
    )

    assert made.as_json(parts=True) == {
        "__meta__": {
            "unixtime": 1700.0,
            "prefix": "gate.job1",
            "backends": {
                "mysql": {
                    "instance": "db:3306",
                    "version": "10.11",
                    "incarnation": "start-1",
                    "unixtime": 1e-8,
                    "took_ms": 0.0,
                    "gauges": ["level"],
                    "from_zero": ["calls"],
                }
            },
            "unread": {"redis": "no answer"},
        },
        "mysql": {"a": 5, "level": 2},
        "__parts__": {
            "mysql": [{"counter": "calls", "dimensions": {"digest": "SELECT ?"}, "value": 3}]
        },
    }


def test_two_servers_of_a_kind_are_told_apart() -> None:
    made = document(
        [snapshot_of({"a": 1}), snapshot_of({"a": 2}, instance="db2:3306")], wall_ns=0
    )

    assert made.totals == {"mysql@db:3306": {"a": 1}, "mysql@db2:3306": {"a": 2}}


def test_a_difference_says_how_far_and_how_long() -> None:
    made = difference(
        at(100, {"a": 5, "level": 9, PART: 2}), at(160, {"a": 9, "level": 4, PART: 7})
    )

    assert made.totals == {"mysql": {"a": 4, "level": -5}}
    assert made.parts == {"mysql": [("calls", {"digest": "SELECT ?"}, 5)]}
    assert (made.told["unixtime"], made.told["delta_seconds"]) == (160.0, 60.0)
    assert not made.told.keys() & {"invalid", "unknown"}


def test_a_prefix_on_both_documents_is_kept_and_not_subtracted() -> None:
    before, after = (
        document([snapshot_of({"a": value})], wall_ns=0, prefix="gate") for value in (1, 3)
    )

    made = difference(before, after)

    assert made.told["prefix"] == "gate"
    assert made.totals == {"mysql": {"a": 2}}


def test_a_restarted_server_has_no_difference_and_is_named() -> None:
    made = difference(at(1, {"a": 5}), at(2, {"a": 9}, incarnation="start-2"))

    assert made.totals == {}
    assert made.told["invalid"] == {
        "mysql": "restarted, or its figures were reset, meanwhile: "
        "start-1 before, start-2 after"
    }


def test_parts_beyond_the_limit_may_be_others_in_each_document() -> None:
    """Each process shows the first by their names: a new one takes the place of another."""
    b, c, new = (("calls", (("digest", name),)) for name in ("b", "c", "a"))
    rest = ("calls", OVERFLOW)

    made = difference(
        at(1, {"calls": 1530, b: 10, c: 500, rest: 1020}),
        at(2, {"calls": 1539, new: 7, b: 12, rest: 1520}),
    )

    assert "unknown" not in made.told
    assert made.totals == {"mysql": {"calls": 9}}
    assert made.parts == {
        "mysql": [("calls", {"digest": "b"}, 2), ("calls", {"overflow": "true"}, 7)]
    }


def test_vanished_new_and_reset_counters_are_named_each() -> None:
    made = difference(
        at(1, {"gone": 5, "reset": 5, "a": 1}), at(2, {"reset": 3, "new": 1, "a": 1})
    )

    assert made.totals == {"mysql": {"a": 0}}
    assert made.told["unknown"] == {
        "mysql": {
            "gone": "vanished: it was there in the first snapshot only",
            "new": "new: it was not there in the first snapshot",
            "reset": "it went back from 5 to 3: reset, or wrapped",
        }
    }


@pytest.mark.parametrize("later", [{}, {("reqs", (("pod", "a"),)): 3}])
def test_a_total_of_which_a_part_vanished_or_went_back_is_unknown(later: dict) -> None:
    a, b = (("reqs", (("pod", pod),)) for pod in "ab")
    rest = sum(later.values())

    made = difference(
        at(1, {"reqs": 1500, a: 500, b: 1000, "c": 1}),
        at(2, {"reqs": 1700 + rest, b: 1700, **later, "c": 2}),
    )
    parts_beside = difference(
        at(1, {"reqs": 1501, a: 500, b: 1000}), at(2, {"reqs": 2501, b: 1700, **later})
    )

    because = "not one count throughout: 1 part of it vanished, went back or was made anew"
    assert made.told["unknown"] == {"mysql": {"reqs": because}}
    assert made.totals == {"mysql": {"c": 1}}
    assert made.parts == {"mysql": [("reqs", {"pod": "b"}, 700)]}
    assert parts_beside.totals == {"mysql": {"reqs": 1000}}


TABLE = ("table", "a")
ROWS = ("rows", (TABLE,))


@pytest.mark.parametrize("parts", [True, False])
@pytest.mark.parametrize("now", [{TABLE: "8"}, {}])
def test_a_total_is_unknown_where_a_thing_is_another_of_its_name_or_gone(
    parts: bool, now: dict
) -> None:
    """Also where the first document was written without parts."""
    other = ("rows", (("table", "b"),))
    written = document([snapshot_of({"rows": 50, ROWS: 50}, ids={TABLE: "7"})], wall_ns=S)
    before = parse(json.loads(json.dumps(written.as_json(parts=parts))), origin="b")
    table = {ROWS: 60} if now else {}

    made = difference(before, at(2, {"rows": 70 + 60 * bool(now), other: 70, **table}, ids=now))
    same = difference(before, at(2, {"rows": 60, ROWS: 60}, ids={TABLE: "7"}))

    because = "not one count throughout: 1 part of it vanished, went back or was made anew"
    assert made.told["unknown"] == {"mysql": {"rows": because}}
    assert same.totals == {"mysql": {"rows": 10}}


def test_how_far_parts_moved_is_not_known_from_a_document_without_any() -> None:
    """Else all that they ever counted would be told."""
    written = document([snapshot_of({"calls": 50, PART: 50})], wall_ns=S)
    before = parse(json.loads(json.dumps(written.as_json())), origin="before.json")

    made = difference(before, at(2, {"calls": 57, PART: 57}))

    assert (made.totals, made.parts) == ({"mysql": {"calls": 7}}, {"mysql": []})
    assert made.told["without_parts"] == ["mysql"]


def test_what_was_unseen_is_compared_with_that_of_the_first_document() -> None:
    before, same, other = (
        at(second, {"calls": second}, unseen=text)
        for second, text in enumerate(["5 messages", "5 messages", "9 messages"])
    )

    assert difference(before, same).totals == {"mysql": {"calls": 1}}
    assert difference(before, other).told["unknown"] == {"mysql": {"calls": "9 messages"}}


def test_a_backend_that_is_in_one_document_only_is_named() -> None:
    only = document([snapshot_of({"a": 1}, backend="redis")], wall_ns=0)

    made = difference(only, at(2, {"a": 9}))

    assert made.totals == {}
    assert made.told["invalid"] == {
        "mysql": "it is not in the first document",
        "redis": "it is not in the second document",
    }


def test_a_document_of_os_collect_counters_is_subtracted_from_ours() -> None:
    theirs = parse(
        {"__meta__": {"unixtime": 100.5}, "mysql": {"a": 5, "b": 9}, "queues": {}},
        origin="old.json",
    )

    made = difference(theirs, at(200, {"a": 7, "b": 2}))

    assert made.totals == {"mysql": {"a": 2}}
    assert made.told["unknown"] == {
        "mysql": {"b": "it went back from 9 to 2: reset, or wrapped"}
    }


@pytest.mark.parametrize("odd", [3, [{}], {"a": 1}, "level", None])
def test_what_others_wrote_about_a_backend_is_not_trusted(odd: object) -> None:
    about = {"gauges": odd, "from_zero": odd, "incarnation": odd, "ids": odd, "unseen": odd}
    after = parse({"__meta__": {"backends": {"mysql": about}}, "mysql": {"a": 3}}, origin="f")

    made = difference(parse({"mysql": {"a": 1}}, origin="f"), after)

    assert made.totals == {"mysql": {"a": 2}}


def test_what_is_no_number_is_left_out_and_told() -> None:
    made = parse({"mysql": {"a": 1, "b": "x", "c": True, "d": None}}, origin="f")

    assert made.totals == {"mysql": {"a": 1}}
    assert made.told == {"left_out": ["mysql.b", "mysql.c", "mysql.d"]}


@pytest.mark.parametrize(
    ("value", "because"),
    [
        ([], "f: not a JSON object of counters but a list"),
        (None, "f: not a JSON object of counters but null"),
        ({"mysql": 3}, "f: 'mysql' is 3, not an object"),
        ({"__meta__": []}, "f: __meta__ is a list, not an object"),
        ({"__parts__": {"mysql": [{}]}}, "f: __parts__ cannot be read: KeyError('value')"),
    ],
)
def test_what_is_no_document_is_refused_with_the_reason(value: object, because: str) -> None:
    with pytest.raises(DocumentError) as refused:
        parse(value, origin="f")

    assert str(refused.value) == f"{because} [bad-counters-document]"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("__meta__"), inner),
    max_leaves=8,
)


@given(JSON, JSON)
def test_any_json_is_a_document_or_refused_and_documents_can_be_subtracted(
    one: object, two: object
) -> None:
    try:
        before, after = parse(one, origin="1"), parse(two, origin="2")
    except DocumentError:
        return
    made = difference(before, after)

    named = {*made.totals, *made.told.get("invalid", {}), *made.told.get("passed_over", {})}
    every = {*before.totals, *after.totals}
    empty = {key for key in every if not (before.totals.get(key) or after.totals.get(key))}
    assert named | empty == every | empty


def test_what_the_first_document_could_not_read_is_unknown_and_not_zero() -> None:
    original = parse({"mysql": {"a": 1}, "__meta__": {"unixtime": 1}}, origin="old.json")
    after = at(2, {"a": 3, "calls": 82, PART: 82})

    for before in (original, at(1, {"a": 1})):
        moved = difference(before, after)

        assert moved.totals == {"mysql": {"a": 2}}
        assert moved.parts == {"mysql": []}
        assert moved.told["unknown"]["mysql"].keys() == {"calls"}


def test_a_document_keeps_that_it_is_whole() -> None:
    after = at(2, {"a": 3, "calls": 82}, whole=True)

    assert difference(at(1, {"a": 1}, whole=True), after).totals == {
        "mysql": {"a": 2, "calls": 82}
    }


def test_a_document_keeps_since_when_single_counters_count() -> None:
    since = {("calls", ()): "counted since 7", PART: "counted since 7"}
    before = at(1, {"a": 1, "calls": 1, PART: 1})
    after = at(2, {"a": 3, "calls": 9, PART: 9}, incarnations=since)

    moved = difference(before, after)

    assert moved.told["invalid" if "invalid" in moved.told else "unknown"] == {
        "mysql": {"calls": "not one count throughout: counted since 7"}
    }
    assert (moved.totals, moved.parts) == ({"mysql": {"a": 2}}, {"mysql": []})


def test_a_clock_that_was_set_back_makes_no_negative_time() -> None:
    moved = difference(at(10_000, {"a": 1}), at(2, {"a": 3}))

    assert moved.totals == {"mysql": {"a": 2}}
    assert "delta_seconds" not in moved.told
    assert moved.told["clock_went_back_s"] == 9998.0
