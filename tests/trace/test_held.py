"""Laws of what spans hold in a ring that counts bytes, as the flight recorder's; both twins."""

import datetime as dt
import enum
import sys
import threading
import tracemalloc
import uuid
import zoneinfo
from decimal import Decimal

import pytest

from nilometer.model import Status
from nilometer.trace.held import ANY_BYTES, held, held_attributes
from nilometer.trace.limits import (
    ATTRIBUTE_BYTES,
    EVENT_BYTES,
    SPAN_BYTES,
    TEXT_CHARS_MAX,
)
from tests.trace.conftest import blocks_left_by

ROOM = 10**6


class Foreign:
    """What nobody may touch where a span ends: whoever ends it may have its lock."""

    def touched(self, *args):
        raise AssertionError("code of the application's ran")

    __repr__ = __str__ = __eq__ = __lt__ = __hash__ = __len__ = __iter__ = touched


class Level(enum.StrEnum):
    HIGH = "high"


def used_by(twin, act, ring=None):
    """The bytes that a span takes of its ring, and its record."""
    ring = ring or twin.core.Ring(9, ROOM)
    with twin.root(ring=ring) as root:
        before = ring.bytes_left
        act()
        taken = before - ring.bytes_left
    ring_of_all = twin.core.Ring()
    ring.close(ring_of_all)
    assert root.recording
    return taken, ring_of_all.drain()[0]


@pytest.mark.parametrize(
    ("value", "text_bytes", "read"),
    [
        (1, 0, 1),
        (-(2**63), 0, -(2**63)),
        (1.5, 0, 1.5),
        (True, 0, True),
        (None, 0, "None"),
        ("x" * 10, 10, "x" * 10),
        ("\xe4" * 10, 10, "\xe4" * 10),
        ("\u0100" * 10, 20, "\u0100" * 10),
        ("\U0001f600" * 10, 40, "\U0001f600" * 10),
        (2**63, 19, str(2**63)),
        ("x" * 10**6, TEXT_CHARS_MAX, "x" * (TEXT_CHARS_MAX - 3) + "..."),
        (Level.HIGH, 4, "high"),
        ([1, "x"], 8, "[1, 'x']"),
        ([Foreign()], 17, "<list of 1 items>"),
        ({Foreign: 1}, 17, "<dict of 1 items>"),
        (b"x" * 10**6, 24, "<bytes of 1000000 items>"),
        (Decimal("1.5"), 14, "Decimal('1.5')"),
    ],
)
def test_a_span_takes_the_bytes_of_what_is_read_of_it_later(twin, value, text_bytes, read):
    def once():
        with twin.core.span("ab", key=value):
            pass

    taken, record = used_by(twin, once)

    assert taken == SPAN_BYTES + len("ab") + ATTRIBUTE_BYTES + len("key") + text_bytes
    assert record.attributes == {"key": read}


def test_values_set_later_events_and_messages_take_their_bytes_too(twin):
    def once():
        with twin.core.span("s", a=1) as span:
            span.set_attributes({"b": "xx", "c": "\xe4" * 5_000})
            span.add_event("happened", of=[1])
            span.add_event("e" * 1_000, ok="x")
            span.set_status(Status.ERROR, "m" * 100)

    taken, record = used_by(twin, once)

    assert taken == (
        (SPAN_BYTES + len("s") + 100)
        + (3 * (ATTRIBUTE_BYTES + 1) + 2 + (TEXT_CHARS_MAX))
        + (EVENT_BYTES + len("happened") + ATTRIBUTE_BYTES + len("of") + len("[1]"))
        + (EVENT_BYTES + 256 + ATTRIBUTE_BYTES + len("ok") + 1)
    )
    assert [len(one.name) for one in record.events] == [8, 256]
    assert (record.status_message, dict(record.events[0].attributes)) == (
        "m" * 100,
        {"of": "[1]"},
    )


def test_long_names_are_cut_where_the_span_ends(twin):
    def once():
        with twin.core.span("n" * 10**6, **{"k" * 10**6: 1}):
            pass

    taken, record = used_by(twin, once)

    assert taken == SPAN_BYTES + 256 + ATTRIBUTE_BYTES + 256
    assert (len(record.name), [len(key) for key in record.attributes]) == (256, [256])


def test_nobody_s_code_runs_where_a_span_ends(twin):
    def once():
        with twin.core.span(Foreign(), a=Foreign(), b={"x": [Foreign()]}) as span:
            span.set_attribute("c", (1, Foreign()))
            span.add_event(Foreign(), d=Foreign())
            span.set_status(Status.ERROR, Foreign())

    _, record = used_by(twin, once)
    its_class = f"<{__name__}.Foreign>"

    assert (record.name, record.status_message, record.events[0].name) == (its_class,) * 3
    assert record.attributes == {
        "a": its_class,
        "b": "<dict of 1 items>",
        "c": "<tuple of 2 items>",
    }
    assert record.events[0].attributes == {"d": its_class}


