"""Notifications of oslo.messaging become events; what is none is refused with the reason."""

import bz2
import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.errors import WireError
from nilometer.model import Event, Resource
from nilometer.model import notification as names
from nilometer.wire.notifications import BODY_BYTES_MAX, event_of, opened, without_secrets

DATA = Path(__file__).parent.parent / "data" / "notifications"
RECORDED = sorted(DATA.glob("*.json"))

SERVER = "5a1f0ee8-6f40-4d0c-9d7e-0f3a8a1b2c3d"
IMAGE = "71c675ab-d94f-49cd-a114-e12490b328d9"
NETWORK = "0f1b7c2e-2f5a-4d57-9f0e-6d2b9c1a7e44"
WHOSE = {
    names.REQUEST_ID: "req-b9a7b8d4-11d4-4b8c-a7a0-3b5d5f0b6c11",
    names.PROJECT_ID: "7ba86b2a4bf24fb8b4c9b6e7e5b3f6c1",
    names.USER_ID: "c9f4d1b2a3e54f6f8a7b6c5d4e3f2a1b",
}
PROJECT = {names.PROJECT_ID: WHOSE[names.PROJECT_ID]}

# What each recorded message tells: its priority and severity, and attributes.
TOLD = {
    "compute": (
        ("INFO", 9),
        {
            **WHOSE,
            names.RESOURCE_ID: SERVER,
            names.STATE: "building",
            names.OLD_STATE: "building",
            names.TASK: "spawning",
            names.OLD_TASK: "networking",
        },
    ),
    "compute_failed": (
        ("ERROR", 17),
        {
            **WHOSE,
            names.RESOURCE_ID: SERVER,
            names.STATE: "error",
            names.EXCEPTION_MESSAGE: "No valid host was found.",
        },
    ),
    "compute_versioned": (
        ("ERROR", 17),
        {
            **WHOSE,
            names.RESOURCE_ID: SERVER,
            names.STATE: "error",
            names.EXCEPTION_TYPE: "FlavorDiskTooSmall",
            names.EXCEPTION_MESSAGE: "The created instance's disk would be too small.",
        },
    ),
    "image": (("INFO", 9), {**PROJECT, names.RESOURCE_ID: IMAGE, names.STATE: "active"}),
    "network": (("INFO", 9), {**WHOSE, names.RESOURCE_ID: NETWORK, names.STATE: "ACTIVE"}),
    "volume": (("SAMPLE", 9), {**PROJECT, names.RESOURCE_ID: SERVER, names.STATE: "in-use"}),
    "osprofiler": (("INFO", 9), {}),
    "foreign": (("INFO", 9), {}),
}


def decode(body, *, compression="", **where):
    return event_of(opened(body, compression), **where)


def enveloped(message, version="2.0"):
    return json.dumps({"oslo.version": version, "oslo.message": json.dumps(message)}).encode()


def said(**changes):
    message = {
        "message_id": "1",
        "publisher_id": "compute.c1",
        "event_type": "compute.instance.create.end",
        "priority": "INFO",
        "payload": {},
        "timestamp": "2026-11-20 10:00:00.000001",
        **changes,
    }
    return {key: value for key, value in message.items() if value is not ...}


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_what_a_real_notifier_sent_becomes_its_event(path):
    body = path.read_bytes()
    sent = json.loads(body)
    sent = json.loads(sent["oslo.message"]) if "oslo.message" in sent else sent
    (priority, severity), told = TOLD[path.name.partition(".")[0]]

    resource, event = decode(body, exchange="openstack", topic="recorded")

    first = sent["event_type"].partition(".")[0]
    assert resource == Resource(first, "node-1.example")
    assert event.attributes == {
        names.IDENTITY: sent["message_id"],
        names.PUBLISHER: f"{first}.node-1.example",
        names.PRIORITY: priority,
        names.EXCHANGE: "openstack",
        names.TOPIC: "recorded",
        **told,
    }
    assert event._replace(attributes={}, body="", at_ns=0) == Event(
        sent["event_type"], 0, {}, severity=severity, scope=names.SCOPE
    )
    assert str(event.at_ns).endswith(sent["timestamp"].rpartition(".")[2] + "000")
    kept = json.loads(event.body)
    for secret in ("_context_auth_token", "_context_trace_info"):
        sent.pop(secret, None)
        kept.pop(secret, None)
    assert kept == sent


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("compute.instance.live_migration.start", {"tenant_id": "theirs"}),
        ("instance.create.end", {"nova_object.data": {"tenant_id": "theirs"}}),
        ("port.create.end", {"port": {"project_id": "theirs", "tenant_id": "theirs"}}),
        ("image.update", {"owner": "theirs"}),
    ],
)
def test_the_project_is_whose_the_resource_is_and_else_who_asked(name, payload):
    asked = {"_context_project_id": "the-administrator-s"}

    _, event = decode(enveloped(said(event_type=name, payload=payload, **asked)))
    _, bare = decode(enveloped(said(event_type=name, payload={}, **asked)))

    assert event.attributes[names.PROJECT_ID] == "theirs"
    assert bare.attributes[names.PROJECT_ID] == "the-administrator-s"


