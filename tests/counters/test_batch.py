"""Counters as readings: of a difference its moves, of a snapshot what servers count."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.counters.batch import batch_of, batch_of_run
from nilometer.counters.document import parse
from nilometer.model import Batch, Event, Kind, Reading, Resource
from nilometer.model.run import BackendRead, Count, Run
from nilometer.wire import graphite, otlp, statsd

NOW_NS = 1_700_000_123 * 10**9
END_NS = 1_700_000_000 * 10**9
META = {"unixtime": 1.7e9, "delta_seconds": 12.5, "prefix": "gate.job1"}


def batch(value: dict, **options):
    return batch_of(parse(value, origin="test"), wall_ns=NOW_NS, **options)


def test_of_a_difference_go_the_moves_and_how_long_it_took() -> None:
    made = batch(
        {
            "__meta__": {**META, "backends": {"mysql": {"gauges": ["Threads"]}}},
            "mysql": {"Queries": 9, "Threads": -2},
            "queues": {"reply_publish": 3},
        }
    )

    span = (END_NS - 12_500_000_000, END_NS)
    assert made == (
        Batch(
            Resource("counters"),
            (
                Reading("gate.job1.testrun", Kind.GAUGE, (), 12_500_000_000, *span, "ns"),
                Reading("gate.job1.mysql.Queries", Kind.COUNTER, (), 9, *span, "1"),
                Reading("gate.job1.mysql.Threads", Kind.GAUGE, (), -2, *span, "1"),
                Reading("gate.job1.queues.reply_publish", Kind.COUNTER, (), 3, *span, "1"),
            ),
        ),
        (),
    )


def test_of_a_snapshot_goes_what_servers_count_since_they_started() -> None:
    made = batch({"__meta__": {"unixtime": 1.7e9}, "mysql": {"Queries": 9}})

    [reading] = made.batch.readings
    assert reading == Reading(
        "mysql.Queries", Kind.COUNTER, (), 9, 0, END_NS, "1", cumulative=True
    )


@pytest.mark.parametrize("odd", [{"clock_went_back_s": 9998.4}, {"delta_seconds": -9998.4}])
def test_a_difference_over_a_clock_that_was_set_back_is_of_moves_without_a_time(odd) -> None:
    made = batch({"__meta__": {"unixtime": 1.7e9, **odd}, "mysql": {"Queries": 9}})

    [reading] = made.batch.readings
    assert reading == Reading("mysql.Queries", Kind.COUNTER, (), 9, END_NS, END_NS, "1")


def test_a_document_without_a_time_moved_until_now() -> None:
    [reading] = batch({"mysql": {"Queries": 9}}).batch.readings

    assert reading == Reading("mysql.Queries", Kind.COUNTER, (), 9, NOW_NS, NOW_NS, "1")


def test_of_two_backends_of_a_kind_each_says_where_it_is() -> None:
    made = batch({"mysql@a:3306": {"Queries": 1}, "mysql@b:3306": {"Queries": 2}})

    told = [(r.name, r.dimensions, r.value) for r in made.batch.readings]
    assert told == [
        ("mysql.Queries", (("instance", "a:3306"),), 1),
        ("mysql.Queries", (("instance", "b:3306"),), 2),
    ]


def test_parts_go_only_if_asked_for() -> None:
    value = {
        "mysql": {"calls": 5},
        "__parts__": {
            "mysql": [{"counter": "calls", "dimensions": {"db": "shop"}, "value": 5}]
        },
    }

    assert [r.dimensions for r in batch(value).batch.readings] == [()]
    assert [r.dimensions for r in batch(value, parts=True).batch.readings] == [
        (),
        (("db", "shop"),),
    ]


def test_what_went_back_or_is_no_number_is_left_out_and_named() -> None:
    made = batch({"mysql": {"a": -4, "b": float("nan"), "c": 10**400, "d": 2**64}})

    assert [(r.name, r.value) for r in made.batch.readings] == [("mysql.d", float(2**64))]
    assert sorted(made.left_out) == [
        "mysql.a: it went back by 4",
        "mysql.b: it is not a number",
        "mysql.c: its value has too many digits",
    ]


numbers = st.integers() | st.floats() | st.booleans() | st.none() | st.text(max_size=3)
json_like = st.recursive(
    numbers,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
KEYS = ("unixtime", "delta_seconds", "prefix", "backends", "gauges")


@given(
    st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), json_like, max_size=5),
    st.dictionaries(st.text(max_size=5), st.dictionaries(st.text(max_size=5), numbers)),
)
def test_any_document_becomes_a_batch_that_every_protocol_can_say(meta, backends) -> None:
    document = (
        parse(json.loads(json.dumps({**backends, "__meta__": meta})), origin="test")
        if not {"__meta__", "__parts__"} & set(backends)
        else parse({}, origin="test")
    )

    made, _ = batch_of(document, wall_ns=NOW_NS, parts=True)

    assert all(r.value >= 0 for r in made.readings if r.kind is Kind.COUNTER)
    otlp.encode_metrics(made)
    statsd.encode(made.readings, statsd.Dialect.ETSY)
    list(graphite.encode(made.readings))


A_RUN = Run(
    "r1",
    "unit",
    END_NS - 5,
    END_NS,
    5,
    (
        Count("mysql", "calls", 7, unit="1"),
        Count("mysql", "calls", 7, (("digest", "SELECT 1"),)),
        Count("mysql", "level", -1, kind=Kind.GAUGE),
        Count("mysql", "gone", None, because="vanished"),
    ),
    (BackendRead("mysql", version="10.11"), BackendRead("redis", because="nobody listens")),
    "set",
    3,
    "abc",
    "main",
    "c1",
)


def test_of_a_run_goes_what_it_moved_and_an_event_that_tells_the_run() -> None:
    made = batch_of_run(A_RUN)

    span = (END_NS - 5, END_NS)
    assert made.left_out == ("redis: nobody listens", "mysql.gone: vanished")
    assert made.batch == Batch(
        Resource("unit", "c1", version="abc", attributes=(("vcs.ref.head.name", "main"),)),
        (
            Reading("testrun", Kind.GAUGE, (), 5, *span, "ns"),
            Reading("mysql.calls", Kind.COUNTER, (), 7, *span, "1"),
            Reading("mysql.level", Kind.GAUGE, (), -1, *span, "1"),
        ),
        events=(
            Event(
                "measure.run",
                END_NS,
                {
                    "run.id": "r1",
                    "suite": "unit",
                    "test_set": "set",
                    "work": 3,
                    "mysql.version": "10.11",
                    "exit_status": 0,
                },
                body="run r1 of unit",
            ),
        ),
    )


@pytest.mark.parametrize("parts", [False, True])
def test_parts_of_a_run_go_only_if_asked_for(parts) -> None:
    found = [r for r in batch_of_run(A_RUN, parts=parts).batch.readings if r.dimensions]

    assert [r.dimensions for r in found] == [(("digest", "SELECT 1"),)] * parts