class Zone(dt.tzinfo):
    def utcoffset(self, when):
        return dt.timedelta(0)

    __repr__ = Foreign.touched


class Words(str):
    __slots__ = ()
    __repr__ = __format__ = __str__ = Foreign.touched


class Meta(type):
    """Of classes that run code whatever they are asked for."""

    def touched(cls, *_):
        raise AssertionError("code of the application's ran")

    __hash__ = __eq__ = touched
    __module__ = __name__ = property(touched)


class Hidden(metaclass=Meta):
    pass


class Decimal2:
    __repr__ = Foreign.touched


Decimal2.__module__, Decimal2.__qualname__ = "decimal", "Decimal"
NOON = dt.datetime(2026, 1, 2, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (NOON.replace(tzinfo=Zone()), "<datetime.datetime>"),
        (
            NOON.replace(tzinfo=dt.timezone(dt.timedelta(0), Words("x"))),
            "<datetime.datetime>",
        ),
        (
            NOON.replace(tzinfo=dt.UTC),
            "datetime.datetime(2026, 1, 2, 12, 0, tzinfo=datetime.timezone.utc)",
        ),
        (
            NOON.replace(tzinfo=zoneinfo.ZoneInfo("UTC")),
            "datetime.datetime(2026, 1, 2, 12, 0, tzinfo=zoneinfo.ZoneInfo(key='UTC'))",
        ),
        (Decimal2(), "<decimal.Decimal>"),
        (Hidden(), f"<{__name__}.Hidden>"),
    ],
)
def test_nor_does_code_of_zones_of_names_or_of_metaclasses(twin, value, text):
    def once():
        with twin.core.span("s", value=value):
            pass

    assert used_by(twin, once)[1].attributes == {"value": text}


def test_a_name_that_is_set_after_the_end_is_not_held(twin):
    spans = []

    def once():
        with twin.core.span("s") as span:
            spans.append(span)
        span.name = "n" * 10**6

    taken, record = used_by(twin, once)

    assert (taken, record.name, spans[0].name) == (SPAN_BYTES + 1, "s", "s")


def test_what_changes_after_its_span_has_ended_is_held_as_it_was(twin):
    rows = [1]

    def once():
        with twin.core.span("s", rows=rows) as span:
            rows.append(2)
            span.add_event("e", rows=rows)
        rows.extend(range(10**5))

    _, record = used_by(twin, once)

    assert record.attributes == record.events[0].attributes == {"rows": "[1, 2]"}


def test_what_a_span_was_given_is_let_go_of_where_it_ends(twin):
    """Memory that nobody counts: an object may hold anything."""

    class Large:
        alive = 0

        def __init__(self):
            Large.alive += 1

        def __del__(self):
            Large.alive -= 1

    ring = twin.core.Ring(9, ROOM)
    with twin.root(ring=ring):
        with twin.core.span("s", one=Large(), all_=[Large()]):
            assert Large.alive == 2

        assert (Large.alive, len(ring)) == (0, 1)


def test_a_span_without_room_is_not_held_and_counted(twin):
    ring = twin.core.Ring(9, 2 * (SPAN_BYTES + 1))
    with twin.root(ring=ring):
        for name in "abc":
            with twin.core.span(name):
                pass
        left = ring.bytes_left
        with twin.core.span("d", text="x"):
            pass
    ring.close(twin.ring)

    assert left == 0
    assert [one.name for one in twin.ring.drain()] == ["a", "b", "root"]
    assert twin.ring.take_losses() == {("spans", "budget_bytes"): 2}


def test_where_bytes_are_short_the_request_asks_for_more_until_nothing_comes(twin):
    ring = twin.core.Ring(9, 1)
    asked = []

    def more():
        asked.append(ring.bytes_left)
        ring.grow(9, [100, 200, 0][len(asked) - 1])
        return True

    request = twin.request(ring=ring)
    request.more = more
    with twin.core.start_root("root", request=request):
        with twin.core.span("a"):
            pass
        with twin.core.span("b"):
            pass

    request.more = None
    assert asked == [1, 101, 301 - 257]
    assert ring.take_losses() == {("spans", "budget_bytes"): 1}
    assert len(ring) == 2


def test_who_is_asked_for_bytes_and_raises_refuses(twin):
    ring = twin.core.Ring(9, 1)
    request = twin.request(ring=ring)
    request.more = lambda: 1 / 0
    with twin.core.start_root("root", request=request), twin.core.span("a"):
        pass

    assert ring.take_losses() == {("spans", "budget_bytes"): 1}


