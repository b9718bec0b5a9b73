"""Work handed over by its ids in code: a thread, a job, a message of an RPC bus."""

from __future__ import annotations

import pytest

from nilometer.errors import ConfigError
from nilometer.measure import REGISTRY
from nilometer.model.identity import uuid_text
from nilometer.trace import Trace
from nilometer.trace.signing import Key, sign_osprofiler
from nilometer.trace.trigger import KEYS_MAX, Triggers, new_trigger

BASE = "f09d33fd-1234-4f5e-8d3e-0b8e6b0a9c11"
PARENT = "f09d33fd-1234-4f5e-b6d7-0c9d1e2f3a4b"  # the span b6d70c9d1e2f3a4b of it
SPAN = "b6d70c9d1e2f3a4b"


@pytest.fixture
def counted():
    REGISTRY.collect()

    def count():
        found = [r for r in REGISTRY.collect()[0] if r.name == "nilometer.trigger"]
        return {dict(r.dimensions)["result"]: r.value for r in found if r.value}

    return count


def sender(**options):
    """A door with the key K1, and what it accepted."""
    triggers = Triggers(["K1"], **options)
    return triggers, triggers.handed("K1", BASE, own=True)


def test_what_is_handed_on_is_a_signature_that_another_process_verifies_once(counted):
    triggers, trace = sender()
    told = triggers.to_hand_on(trace, SPAN)
    receiver = Triggers(["K0", "K1"])

    first, again = (receiver.handed(told, BASE, PARENT) for _ in range(2))

    assert "K1" not in told
    assert (first.trace_id.hex(), first.parent_id.hex()) == (BASE.replace("-", ""), SPAN)
    assert not isinstance(again, Trace)
    assert counted() == {"accepted": 2, "replayed": 1, "joined": 1}


def test_a_signature_vouches_for_its_own_ids_only(counted):
    triggers, trace = sender()
    told = triggers.to_hand_on(trace, SPAN)

    other = Triggers(["K1"]).handed(told, BASE, PARENT.replace("4b", "4c"))

    assert not isinstance(other, Trace)
    assert counted()["bad_signature"] == 1


def test_a_key_in_clear_is_believed_on_request_only(counted):
    assert Triggers(["K1"]).handed("K1", BASE, PARENT) is None
    trace = Triggers(["K1"], clear_key=True).handed("K1", BASE, PARENT)

    assert (trace.trace_id.hex(), trace.parent_id.hex()) == (BASE.replace("-", ""), SPAN)
    assert counted() == {"clear_key": 1, "accepted": 1}


def test_a_key_in_clear_is_sent_on_request_only():
    triggers, trace = sender(clear_key=True)

    assert triggers.to_hand_on(trace, SPAN) == "K1"


@pytest.mark.parametrize("key", ["K2", "", "nilo=1;1;2;3", "nilo="])
def test_where_keys_are_configured_no_other_opens_a_trace(key):
    assert not isinstance(Triggers(["K1"], clear_key=True).handed(key, BASE), Trace)
    assert not isinstance(Triggers(["K1"], clear_key=True).handed(key, BASE, PARENT), Trace)


def test_a_client_without_keys_of_its_own_signs_with_the_one_it_was_told():
    trace = Triggers().handed("told", "b", "p")

    sent = trace.signer.headers(trace.trace_id.hex(), SPAN)
    parent_id = uuid_text(trace.trace_id.hex()[:16] + SPAN)
    theirs = sign_osprofiler("b", parent_id, Key(b"told"))
    assert (sent["X-Trace-Info"], sent["X-Trace-HMAC"]) == theirs


@pytest.mark.parametrize("clear_key", [False, True])
@pytest.mark.parametrize("key", ["SECRET_KEY", "K1", ""])
def test_where_nobody_is_trusted_any_more_no_key_opens_a_trace(counted, key, clear_key):
    door = Triggers(clear_key=clear_key)
    door.trust([])  # as `[profiler] enabled = false` does

    assert [door.handed(key, BASE, parent) for parent in (PARENT, "")] == [None, None]
    assert counted() == {"bad_signature": 2}


def test_a_client_without_keys_keeps_to_the_budget(counted):
    door = Triggers(requests_per_second=1)

    traced = [door.handed("told", BASE, PARENT) for _ in range(3)]

    assert [isinstance(one, Trace) for one in traced] == [True, False, False]
    assert counted() == {"budget_requests": 2}


def test_keys_that_were_taken_away_open_nothing_for_messages(counted):
    door = Triggers(clear_key=True)
    door.trust(["K1"])
    assert isinstance(door.handed("K1", BASE, PARENT), Trace)

    door.trust([])

    assert door.handed("K1", BASE, PARENT) is None


def test_what_is_handed_over_keeps_to_the_budget(counted):
    door = Triggers(["K1"], requests_per_second=1, clear_key=True)

    traced = [door.handed("K1", BASE, PARENT) for _ in range(3)]

    assert [isinstance(one, Trace) for one in traced] == [True, False, False]
    assert counted() == {"accepted": 1, "budget_requests": 2}


def test_keys_that_are_trusted_later_sign_and_are_taken_away_again():
    door = Triggers(["K1"])
    door.trust(["K2"])
    assert isinstance(door.handed("K2", BASE, own=True), Trace)

    door.trust([])

    assert door.handed("K2", BASE, own=True) is None
    assert isinstance(door.handed("K1", BASE, own=True), Trace)


def test_a_key_in_clear_without_a_parent_is_from_elsewhere_all_the_same(counted):
    assert Triggers(["K1"]).handed("K1", BASE) is None
    door = Triggers(["K1"], clear_key=True, requests_per_second=1)
    traced = [door.handed("K1", BASE) for _ in range(3)]

    assert [isinstance(one, Trace) for one in traced] == [True, False, False]
    assert counted() == {"clear_key": 1, "accepted": 1, "budget_requests": 2}


def test_keys_that_are_refused_leave_nobody_believed(counted):
    door = Triggers()
    with pytest.raises(ConfigError):
        door.trust([f"T{i}" for i in range(KEYS_MAX + 1)])

    assert door.handed("made up", BASE) is None
    assert door.handed("made up", BASE, own=True) is None
    assert counted() == {"bad_signature": 2}


def test_a_door_that_becomes_another_keeps_what_it_saw_and_whom_a_service_trusts(counted):
    door = Triggers(["K1"])
    door.trust(["K9"])
    told = {name.lower(): text for name, text in new_trigger("K2").headers.items()}

    same = door.become(Triggers(["K2"]))

    assert same is door
    assert isinstance(door.accept(told.get), Trace)
    door.become(Triggers(["K2"]))
    assert not isinstance(door.accept(told.get), Trace)
    assert counted()["replayed"] == 1
    assert isinstance(door.handed("K9", BASE, own=True), Trace)
    assert door.handed("K1", BASE, own=True) is None


def test_a_door_that_is_shut_is_shut_while_it_becomes_another(monkeypatch):
    door = Triggers()
    door.trust([])
    came = []
    monkeypatch.setattr(
        Triggers, "trust", lambda self, _: came.append(self.handed("made up", BASE, own=True))
    )

    door.become(Triggers())

    assert came == [None]


def test_no_more_keys_are_trusted_than_are_tried():
    with pytest.raises(ConfigError, match=f"more than the {KEYS_MAX} keys"):
        Triggers(["K1"]).trust([f"T{i}" for i in range(KEYS_MAX)])


def test_nothing_that_is_handed_over_raises(counted):
    assert Triggers(["K1"]).handed(7, BASE) is None

    assert counted() == {"fault": 1}
