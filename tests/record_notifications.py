"""Write again what real notifiers of oslo.messaging put on a real RabbitMQ, byte for byte.

    .venv/bin/python -m tests.record_notifications

The payloads are made up by us in the shapes that nova, glance, neutron, cinder and OSProfiler
document; envelope, context and encoding are oslo.messaging's own. Kept as they came in
tests/data/notifications/.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import oslo_messaging
import pika
from oslo_config import cfg
from oslo_context.context import RequestContext

from examples.servers.brokers import RabbitMQ

DATA = Path(__file__).parent / "data" / "notifications"
SERVER = "5a1f0ee8-6f40-4d0c-9d7e-0f3a8a1b2c3d"
IMAGE = "71c675ab-d94f-49cd-a114-e12490b328d9"
NETWORK = "0f1b7c2e-2f5a-4d57-9f0e-6d2b9c1a7e44"
PROJECT = "7ba86b2a4bf24fb8b4c9b6e7e5b3f6c1"
USER = "c9f4d1b2a3e54f6f8a7b6c5d4e3f2a1b"
REQUEST = "req-b9a7b8d4-11d4-4b8c-a7a0-3b5d5f0b6c11"
BASE = "f09d33fd-1234-4f5e-8d3e-0b8e6b0a9c11"
POINT = "7a2b6c1e-9f00-4a55-b6d7-0c9d1e2f3a4b"

SECRETS = {
    "auth_token": "gAAAA-not-for-the-tables",
    "trace_info": {"hmac_key": "a key of the operator's", "base_id": BASE, "parent_id": POINT},
}
CONTEXT = RequestContext(request_id=REQUEST, project_id=PROJECT, user_id=USER, roles=["member"])
INSTANCE = {
    "instance_id": SERVER,
    "tenant_id": PROJECT,
    "user_id": USER,
    "display_name": "sphinx",
    "host": "compute-1",
    "state": "building",
    "old_state": "building",
    "new_task_state": "spawning",
    "old_task_state": "networking",
    "image_meta": {"base_image_ref": IMAGE},
}
VERSIONED = {
    "nova_object.name": "InstanceActionPayload",
    "nova_object.namespace": "nova",
    "nova_object.version": "1.8",
    "nova_object.data": {
        "uuid": SERVER,
        "tenant_id": PROJECT,
        "user_id": USER,
        "state": "error",
        "task_state": None,
        "request_id": REQUEST,
        "fault": {
            "nova_object.name": "ExceptionPayload",
            "nova_object.data": {
                "exception": "FlavorDiskTooSmall",
                "exception_message": "The created instance's disk would be too small.",
            },
        },
    },
}
OSPROFILER = {
    "name": "wsgi-start",
    "base_id": BASE,
    "trace_id": POINT,
    "parent_id": BASE,
    "timestamp": "2026-11-20T10:00:00.000123",
    "info": {
        "request": {"path": "/v2.1/servers", "query": "", "method": "GET", "scheme": "http"},
        "host": "api-1",
    },
    "project": "nova",
    "service": "osapi_compute",
}
NOTIFICATIONS = {
    "compute": ("info", "compute.instance.create.start", INSTANCE, CONTEXT),
    "compute_failed": (
        "error",
        "compute_task_build_instances",
        {
            "exception": "No valid host was found.",
            "args": {"instance": {"uuid": SERVER}},
            "state": "error",
        },
        CONTEXT,
    ),
    "compute_versioned": ("error", "instance.create.error", VERSIONED, CONTEXT),
    "image": ("info", "image.upload", {"id": IMAGE, "status": "active", "owner": PROJECT}, {}),
    "network": (
        "info",
        "network.create.end",
        {"network": {"id": NETWORK, "tenant_id": PROJECT, "status": "ACTIVE"}},
        CONTEXT,
    ),
    "volume": (
        "sample",
        "volume.usage",
        {"volume_id": SERVER, "tenant_id": PROJECT, "status": "in-use"},
        {},
    ),
    "osprofiler": ("info", "profiler.osapi_compute", OSPROFILER, {}),
    "foreign": ("info", "mësure.done", {"text": "Nil \u6cb3 \\u0000 \ud83d\ude80"}, {}),
}
DRIVERS = {"1": "messaging", "2": "messagingv2"}


class Serializer(oslo_messaging.NoOpSerializer):
    """What services do to their context; tokens went along until oslo.messaging 16."""

    def serialize_context(self, ctxt):
        return {**ctxt.to_dict(), **SECRETS} if ctxt else ctxt


def sent(url: str, driver: str, name: str) -> None:
    """Have a real notifier send the notification of that name."""
    priority, event_type, payload, context = NOTIFICATIONS[name]
    conf = cfg.ConfigOpts()
    conf([], project="tests", default_config_files=[])
    transport = oslo_messaging.get_notification_transport(conf, url=url)
    notifier = oslo_messaging.Notifier(
        transport,
        f"{event_type.partition('.')[0]}.node-1.example",
        driver=driver,
        topics=["recorded"],
        serializer=Serializer(),
    )
    getattr(notifier, priority)(context, event_type, payload)
    transport.cleanup()


def record(folder: Path) -> None:
    """Send each with each driver, and write what came."""
    DATA.mkdir(parents=True, exist_ok=True)
    with RabbitMQ(folder) as server:
        connection = pika.BlockingConnection(pika.URLParameters(server.amqp_url))
        channel = connection.channel()
        url = f"rabbit://guest:guest@127.0.0.1:{server.port}/"
        for name, (priority, *_) in NOTIFICATIONS.items():
            for version, driver in DRIVERS.items():
                sent(url, driver, name)
                _, _, body = channel.basic_get(f"recorded.{priority}", auto_ack=True)
                (DATA / f"{name}.{version}.json").write_bytes(body)
        connection.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="nilo-") as folder:
        Path(folder).chmod(0o755)
        record(Path(folder))