def test_a_ring_that_is_closed_while_it_asks_counts_no_more(twin):
    ring = twin.core.Ring(9, 1)
    request = twin.request(ring=ring)
    request.more = lambda: ring.close(twin.ring) is None
    with twin.core.start_root("root", request=request):
        with twin.core.span("a"):
            pass
        ring.grow(9, 9)
        with twin.core.span("b", rows=[1]):
            pass

    assert ring.bytes_left == ANY_BYTES
    assert [one.name for one in twin.ring.drain()] == ["a", "b", "root"]


def test_a_ring_that_counts_no_bytes_holds_values_as_they_were_set(twin):
    """A traced request pays nothing for what the flight recorder needs."""
    rows = []
    with twin.root():
        with twin.core.span("s", rows=rows):
            pass
        rows.append(1)

    assert twin.ring.bytes_left == ANY_BYTES == sys.maxsize
    assert twin.ring.drain()[0].attributes == {"rows": "[1]"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (dt.date(2026, 1, 2), "datetime.date(2026, 1, 2)"),
        (uuid.UUID(int=1), "UUID('00000000-0000-0000-0000-000000000001')"),
        ({"a": {"b": (1, None)}}, "{'a': {'b': (1, None)}}"),
        (list(range(1_001)), "<list of 1001 items>"),
        ([[0] * 600, [0] * 600], "<list of 2 items>"),
        (frozenset("a"), "frozenset({'a'})"),
    ],
)
def test_known_things_are_told_and_others_by_class_or_size(value, text):
    assert held(value) == text


def test_a_container_that_holds_itself_is_told_by_its_size():
    circle = []
    circle.append(circle)

    assert held(circle) == "<list of 1 items>"


def test_names_that_are_no_plain_text_become_some():
    assert held_attributes({Level.HIGH: 1, "k" * 300: 2}) == {
        "high": 1,
        "k" * 253 + "...": 2,
    }


def bare(span, i):
    pass


def texts(span, i):
    span.set_attributes(
        {"number": i, "text": f"{i:0500d}", "rows": [i] * 9, "wide": "\u0100" * i}
    )


def events(span, i):
    span.add_event("e", i=i)
    span.add_event("e", i=i, text=f"{i}")


def many(span, i):
    for number in range(60):
        span.set_attribute(f"key {number}", i + 0.5)


def fill_with(twin, ring, act, number):
    with twin.root(ring=ring, spans_max=10**6) as root:
        for i in range(number):
            with twin.core.span("s", number=i) as span:
                act(span, i)
    return root


@pytest.mark.parametrize("act", [bare, texts, events, many])
def test_what_is_held_takes_no_more_than_the_bytes_that_were_counted(twin, act):
    """Of the Python twin's larger spans at most half as much again."""
    ring = twin.core.Ring(1_000, 10**9)
    root = fill_with(twin, twin.core.Ring(9, 10**9), act, 1)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        root = fill_with(twin, ring, act, 500)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    counted = 10**9 - ring.bytes_left

    assert taken < counted * (1.5 if twin.core.__name__.endswith("pure") else 1.1)
    assert root.recording


def test_threads_that_end_spans_count_all_of_them(twin):
    ring = twin.core.Ring(10_000, 10**9)
    request = twin.request(ring=ring, spans_max=10**6)

    def work():
        with twin.core.start_root("root", request=request):
            for i in range(300):
                with twin.core.span("s", rows=[i]):
                    pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    of_numbers = sum(len(f"[{i}]") for i in range(300))

    assert len(ring) == 4 * 301
    assert 10**9 - ring.bytes_left == 4 * (
        300 * (SPAN_BYTES + 1 + ATTRIBUTE_BYTES + len("rows")) + of_numbers
    )


def test_spans_that_were_held_leave_no_memory_behind(twin):
    def once():
        for room in (10**6, 3_000):
            ring = twin.core.Ring(64, room)
            fill_with(twin, ring, texts, 20)
            ring.close(None)

    assert blocks_left_by(once) <= 20


def test_an_interrupt_while_a_span_is_weighed_reaches_the_application(twin, monkeypatch):
    ring = twin.core.Ring(9, ROOM)
    request = twin.request(ring=ring)

    class Odd(list):
        pass

    monkeypatch.setattr("nilometer.trace.held._SIMPLE", Interrupting())
    with twin.core.start_root("root", request=request) as root:
        with pytest.raises(KeyboardInterrupt), twin.core.span("s", odd=Odd()):
            pass
        assert twin.core.current_span() is root

    assert len(ring) == 1


class Interrupting:
    """Ctrl-C, just where a value is looked at."""

    def __contains__(self, kind):
        raise KeyboardInterrupt
