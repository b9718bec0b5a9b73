"""A sender's span that stands in for one of ours: its children are recorded, it is not."""

from __future__ import annotations

import pytest

from nilometer.trace.current import CURRENT


def test_what_happens_within_a_stand_in_is_the_sender_s_child_and_it_is_not_recorded(twin):
    sender = b"p" * 8
    stands = twin.core.stand_in(twin.request(parent_id=sender))
    for name in ("first", "second"):
        with twin.core.span(name), twin.core.span(f"{name}.inner"):
            pass
    stands.finish()

    records = {record.name: record for record in twin.ring.drain()}
    assert list(records) == ["first.inner", "first", "second.inner", "second"]
    assert [records[name].parent_id for name in ("first", "second")] == [sender, sender]
    assert records["second.inner"].parent_id == records["second"].span_id


def test_of_a_sender_without_a_span_the_children_are_roots_and_headers_name_no_parent(twin):
    stands = twin.core.stand_in(twin.request(trace_id=bytes(range(16))))
    onward = twin.core.headers()
    with twin.core.span("first"):
        pass
    stands.finish()

    [record] = twin.ring.drain()
    assert record.parent_id == b""
    assert onward == {
        "traceparent": f"00-{bytes(range(16)).hex()}-{bytes(range(8, 16)).hex()}-01"
    }


def test_a_stand_in_gives_way_to_what_was_current_before(twin):
    with twin.root() as root:
        stands = twin.core.stand_in(twin.request(trace_id=b"u" * 16))

        assert (twin.core.current_span(), stands.trace_id) == (stands, b"u".hex() * 16)

        stands.finish()
        assert CURRENT.get() is root
        stands.finish()
    assert twin.drawn() == {"root": None}


def test_only_a_request_has_a_sender(core):
    with pytest.raises(TypeError, match=r"stand_in\(\) takes a Trace"):
        core.stand_in("anybody")