@pytest.mark.parametrize(
    "payload",
    [
        {"instance": {"uuid": SERVER}},
        {"args": {"instance": {"uuid": SERVER}}, "exception": "boom"},
        {"exception": {"kwargs": {"uuid": SERVER}}},
    ],
)
def test_what_failed_tells_its_instance_where_nova_has_put_it(payload):
    _, event = decode(enveloped(said(event_type="run_instance", payload=payload)))

    assert event.attributes[names.RESOURCE_ID] == SERVER


def test_tokens_and_keys_that_were_sent_along_are_not_kept():
    _, event = decode((DATA / "compute.2.json").read_bytes())
    kept = json.loads(event.body)

    assert kept["_context_auth_token"] == "***"
    assert kept["_context_trace_info"]["hmac_key"] == "***"
    assert "not-for-the-tables" not in event.body
    assert "operator" not in event.body
    deep = said(payload={"instances": [{"Admin_Pass": "x1y2", "name": "password"}]})
    assert json.loads(decode(enveloped(deep)).event.body)["payload"] == {
        "instances": [{"Admin_Pass": "***", "name": "password"}]
    }


@pytest.mark.parametrize(
    "key",
    [
        *(
            "adminPass",
            "X-Auth-Token",
            "token",
            "api_key",
            "access_key",
            "new_pass",
            "auth-token",
        ),
        *("credentials", "Private-Key", "user_data", "Authorization", "fernetSecret"),
    ],
)
def test_secrets_are_known_however_their_keys_are_written(key):
    message = said(payload={"nested": [{key: "x1y2", "state": "up"}]})

    assert json.loads(decode(enveloped(message)).event.body)["payload"] == {
        "nested": [{key: "***", "state": "up"}]
    }
    assert "x1y2" not in without_secrets(enveloped(message)).decode()
    assert "x1y2" not in without_secrets(json.dumps(message).encode()).decode()


def test_passwords_in_urls_are_not_kept_wherever_they_stand():
    url = "mysql+pymysql://nova:x1y2@db/nova"
    told = {"args": [url, 7, {"connection": url}], "exception": f"no such host: {url}"}
    message = said(payload={**told, "image_ref_url": "http://glance:9292/images/1?by=me@h"})
    event = decode(enveloped(message)).event
    kept = json.loads(event.body)["payload"]

    shown = "mysql+pymysql://nova:***@db/nova"
    assert kept == {
        "args": [shown, 7, {"connection": shown}],
        "exception": f"no such host: {shown}",
        "image_ref_url": "http://glance:9292/images/1?by=me@h",
    }
    assert "x1y2" not in str(event.attributes)
    assert "x1y2" not in without_secrets(enveloped(message)).decode()
    assert "x1y2" not in without_secrets(json.dumps(message).encode()).decode()


@pytest.mark.parametrize("compression", ["", "nope", "application/x-gzip"])
def test_secrets_are_masked_whatever_else_is_wrong_with_a_message(compression):
    body = enveloped(said(payload={"token": "x1y2", "n": 1})).replace(b"1}", b"9" * 5000 + b"}")

    assert b"x1y2" not in without_secrets(body, compression)


def test_what_cannot_be_read_or_has_no_secrets_stays_as_it_came():
    for body in (
        b"\xff token",
        b'{"token": "x',
        b"token",
        b'[{"a":  1}]',
        b"[" * 10**5 + b"token",
    ):
        assert without_secrets(body) == body


def test_the_body_is_the_message_and_compact():
    message = said(payload={"text": "Nil \u6cb3", "list": [1, None]})

    assert decode(enveloped(message)).event.body == (
        '{"message_id":"1","publisher_id":"compute.c1",'
        '"event_type":"compute.instance.create.end","priority":"INFO",'
        '"payload":{"text":"Nil \u6cb3","list":[1,null]},'
        '"timestamp":"2026-11-20 10:00:00.000001"}'
    )


def test_compressed_messages_are_read_as_the_plain_ones():
    plain = (DATA / "compute.2.json").read_bytes()

    for pack, called in ((gzip.compress, "x-gzip"), (bz2.compress, "x-bz2")):
        assert decode(pack(plain), compression=f"application/{called}") == decode(plain)


