"""Metric lines are one line each, readable, and read back exactly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.errors import WireError
from nilometer.model import (
    Batch,
    Distribution,
    Event,
    Kind,
    Reading,
    Resource,
    SpanKind,
    SpanRecord,
    Status,
)
from nilometer.wire import logline
from tests.wire.batches import any_text, batches

WHO = Resource("compute", "c1", 12, attributes=(("deploy", 7),))
TIMES = "started_ns=1 ended_ns=2"
END = " | service=compute host=c1 pid=12 .deploy=7"


def lines_of(*, readings=(), spans=(), events=()):
    return logline.encode(Batch(WHO, readings, spans, events))


def test_a_counter_is_a_line():
    reading = Reading(
        "api.requests", Kind.COUNTER, (("code", "200"), ("tenant", "a b")), 3, 5, 9, "1"
    )

    assert lines_of(readings=(reading,)) == [
        'counter api.requests value=3 unit=1 started_ns=5 ended_ns=9 | code=200 tenant="a b"'
        + END
    ]


def test_a_timer_tells_what_people_ask_for_and_what_machines_need():
    reading = Reading("boot", Kind.DISTRIBUTION, (), Distribution.of([3, 1000]), 5, 9, "ns")

    assert lines_of(readings=(reading,)) == [
        "distribution boot samples=2 sum=1003 min=3 max=1000 avg=501.5 p50=3 p99=991.2"
        " scale=5 buckets=50:1,318:1 unit=ns started_ns=5 ended_ns=9 |" + END
    ]


def test_an_event_and_a_span_are_lines():
    event = Event(
        "vm.scheduled", 7, {"host": "c1", "attempt": 2, "zip": "0042"}, body="two words"
    )
    span = SpanRecord(
        b"t" * 16, b"s" * 8, b"", "GET /x", SpanKind.SERVER, 10, 1_500_010, {"ok": True},
        Status.ERROR, "no",
    )  # fmt: skip

    assert lines_of(spans=(span,), events=(event,)) == [
        'span "GET /x" trace='
        + "74" * 16
        + " span="
        + "73" * 8
        + " kind=server duration_ms=1.5"
        " status=error message=no started_ns=10 ended_ns=1500010 | ok=true" + END,
        'event vm.scheduled at_ns=7 severity=9 body="two words" | host=c1 attempt=2 zip="0042"'
        + END,
    ]


def test_a_line_break_never_breaks_a_line_whoever_reads_it():
    hostile = "a\nb\r\u2028c\x85\x0b\x00\ud800 | x=1"
    event = Event(hostile, 7, {hostile: hostile}, body=hostile)

    [line] = lines_of(events=(event,))

    assert line.splitlines() == [line]
    assert line.encode()
    assert logline.decode(line) == Batch(WHO, events=(event,))


@pytest.mark.parametrize(
    "value",
    [2, 2.0, "2", True, "true", "nan", float("inf"), -(2**80), "0x10", "", " ", "1e5", 1e22],
)
def test_a_value_keeps_its_type(value):
    [line] = lines_of(events=(Event("e", 7, {"k": value}),))

    [event] = logline.decode(line).events
    assert (event.attributes["k"], type(event.attributes["k"])) == (value, type(value))


@given(batches(any_text))
def test_decode_undoes_encode(batch):
    rows = [logline.decode(line) for line in logline.encode(batch)]

    assert all(row.resource == batch.resource for row in rows)
    assert tuple(r for row in rows for r in row.readings) == batch.readings
    assert tuple(s for row in rows for s in row.spans) == batch.spans
    assert tuple(e for row in rows for e in row.events) == batch.events


@pytest.mark.parametrize(
    "line",
    [
        "",
        "counter",
        "counter n",
        "counter n value=3",
        f"nothing n value=3 {TIMES} | |",
        f"counter n value=x {TIMES} | |",
        f"counter n value=true {TIMES} | |",
        f"counter n value= {TIMES} | |",
        f'counter "n value=3 {TIMES} | |',
        f"counter n value={'9' * 5000} {TIMES} | |",
        "event e at_ns=1 severity=9 trace=zz | |",
        "span s trace= | |",
        f'span s trace=00 span=00 kind=server status=ok {TIMES} events="{"[" * 9999}" | |',
    ],
    ids=range(13),
)
def test_what_is_no_metric_line_is_refused(line):
    with pytest.raises(WireError) as refused:
        logline.decode(line)

    assert refused.value.reason == "log-line"


def outcome(line):
    try:
        return type(logline.decode(line))
    except WireError as error:
        return error.reason


@given(st.text(max_size=200))
def test_any_text_is_a_batch_or_a_wire_error(line):
    assert outcome(line) in {Batch, "log-line"}


@given(batches(), st.data())
def test_a_mutated_line_is_a_batch_or_a_wire_error(batch, data):
    for line in logline.encode(batch):
        at = data.draw(st.integers(0, len(line)))
        piece = data.draw(st.sampled_from(['"', "=", "|", " ", "\\", "x", "", "[", "9"]))

        assert outcome(line[:at] + piece + line[at + 1 :]) in {Batch, "log-line"}
