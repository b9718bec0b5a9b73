"""Calls of integrations: timed and counted, in a traced request with a span; by level."""

from __future__ import annotations

from contextlib import suppress

import pytest

from nilometer.integrations.calls import Call, Calls, Depth
from nilometer.measure import Registry
from nilometer.model import Level, SpanKind, Status
from nilometer.trace import possible
from nilometer.trace.trigger import Triggers
from tests.integrations.integration_kit import KEY, read, traced_request


class StoreError(Exception):
    """What a store raises."""


def calls_of(registry: Registry) -> Calls:
    return Calls("store", "store.call", description="Calls.", registry=registry)


def get(calls: Calls):
    return calls.known("GET") or calls.operation(
        "GET", "GET", {"db.operation.name": "GET"}, {"server.address": "here"}
    )


def test_a_call_is_timed_and_its_error_counted_and_passed_on():
    registry = Registry()
    calls = calls_of(registry)

    with Call(get(calls)) as call:
        assert call.span is None
    with pytest.raises(StoreError), Call(get(calls)):
        raise StoreError

    assert read(registry) == {
        "store.call": {"db.operation.name=GET": 2},
        "store.call.errors": {"db.operation.name=GET,error.type=StoreError": 1},
    }


def test_in_a_traced_request_a_call_has_a_span_that_its_error_ends():
    calls = calls_of(Registry())

    with traced_request() as spans, suppress(StoreError), Call(get(calls)):
        raise StoreError

    [span] = [span for span in spans if span.name == "GET"]
    assert (span.kind, span.status) == (SpanKind.CLIENT, Status.ERROR)
    assert dict(span.attributes) == {
        "db.operation.name": "GET",
        "server.address": "here",
        "error.type": f"{__name__}.StoreError",
    }


def test_deep_down_a_span_says_where_in_the_caller_s_code_it_began():
    registry = Registry()
    calls = calls_of(registry)
    registry.set_level("integrations.store", Level.DEEP)

    with traced_request() as spans, Call(get(calls)):
        pass

    [span] = [span for span in spans if span.name == "GET"]
    told = dict(span.attributes)
    assert told["code.file.path"] == "tests/integrations/test_calls.py"
    assert told["code.function.name"].startswith("test_deep_down")
    assert isinstance(told["code.line.number"], int)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ({}, (True, False)),
        ({"": "off"}, (True, False)),
        ({"": "deep"}, (True, True)),
        ({"integrations": "off"}, (False, False)),
        ({"integrations": "off", "integrations.store": "detail"}, (True, False)),
        ({"integrations.store": "off", "": "off"}, (False, False)),
    ],
)
def test_an_integration_is_as_deep_as_its_level_says_also_later(levels, expected):
    registry = Registry()
    calls = calls_of(registry)
    for prefix, level in levels.items():
        registry.set_level(prefix, level)

    assert (calls.depth.on, calls.depth.deep) == expected


class Switch:
    """Something that follows."""

    on = None


@pytest.fixture
def _nobody_traces(monkeypatch):
    monkeypatch.setattr(possible._Process, "can_trace", False)


@pytest.mark.parametrize(
    "allowing",
    [
        lambda: Triggers([KEY]),
        lambda: Triggers(join=True),
        lambda: Triggers().trust([KEY]),
        lambda: Triggers().begin(),
        lambda: Triggers().handed("", "c2bb0e1b-9a3c-4b43-8d5a-5c9b8c3b1e1f"),
    ],
    ids=["key", "join", "trusted", "begun", "handed"],
)
@pytest.mark.usefixtures("_nobody_traces")
def test_what_is_off_rests_until_a_request_can_be_traced(allowing):
    registry, switch = Registry(), Switch()
    rests, stays = Depth("store", registry, rests=True), Depth("bus", registry)
    rests.switch(switch)
    registry.set_level("", Level.OFF)
    Triggers()

    assert (rests.on, switch.on, stays.on) == (False, False, True)

    allowing()

    assert (rests.on, switch.on, stays.on) == (True, True, True)

    rests.end()

    assert (rests.on, switch.on) == (False, False)


@pytest.mark.parametrize(
    ("levels", "is_on"),
    [
        ({"": "off"}, False),
        ({"": "off", "nilometer": "deep"}, False),
        ({"": "off", "db.client": "off"}, False),
        ({"": "off", "db.client.operation": "basic"}, True),
        ({"": "off", "integrations.store": "basic"}, True),
        ({"integrations.store": "off"}, False),
    ],
)
@pytest.mark.usefixtures("_nobody_traces")
def test_what_feeds_an_instrument_that_is_on_does_not_rest(levels, is_on):
    registry = Registry()
    depth = Depth("store", registry, rests=True)
    for prefix, level in levels.items():
        registry.set_level(prefix, level)

    assert depth.on is is_on
