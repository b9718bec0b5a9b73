"""Notifications of OpenStack's services as events: how their attributes are called.

The event is of scope `SCOPE`; its name is the notification's ``event_type``, its time that of
the envelope, its body the whole message as JSON without secrets. `IDENTITY` is what a message
is known by when it comes again: of equal ones only one counts. What a notification does not
tell is not among its attributes.
"""

from __future__ import annotations

from typing import Final

SCOPE: Final = "openstack.notification"

IDENTITY: Final = "messaging.message.id"
PUBLISHER: Final = "openstack.publisher_id"
"""``service.host``; the event's resource has them apart."""
PRIORITY: Final = "openstack.priority"
"""As it was sent, in capitals: INFO, ERROR."""
EXCHANGE: Final = "openstack.exchange"
TOPIC: Final = "openstack.topic"

REQUEST_ID: Final = "request_id"
PROJECT_ID: Final = "openstack.project_id"
"""Whose the resource is; of whoever asked, where the message does not tell."""
USER_ID: Final = "openstack.user_id"
RESOURCE_ID: Final = "openstack.resource_id"
"""Of what it tells: an instance, an image, a network, a volume."""

STATE: Final = "openstack.state"
OLD_STATE: Final = "openstack.old_state"
TASK: Final = "openstack.task"
OLD_TASK: Final = "openstack.old_task"

EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"

SEVERITIES: Final = {
    "DEBUG": 5,
    "INFO": 9,
    "AUDIT": 9,
    "SAMPLE": 9,
    "WARN": 13,
    "ERROR": 17,
    "CRITICAL": 21,
}
"""OpenTelemetry's severity of each priority of oslo.messaging's."""

PROFILER: Final = "profiler."
"""What the event types of OSProfiler's points begin with; those become spans."""
