"""A batch written as a line of JSON comes back as it was."""

import json
from math import isnan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.errors import WireError
from nilometer.model import Batch, Distribution, Event, Kind, Reading, Resource
from nilometer.wire import jsonlines
from tests.wire.batches import any_text, batches


@given(batches(any_text))
def test_decode_undoes_encode(drawn):
    batch = drawn._replace(rejected=())  # which only a collector has, and keeps

    line = jsonlines.encode(batch)

    assert jsonlines.decode(line) == batch
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert line.isascii()


@pytest.mark.parametrize("value", [1, 1.0, True, "1", 2**70, -(2**90), float("inf"), 1e308])
def test_a_value_keeps_its_type(value):
    batch = Batch(Resource(), events=(Event("e", 1, {"k": value}),))

    [event] = jsonlines.decode(jsonlines.encode(batch)).events

    assert event.attributes == {"k": value}
    assert type(event.attributes["k"]) is type(value)


def test_whole_numbers_that_other_readers_would_round_are_told_as_text():
    batch = Batch(Resource(), events=(Event("e", 1, {"large": 2**63, "huge": 10**5000}),))
    line = jsonlines.encode(batch)

    [event] = json.loads(line)["events"]
    assert event["attributes"]["large"] == {"int": "0x8000000000000000"}
    assert jsonlines.decode(line) == batch


def test_not_a_number_stays_so_and_is_valid_json():
    batch = Batch(Resource(), (Reading("g", Kind.GAUGE, (), float("nan"), 0, 1),))
    line = jsonlines.encode(batch)

    json.loads(line, parse_constant=pytest.fail)
    assert isnan(jsonlines.decode(line).readings[0].value)


def test_values_of_kinds_that_no_attribute_should_have_become_text():
    class Unprintable:
        def __str__(self):
            raise RuntimeError

    odd = {"none": None, "list": [1], "bytes": b"\xff", "bad": Unprintable(), 7: "key"}
    batch = Batch(Resource(), events=(Event("e", 1, odd),))

    [event] = jsonlines.decode(jsonlines.encode(batch)).events

    assert event.attributes == {
        "none": "None",
        "list": "[1]",
        "bytes": "b'\\xff'",
        "bad": "<Unprintable>",
        "7": "key",
    }


def test_the_form_is_what_the_documentation_shows():
    reading = Reading(
        "boot", Kind.DISTRIBUTION, (("host", "c1"),), Distribution.of([3, 1000]), 5, 9, "ns"
    )
    batch = Batch(Resource("compute", pid=12), (reading,), (), (Event("e", 7, {"n": 2}),))

    assert json.loads(jsonlines.encode(batch)) == {
        "nilometer": 1,
        "resource": {"service": "compute", "pid": 12},
        "readings": [
            {
                "name": "boot",
                "kind": "distribution",
                "dimensions": [["host", "c1"]],
                "value": {
                    "samples": 2,
                    "total": 1003,
                    "minimum": 3,
                    "maximum": 1000,
                    "buckets": [[50, 1], [318, 1]],
                },
                "started_ns": 5,
                "ended_ns": 9,
                "unit": "ns",
            }
        ],
        "events": [{"name": "e", "at_ns": 7, "attributes": {"n": 2}}],
    }


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "json"),
        (b"\xff", "json"),
        (b"[" * 100_000, "json"),
        (b'{"nilometer":NaN}', "json"),
        (b'{"nilometer":' + b"9" * 5000 + b"}", "json"),
        (b"[]", "field"),
        (b'{"nilometer":2,"resource":{}}', "field"),
        (b'{"nilometer":1,"resource":{"pid":true}}', "field"),
        (b'{"nilometer":1,"resource":{},"readings":{}}', "field"),
        (b'{"nilometer":1,"resource":{},"events":[{"name":1}]}', "field"),
        (
            b'{"nilometer":1,"resource":{},"events":[{"name":"","at_ns":1.5,"attributes":{}}]}',
            "field",
        ),
    ],
)
def test_what_is_no_batch_is_refused_with_a_reason(line, reason):
    with pytest.raises(WireError) as refused:
        jsonlines.decode(line)

    assert refused.value.reason == reason
    assert "set_int_max" not in str(refused.value)


def outcome(line):
    try:
        return type(jsonlines.decode(line))
    except WireError as error:
        return error.reason


@given(st.binary(max_size=200))
def test_any_bytes_are_a_batch_or_a_wire_error(line):
    assert outcome(line) in {Batch, "json", "field"}


@given(batches(), st.data())
def test_a_mutated_line_is_a_batch_or_a_wire_error(batch, data):
    line = bytearray(jsonlines.encode(batch))
    for _ in range(3):
        at = data.draw(st.integers(0, len(line) - 1))
        line[at] = data.draw(st.sampled_from(list(b'0a"[]{},:-')))

    assert outcome(bytes(line)) in {Batch, "json", "field"}
