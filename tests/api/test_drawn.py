"""Drawing a trace takes work that grows as the trace does, in every format."""

import sys

import pytest

from nilometer.api.traces import FORMATS, drawn
from nilometer.model import Resource, SpanKind, SpanRecord

TRACE = bytes(range(16))
BEGAN_NS = 1_700_000_000_000_000_000
SPANS = 600


def span(number, parent, begins_ns, ends_ns):
    above = parent.to_bytes(8) if parent else b""
    began_ns, ended_ns = BEGAN_NS + begins_ns, BEGAN_NS + ends_ns
    kind = SpanKind.INTERNAL
    return SpanRecord(TRACE, number.to_bytes(8), above, "f", kind, began_ns, ended_ns, {})


def in_one_lane(spans):
    inner = [span(n, 1, 2 * n, 2 * n + 1) for n in range(2, spans + 1)]
    return [(Resource("api"), one) for one in [span(1, 0, 0, 3 * spans), *inner]]


def in_many_lanes(spans):
    return [(Resource("api"), span(n, 0, n, 3 * spans)) for n in range(1, spans + 1)]


def each_within_the_last(spans):
    return [(Resource("api"), span(n, n - 1, n, 3 * spans - n)) for n in range(1, spans + 1)]


def of_many_processes(spans):
    return [(Resource("api", pid=n), one) for n, (_, one) in enumerate(in_one_lane(spans))]


class OneTrace:
    """Stands in for the reader, with one trace."""

    def __init__(self, pairs):
        self._pairs = pairs

    def trace(self, _, **__):
        return list(self._pairs)

    def trace_points(self, _):
        return []


def calls_for(pairs, form):
    """How many functions are called, and how often generators go on, while it is drawn."""
    calls = 0

    def count(_frame, event, _what):
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        drawn(OneTrace(pairs), TRACE.hex(), form)
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "shape", [in_one_lane, in_many_lanes, each_within_the_last, of_many_processes]
)
def test_twice_as_many_spans_take_twice_the_work(form, shape):
    once, twice = (calls_for(shape(spans), form) for spans in (SPANS, 2 * SPANS))

    assert once > SPANS
    assert twice < 2.3 * once
