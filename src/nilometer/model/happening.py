"""What happened to a request or a resource: notifications, log lines and spans together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.model import notification as names
from nilometer.model.span import Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nilometer.model.event import Event
    from nilometer.model.resource import Resource
    from nilometer.model.span import SpanRecord

NOTIFICATION: Final = "notification"
EVENT: Final = "event"
SPAN: Final = "span"

ERROR_SEVERITY: Final = 17  # of OpenTelemetry's numbers, the first that is an error


class Happening(NamedTuple):
    """One thing that happened, of any of the three kinds; what it does not tell is empty.

    `id` is what a notification is known by when it comes again, of a span its trace's id.
    `text` is an event's body, or what went wrong.
    """

    kind: str
    at_ns: int
    name: str
    service: str
    host: str
    region: str = ""
    id: str = ""
    publisher: str = ""
    priority: str = ""
    exchange: str = ""
    topic: str = ""
    request_id: str = ""
    project_id: str = ""
    user_id: str = ""
    resource_id: str = ""
    state: str = ""
    old_state: str = ""
    task: str = ""
    old_task: str = ""
    text: str = ""
    duration_ns: int | None = None
    is_error: bool = False


FACTS: Final[Mapping[str, str]] = {
    "id": names.IDENTITY,
    "publisher": names.PUBLISHER,
    "priority": names.PRIORITY,
    "exchange": names.EXCHANGE,
    "topic": names.TOPIC,
    "request_id": names.REQUEST_ID,
    "project_id": names.PROJECT_ID,
    "user_id": names.USER_ID,
    "resource_id": names.RESOURCE_ID,
    "state": names.STATE,
    "old_state": names.OLD_STATE,
    "task": names.TASK,
    "old_task": names.OLD_TASK,
    "text": names.EXCEPTION_MESSAGE,
}
"""By field the attribute of an event that tells it."""


def of_event(resource: Resource, event: Event) -> Happening:
    """A notification, or any other event: a log line is one."""
    told: dict[str, Any] = {
        field: str(event.attributes[attribute])
        for field, attribute in FACTS.items()
        if attribute in event.attributes
    }
    is_notification = event.scope == names.SCOPE
    if not is_notification:
        told["text"] = event.body
    return Happening(
        NOTIFICATION if is_notification else EVENT,
        event.at_ns,
        event.name,
        resource.service,
        resource.host,
        resource.region,
        is_error=is_failure(event.name, event.severity, told.get("state", "")),
        **told,
    )


def of_span(resource: Resource, span: SpanRecord) -> Happening:
    """A span."""
    return Happening(
        SPAN,
        span.started_ns,
        span.name,
        resource.service,
        resource.host,
        resource.region,
        id=span.trace_id.hex(),
        request_id=str(span.attributes.get(names.REQUEST_ID, "")),
        text=span.status_message,
        duration_ns=max(0, span.ended_ns - span.started_ns),
        is_error=span.status is Status.ERROR,
    )


def is_failure(name: str, severity: int, state: str) -> bool:
    """Whether an event tells that something failed: by its name, its priority or the state.

    >>> is_failure("compute.instance.create.error", 9, ""), is_failure("volume.usage", 9, "")
    (True, False)
    """
    return name.endswith(".error") or severity >= ERROR_SEVERITY or state.lower() == "error"
