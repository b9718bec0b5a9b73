"""Requests that ask for a trace, and readings and spans in a form that tests can compare."""

from __future__ import annotations

from contextlib import contextmanager

from nilometer.model import Distribution
from nilometer.trace import Trace, drain_spans, start_root
from nilometer.trace.trigger import new_trigger

KEY = "a key of at least sixteen bytes"


def trigger_headers():
    """The signed headers of one new request."""
    return dict(new_trigger(KEY).headers)


@contextmanager
def traced_request():
    """A request that is traced while the ``with`` lasts; then its spans are in the list."""
    spans = []
    with start_root("request", request=Trace(bytes(range(16)))):
        yield spans
    spans += drain_spans()


def read(registry):
    """All readings as {name: {dimensions: value}}; of a distribution its number of samples."""
    values = {}
    for reading in registry.collect()[0]:
        value = reading.value
        if isinstance(value, Distribution):
            value = value.samples
        dimensions = ",".join(f"{key}={text}" for key, text in reading.dimensions)
        values.setdefault(reading.name, {})[dimensions] = value
    return values


def shape(spans):
    """Spans as (name, parent's name, status's name), oldest end first."""
    names = {span.span_id: span.name for span in spans}
    return [(span.name, names.get(span.parent_id, ""), span.status.name) for span in spans]
