"""The short ways of a verification end where the long ones do: MACs, and OSProfiler's ids."""

import copy
import hmac
import json
import pickle
from base64 import urlsafe_b64encode
from importlib import import_module
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nilometer.trace import Trace, key_pure
from nilometer.trace.ids import ids_of
from nilometer.trace.signing import (
    Key,
    message_of,
    parse_signature,
    parse_traceparent,
    read_osprofiler,
    sender_of,
)
from nilometer.trace.trigger import HEADERS, Triggers, new_trigger
from tests.trace.conftest import TWINS

NIL = UUID(int=0)
ids = st.one_of(st.uuids(), st.sampled_from([NIL, UUID(int=1), UUID(int=1 << 64)]))
edit = st.tuples(
    st.sampled_from(["change", "insert", "delete"]), st.integers(0, 300), st.characters()
)


def edited(text, change):
    if change is None:
        return text
    how, at, character = change
    at %= len(text) + 1
    keep_from = at if how == "insert" else at + 1
    return text[:at] + ("" if how == "delete" else character) + text[keep_from:]


def packed(text):
    return urlsafe_b64encode(text.encode("utf-8", "surrogatepass")).decode()


def usual(base, parent):
    return json.dumps({"base_id": str(base), "parent_id": str(parent)})


@pytest.fixture(params=["python", "c", "c in hardware"], scope="module")
def made_key(request):
    """Makes a key of one twin; the C one by instructions for hashes, where there are any."""
    if request.param == "python":
        yield key_pure.Key
        return
    twin = import_module("nilometer.trace._core")
    twin.hash_in_hardware(request.param == "c in hardware")
    yield twin.Key
    twin.hash_in_hardware(True)


@given(st.binary(max_size=200), st.binary(max_size=300))
@example(b"k" * 64, b"m")
@example(b"k" * 65, b"m")
def test_a_mac_is_what_hmac_says_whatever_the_key_and_the_message(made_key, secret, message):
    key = made_key(secret)

    for _ in range(2):  # what is kept of the key is not used up
        assert key.mac_sha1(message) == hmac.new(secret, message, "sha1").hexdigest()
        assert key.mac_sha256(message) == hmac.new(secret, message, "sha256").hexdigest()


def test_a_mac_is_what_hmac_says_of_messages_of_each_length(made_key):
    key, message = made_key(b"K1"), bytes(range(200))

    for length in range(len(message)):  # three blocks, each padded in all ways
        part = message[:length]
        assert key.mac_sha1(part) == hmac.new(b"K1", part, "sha1").hexdigest()
        assert key.mac_sha256(part) == hmac.new(b"K1", part, "sha256").hexdigest()


def test_a_key_is_shown_nowhere(made_key):
    key = made_key(b"K1")

    assert repr(key) == str(key) == "Key(...)"
    for write in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="a key is not written anywhere"):
            write(key)


@pytest.mark.parametrize("wrong", ["a text", None, 7])
def test_a_key_signs_bytes_only(made_key, wrong):
    key = made_key(b"K1")

    for call in (key.mac_sha1, key.mac_sha256, made_key):
        with pytest.raises(TypeError):
            call(wrong)


@pytest.mark.parametrize("twin", TWINS)
@given(ids, ids, st.booleans(), st.none() | edit, st.none() | edit)
@example(NIL, NIL, False, None, None)
@example(UUID(int=1), UUID(int=(5 << 64) + 1), False, None, None)
@example(UUID(int=1 << 100), UUID(int=7), True, ("change", 20, "-"), None)
@example(UUID(int=1 << 100), UUID(int=7), True, ("change", 21, "G"), None)
@example(UUID(int=1 << 100), UUID(int=7), True, None, ("change", 139, "A"))
@example(UUID(int=1 << 100), UUID(int=7), True, None, ("change", 138, "1"))
def test_the_usual_spelling_says_what_the_long_way_reads(
    twin, base, parent, upper, inside, outside
):
    text = usual(base, parent)
    if upper:
        text = text.replace(str(parent), str(parent).upper())
    info = edited(packed(edited(text, inside)), outside)
    short = import_module(TWINS[twin]).osprofiler_ids(info)
    said = read_osprofiler(info) if info.isascii() else None

    assert short is None or (said is not None and ids_of(said) == (short, None))


