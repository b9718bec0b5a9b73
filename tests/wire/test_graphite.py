"""Graphite's two protocols: a point is a line, or a place in a message, whatever it holds."""

from __future__ import annotations

import math
import pickle
import re
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.model import Distribution, Kind, Reading
from nilometer.model.dimensions import dimensions_of
from nilometer.wire import graphite
from nilometer.wire.graphite import (
    MESSAGE_BYTES_MAX,
    PATH_CHARS_MAX,
    POINTS_MAX,
    Point,
    encode,
    lines,
    messages,
)

AT_S = 1_700_000_000
AT_NS = AT_S * 10**9 + 999_999_999


def a_reading(name="orders", value=3, unit="1", kind=Kind.COUNTER, **dimensions) -> Reading:
    return Reading(name, kind, dimensions_of(dimensions), value, AT_NS, AT_NS, unit)


def points(*readings, **options) -> list[Point]:
    return [point for _, own in encode(readings, **options) for point in own]


def test_dimensions_are_tags_or_parts_of_the_name() -> None:
    reading = a_reading(tenant="acme", db="shop")

    assert points(reading, prefix="gate.job1") == [
        Point("gate.job1.orders;db=shop;tenant=acme", 3, AT_S)
    ]
    assert points(reading, tagged=False) == [Point("orders.db.shop.tenant.acme", 3, AT_S)]


def test_dimensions_of_the_process_are_added_and_yield_to_the_reading() -> None:
    found = points(a_reading(host="c1"), dimensions=(("host", "x"), ("service", "shop")))

    assert found == [Point("orders;host=c1;service=shop", 3, AT_S)]


def test_a_timer_goes_out_in_milliseconds_each_part_a_series_with_the_same_tags() -> None:
    boots = Distribution.of([3_000_000, 40_000_000])
    found = points(a_reading("boot", boots, "ns", Kind.DISTRIBUTION, vm="a"))

    values = {p.path: p.value for p in found}
    assert {
        path: values.pop(f"boot.{path};vm=a") for path in ("count", "sum", "min", "max")
    } == {
        "count": 2,
        "sum": 43,
        "min": 3,
        "max": 40,
    }
    assert {round(value) for value in values.values()} <= {3, 40}
    assert set(values) == {f"boot.{q};vm=a" for q in ("p50", "p90", "p99")}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400])
def test_what_graphite_cannot_keep_has_no_point(value) -> None:
    reading = a_reading(value=value)

    assert list(encode([reading])) == [(reading, [])]


def test_a_path_that_would_end_the_connection_is_not_sent() -> None:
    wide = {f"key{n}": "x" * 150 for n in range(100)}

    assert points(a_reading(**wide)) == []


def test_long_values_that_begin_alike_stay_two() -> None:
    one, two = (points(a_reading(digest="SELECT " * 60 + end))[0].path for end in "ab")

    assert one != two
    assert max(len(one), len(two)) <= len("orders;digest=") + 200


names = st.text(max_size=30) | st.text("a.;=~ \n", max_size=8)
LINE = re.compile(
    r"[A-Za-z0-9_.-]+(;[^;!^=\s]+=[^;~\s][^;\s]*)* -?[\d.e+-]+ \d+"
)  # as graphite's documentation has it


@given(
    names, st.dictionaries(names, names, max_size=4), st.integers() | st.floats(-1e300, 1e300)
)
def test_whatever_a_name_holds_it_is_one_line_that_graphite_reads(name, dims, value) -> None:
    reading = Reading(name, Kind.GAUGE, dimensions_of(dims), value, AT_NS, AT_NS)

    for tagged in (True, False):
        text = lines(points(reading, prefix=name, tagged=tagged)).decode("ascii")
        assert text.endswith("\n")
        assert LINE.fullmatch(text[:-1]), text
        path = text.split(" ")[0].split(";")[0]
        assert all(path.split("."))  # no empty folder, none above


def unpacked(message: bytes) -> list:
    (length,) = struct.unpack("!L", message[:4])
    assert length == len(message) - 4
    assert message[4:6] == b"\x80\x02"  # protocol 2
    return pickle.loads(message[4:])


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, PATH_CHARS_MAX), st.integers()),
        max_size=9,
    ),
    st.integers(1, 400),
)
def test_messages_hold_all_points_in_order_and_none_is_too_large(some, times) -> None:
    all_points = [Point(letter * length, value, AT_S) for letter, length, value in some] * times

    found = list(messages(all_points))

    assert max(map(len, found), default=0) <= 2 * MESSAGE_BYTES_MAX  # carbon's own limit
    whole = [one for message in found for one in unpacked(message)]
    assert whole == [(path, (at_s, value)) for path, value, at_s in all_points]
    assert all(len(unpacked(message)) <= POINTS_MAX for message in found)


def test_the_module_says_what_a_line_is() -> None:
    assert graphite.lines([Point("a;b=c", 1.5, AT_S)]) == b"a;b=c 1.5 1700000000\n"
