"""Laws of who told anything, and of series that belong to several parts."""

from __future__ import annotations

import pytest

from nilometer.model import Batch, Kind, Reading, Resource, SpanKind, SpanRecord
from nilometer.store.lake import Lake
from nilometer.store.query import Reader
from nilometer.store.series import Parts

S = 10**9
NOW = 1_800_000_000 * S


def counted(at_s, value, *, since_s=None, name="sold"):
    started_ns = NOW + (at_s - 10 if since_s is None else since_s) * S
    made = Reading(name, Kind.COUNTER, (), value, started_ns, NOW + at_s * S, "1")
    return made if since_s is None else made._replace(cumulative=True)


SPAN = SpanRecord(
    b"t" * 16, b"s" * 8, b"", "a", SpanKind.INTERNAL, NOW - 9 * S, NOW - 8 * S, {}
)
BATCHES = (
    *(Batch(Resource("a", "h", 1, version="2"), (counted(at, 1),)) for at in (-25, -15, -5)),
    Batch(Resource("a", "h", 2), (counted(-900, 1),)),
    Batch(Resource("b", "h", 3), (), (SPAN,)),
    *(
        Batch(Resource("c", "h", 4), (counted(at, n, since_s=-60),))
        for at, n in ((-20, 5), (-10, 9))
    ),
)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    Lake(store, durability="os").append(BATCHES)
    reader = Reader(store)
    yield reader
    reader.close()


def test_each_process_is_told_with_its_last_word_and_how_often_it_speaks(reader):
    found = reader.processes(since_ns=NOW - 3600 * S, until_ns=NOW)

    told = [
        (p.service, p.pid, p.version, (NOW - p.ended_ns) // S, p.interval_ns) for p in found
    ]
    assert told == [
        ("a", 1, "2", 5, 10 * S),
        ("a", 2, "", 900, None),
        ("b", 3, "", 8, None),
        ("c", 4, "", 10, 10 * S),
    ]


def test_the_series_of_several_instruments_are_told_at_once(reader):
    found = reader.several({"sold", "no such"}, since_ns=NOW - 3600 * S, until_ns=NOW)

    assert {name: [one.pid for one in series] for name, series in found.items()} == {
        "sold": [1, 2, 4]
    }


def test_a_series_counts_whole_in_each_part_that_it_belongs_to(reader):
    series = reader.series("sold")
    all_twice = [one.series for one in series] * 2
    parts = Parts([("first",), ("second",)], all_twice, [0] * len(series) + [1] * len(series))

    found = reader.measured("sold", parts, since_ns=NOW - 3600 * S, until_ns=NOW)

    assert [(one.group, one.total) for one in found] == [(("first",), 13), (("second",), 13)]
