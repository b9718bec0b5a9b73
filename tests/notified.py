"""Notifications as services send them, in oslo.messaging's envelope, for tests of their tables.

The payloads have the keys that nova, glance and neutron document, no more than a test needs.
"""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta

from nilometer.model import Batch
from nilometer.wire.notifications import event_of, opened

SERVER = "5a1f0ee8-6f40-4d0c-9d7e-0f3a8a1b2c3d"
OTHER = "6b2f1ff9-7051-4e1d-8e8f-1a4b9b2c3d4e"
IMAGE = "71c675ab-d94f-49cd-a114-e12490b328d9"
NETWORK = "0f1b7c2e-2f5a-4d57-9f0e-6d2b9c1a7e44"
PORT = "1a2c8d3f-306b-4e68-a01f-7e3cad2b8f55"
ACME = "7ba86b2a4bf24fb8b4c9b6e7e5b3f6c1"
ZENITH = "8cb97c3b5cf35ac9c5dac7f8f6c4a7d2"
REQUEST = "req-b9a7b8d4-11d4-4b8c-a7a0-3b5d5f0b6c11"
SECOND = "req-c0b8c9e5-22e5-4c9d-b8b1-4c6e6a1c7d22"
THIRD = "req-d1c9daf6-33f6-4dae-89c2-5d7f7b2d8e33"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_numbers = itertools.count(1)


def envelope(event_type, payload, at_ns, **told):
    """The bytes that a notifier would send; `request` and `publisher` among what is told."""
    at = _EPOCH + timedelta(microseconds=at_ns // 1000)
    message = {
        "message_id": told.get("id") or f"00000000-0000-4000-8000-{next(_numbers):012d}",
        "publisher_id": told.get("publisher", "compute.node-1"),
        "event_type": event_type,
        "priority": told.get("priority", "INFO"),
        "payload": payload,
        "timestamp": at.strftime("%Y-%m-%d %H:%M:%S.%f"),
        **told.get("context", {}),
    }
    if told.get("request", REQUEST):
        message["_context_request_id"] = told.get("request", REQUEST)
        message["_context_project_id"] = told.get("project", ACME)
    inner = json.dumps(message)
    return json.dumps({"oslo.version": "2.0", "oslo.message": inner}).encode()


def notified(event_type, payload, at_ns, *, exchange="nova", topic="notifications", **told):
    """A batch of one notification, as the collector makes it."""
    body = opened(envelope(event_type, payload, at_ns, **told))
    found = event_of(body, exchange=exchange, topic=topic)
    return Batch(found.resource, events=(found.event,))


def instance(server=SERVER, *, project=ACME, **more):
    """The payload of nova's that is not versioned."""
    return {"instance_id": server, "tenant_id": project, "state": "building", **more}


def cloud(now_ns):
    """A server built at the second attempt, an image, a network, and what never ended."""

    def at(seconds):
        return now_ns + int(seconds * 10**9)

    create, api = "compute.instance.create", {"publisher": "nova-api.ctl"}
    network = {"publisher": "network.ctl", "exchange": "neutron", "request": SECOND}
    glance = {"publisher": "image.ctl", "exchange": "glance", "request": THIRD}
    second = {"publisher": "compute.node-2"}
    return [
        notified("compute.instance.update", instance(), at(0), **api),
        notified("scheduler.select_destinations.start", {}, at(1), publisher="scheduler.ctl"),
        notified("scheduler.select_destinations.end", {}, at(1.5), publisher="scheduler.ctl"),
        notified(f"{create}.start", instance(), at(2)),
        notified(
            f"{create}.error",
            instance(state="error", exception="No disk left", old_state="building"),
            at(4),
            priority="ERROR",
        ),
        notified(f"{create}.start", instance(), at(5), **second),
        notified(f"{create}.end", instance(state="active"), at(9), id="last", **second),
        notified(f"{create}.end", instance(state="active"), at(9), id="last", **second),
        notified("network.create.start", {"network": {"name": "n"}}, at(10), **network),
        notified(
            "network.create.end",
            {"network": {"id": NETWORK, "tenant_id": ACME, "status": "ACTIVE"}},
            at(10.25),
            **network,
        ),
        notified(
            "image.upload", {"id": IMAGE, "owner": ZENITH}, at(11), project=ZENITH, **glance
        ),
        notified("compute.instance.snapshot.start", instance(OTHER), at(12), request=THIRD),
        notified("compute.instance.delete.end", instance(OTHER), at(13), request=THIRD),
    ]
