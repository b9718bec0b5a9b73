"""Events out of an ExportLogsServiceRequest; a log record is an event with a body.

A record is refused for ``time`` (beyond 63 bits). Ids of a wrong length are as good as none.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from nilometer.model import Event
from nilometer.wire.otlp_traces_in import is_span_id, is_trace_id
from nilometer.wire.otlp_values import TIME_NS_MAX, attributes_of, value_of

if TYPE_CHECKING:
    from nilometer.wire.otlp_values import Inbox

SEVERITY_MAX: Final = 24  # FATAL4


def read(request: Any, inbox: Inbox) -> None:
    """Put all records of the request into the inbox."""
    for resource_logs in request.resource_logs:
        _, _, events = inbox.of(resource_logs.resource)
        for scope_logs in resource_logs.scope_logs:
            scope = scope_logs.scope.name
            inbox.expect(len(scope_logs.log_records))
            for record in scope_logs.log_records:
                at_ns = record.time_unix_nano or record.observed_time_unix_nano
                if at_ns > TIME_NS_MAX:
                    inbox.rejected["time"] += 1
                else:
                    events.append(_event(record, at_ns, scope))


def _event(record: Any, at_ns: int, scope: str) -> Event:
    attributes = attributes_of(record.attributes)
    name = record.event_name
    if not name and isinstance(attributes.get("event.name"), str):
        name = attributes.pop("event.name")  # where it stood before OTLP 1.5
    body = ""
    if record.HasField("body"):
        value = value_of(record.body)
        body = value if isinstance(value, str) else json.dumps(value)
    severity = record.severity_number
    return Event(
        name,
        at_ns,
        attributes,
        record.trace_id if is_trace_id(record.trace_id) else b"",
        record.span_id if is_span_id(record.span_id) else b"",
        severity if 0 <= severity <= SEVERITY_MAX else 0,
        body,
        scope,
    )