def test_a_publisher_without_a_host_is_a_service_and_none_at_all_is_unknown():
    assert decode(enveloped(said(publisher_id="api-1"))).resource == Resource("api-1")
    assert decode(enveloped(said(publisher_id=None))).resource == Resource("unknown_service")


def test_a_message_without_an_id_is_known_by_its_bytes():
    one, other = said(message_id=...), said(message_id=..., payload={"n": 1})

    assert opened(enveloped(one)).identity == opened(enveloped(one)).identity
    assert opened(enveloped(one)).identity != opened(enveloped(other)).identity


@pytest.mark.parametrize(
    ("at", "at_ns"),
    [
        ("1970-01-01 00:00:01", 10**9),
        ("1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("1970-01-01T01:00:00+01:00", 0),
    ],
)
def test_times_are_utc_where_they_do_not_say_otherwise(at, at_ns):
    assert decode(enveloped(said(timestamp=at))).event.at_ns == at_ns


DEEP = b'{"payload":' * 100_000 + b"1" + b"}" * 100_000


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "json"),
        (b"\xff", "json"),
        (b"hello", "json"),
        (b'{"a": NaN}', "json"),
        (enveloped(said(payload=7)).replace(b"7", b"7e999"), "json"),
        (b'{"a": ' + b"1" * 5000 + b"}", "json"),
        (DEEP[:BODY_BYTES_MAX], "too-deep"),
        (
            enveloped(1).replace(b'"1"', json.dumps(DEEP[:400_000].decode()).encode()),
            "too-deep",
        ),
        (b" " * (BODY_BYTES_MAX + 1), "too-large"),
        (b"[]", "field"),
        (b"{}", "field"),
        (enveloped([]), "field"),
        (enveloped(said(), version="3.0"), "field"),
        (enveloped(said(), version=2), "field"),
        (b'{"oslo.version": "2.0", "oslo.message": {}}', "field"),
        (enveloped(said(event_type=...)), "field"),
        (enveloped(said(event_type="")), "field"),
        (enveloped(said(event_type=1)), "field"),
        (enveloped(said(event_type="x" * 256)), "field"),
        (enveloped(said(event_type="a\0b")), "field"),
        (enveloped(said(payload=...)), "field"),
        (enveloped(said(priority="LOUD")), "field"),
        (enveloped(said(priority=1)), "field"),
        (enveloped(said(publisher_id=["c1"])), "field"),
        (enveloped(said(message_id=7)), "field"),
        (enveloped(said(timestamp=...)), "field"),
        (enveloped(said(timestamp="yesterday")), "field"),
        (enveloped(said(timestamp=1_700_000_000)), "field"),
        (enveloped(said(timestamp="1969-12-31 23:59:59")), "field"),
        (enveloped(said(timestamp="9999-12-31 23:59:59")), "field"),
    ],
    ids=range(30),
)
def test_what_is_no_notification_is_refused_with_the_reason(body, reason):
    with pytest.raises(WireError) as refused:
        decode(body)

    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("body", "compression", "reason"),
    [
        (b"{}", "application/x-gzip", "compression"),
        (b"{}", "application/x-bz2", "compression"),
        (b"{}", "zstd", "compression"),
        (gzip.compress(b"{}" * 50)[:-9], "application/x-gzip", "compression"),
        (gzip.compress(b" " * (BODY_BYTES_MAX + 1)), "application/x-gzip", "too-large"),
    ],
    ids=range(5),
)
def test_what_was_packed_otherwise_or_too_much_is_refused(body, compression, reason):
    with pytest.raises(WireError) as refused:
        decode(body, compression=compression)

    assert refused.value.reason == reason


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-1e9, 1e9) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)
KEYS = st.sampled_from(
    (
        *("exception", "fault", "nova_object.data", "state_update", "args", "instance"),
        *("uuid", "id", "compute", "image", "state", "message", "kwargs", "tenant_id"),
    )
)
PAYLOADS = JSON | st.recursive(
    JSON, lambda inner: st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


@given(PAYLOADS, st.sampled_from(["compute.x", "image.x", "instance", "."]))
def test_whatever_the_payload_its_attributes_are_texts_and_its_body_reads_back(payload, name):
    message = said(payload=payload, event_type=name)

    _, event = decode(enveloped(message))

    assert json.loads(event.body)["event_type"] == name
    assert all(isinstance(value, str) and value for value in event.attributes.values())


@given(st.binary())
def test_bytes_are_a_notification_or_a_reason_never_another_error(body):
    with pytest.raises(WireError):
        decode(body)
    with pytest.raises(WireError):
        decode(body, compression="application/x-gzip")