@pytest.mark.parametrize("twin", TWINS)
@given(st.uuids(), st.uuids())
def test_two_uuids_need_no_long_way(twin, base, parent):
    read = import_module(TWINS[twin]).osprofiler_ids

    assert read(packed(usual(base, parent))) == (str(base), base.bytes, parent.bytes[8:])
    assert read(packed(usual(base, base))) == (str(base), base.bytes, b"")


@pytest.mark.parametrize("twin", TWINS)
@given(st.text(max_size=150) | st.text("AQ=-_", min_size=139, max_size=141))
def test_any_other_text_is_left_to_the_long_way(twin, info):
    assert import_module(TWINS[twin]).osprofiler_ids(info) is None


HEX = "0123456789abcdef"
texts = st.text(HEX, min_size=32, max_size=32)


@pytest.mark.parametrize("twin", TWINS)
@given(texts, texts, texts, st.integers(0, 10**12), st.none() | edit, st.none() | edit)
@example("0" * 32, "1" * 32, "2" * 32, 5, None, None)
@example("1" * 32, "0" * 32, "2" * 32, 5, None, None)
@example("1" * 32, "1" * 32, "2" * 32, 5, None, None)
@example("1" * 32, "2" * 32, "3" * 32, 10**12, None, None)
@example("1" * 32, "2" * 32, "3" * 32, 5, ("change", 3, "A"), None)
@example("1" * 32, "2" * 32, "3" * 32, 5, ("change", 1, "1"), None)
@example("1" * 32, "2" * 32, "3" * 32, 5, None, ("change", 7, "x"))
@example("1" * 32, "2" * 32, "3" * 32, 5, None, ("insert", 8, ";"))
@example("1" * 32, "2" * 32, "3" * 32, 5, None, ("insert", 500, ",a=b"))
def test_a_signed_traceparent_says_the_same_in_c_whatever_is_wrong_with_it(
    twin, trace, parent, nonce, expiry, outside, inside
):
    traceparent = edited(f"00-{trace}-{parent[:16]}-0{expiry % 10}", outside)
    tracestate = edited(f"nilo=1;{expiry};{nonce};{trace}{parent}", inside)

    short = import_module(TWINS[twin]).signed_parts(traceparent, tracestate)

    said, signed = parse_traceparent(traceparent), None
    if tracestate.startswith("nilo="):
        signed = parse_signature(tracestate[5:])
    if said is None or signed is None or not traceparent.startswith("00-"):
        assert short is None
    else:
        message = message_of(traceparent, signed.expiry_text, signed.nonce)
        told = (signed.expiry_s, signed.nonce, signed.mac, message)
        assert short == (said.trace_id, sender_of(said), said.sampled, *told)


@pytest.mark.parametrize("twin", TWINS)
def test_what_a_signer_writes_needs_no_long_way(twin):
    headers = new_trigger("K1").headers
    read = import_module(TWINS[twin]).signed_parts

    trace_id, parent_id, sampled, *_, message = read(
        headers["traceparent"], headers["tracestate"]
    )

    assert (headers["traceparent"][3:35], b"", True) == (trace_id.hex(), parent_id, sampled)
    assert headers["tracestate"].endswith(Key(b"K1").mac_sha256(message))


def test_a_server_that_has_its_own_names_for_headers_says_them():
    sent = {f"HTTP_{name.upper()}": value for name, value in new_trigger("K1").headers.items()}
    names = tuple(f"HTTP_{name.upper()}" for name in HEADERS)
    triggers = Triggers(["K1"])

    assert triggers.accept(sent.get) is None
    assert isinstance(triggers.accept(sent.get, names), Trace)
