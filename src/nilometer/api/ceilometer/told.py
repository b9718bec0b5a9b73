"""Starts and stops of spans as Ceilometer's API shows them: events, samples, meters.

Each is what OSProfiler's notification of it was, or would have been. Times have six digits
after the point always: OSProfiler's readers take no other.
"""

from __future__ import annotations

from base64 import b64encode
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from nilometer.wire.attributes import text_of_any
from nilometer.wire.osprofiler import LACKING, payloads, timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nilometer.model import Resource, SpanRecord

SOURCE: Final = "openstack"
UNIT: Final = "trace"
TYPE: Final = "gauge"
VOLUME: Final = 1.0
RESOURCE: Final = "profiler-"
"""What the resource id of a trace's samples begins with; its base id follows."""

TRAITS: Final = (
    ("project", ("project",)),
    ("service", ("service",)),
    ("name", ("name",)),
    ("base_id", ("base_id",)),
    ("trace_id", ("trace_id",)),
    ("parent_id", ("parent_id",)),
    ("timestamp", ("timestamp",)),
    ("host", ("info", "host")),
    ("path", ("info", "request", "path")),
    ("query", ("info", "request", "query")),
    ("method", ("info", "request", "method")),
    ("scheme", ("info", "request", "scheme")),
    ("db.statement", ("info", "db", "statement")),
    ("db.params", ("info", "db", "params")),
)
"""Of each trait the keys that lead to it, as in Ceilometer's event definitions."""

DATETIME: Final = "timestamp"
"""The one trait that is a time; the others are texts."""


class Told:
    """One start or stop.

    `id` names it for ever: it is made of the trace's id, the span's and which of both it is.
    """

    def __init__(
        self, span: SpanRecord, resource: Resource, at_ns: int, payload: dict[str, Any]
    ) -> None:
        self.at_ns = at_ns
        self.payload = payload
        self.name = str(payload["name"])
        self.event_type = f"profiler.{resource.service}"
        self.resource_id = f"{RESOURCE}{payload['base_id']}"
        self._host = resource.host
        which = "stop" if self.name.endswith("-stop") else "start"
        self.id = f"{span.trace_id.hex()}-{span.span_id.hex()}-{which}"

    @cached_property
    def traits(self) -> dict[str, str]:
        """The traits that it has."""
        found = {}
        for name, path in TRAITS:
            value: Any = self.payload
            for key in path:
                value = value.get(key) if isinstance(value, dict) else None
            if value is not None:
                found[name] = text_of_any(value)
        return found

    @cached_property
    def metadata(self) -> dict[str, str]:
        """The payload and who sent it, flat: ``info.request:path``; all values are texts."""
        sent = {**self.payload, "event_type": self.event_type, "host": self._host}
        return dict(_flat(sent))

    def event(self) -> dict[str, Any]:
        """As `/v2/events` shows it."""
        told_at = timestamp(self.at_ns)
        raw = {
            "message_id": self.id,
            "publisher_id": self._host,
            "event_type": self.event_type,
            "priority": "info",
            "payload": self.payload,
            "timestamp": told_at.replace("T", " "),
        }
        traits = [
            {"name": name, "type": "datetime" if name == DATETIME else "string", "value": value}
            for name, value in self.traits.items()
        ]
        return {
            "message_id": self.id,
            "event_type": self.event_type,
            "generated": told_at,
            "traits": traits,
            "raw": raw,
        }

    def sample(self) -> dict[str, Any]:
        """As `/v2/samples` shows it."""
        at = timestamp(self.at_ns)
        return {
            "id": self.id,
            "meter": self.name,
            "type": TYPE,
            "unit": UNIT,
            "volume": VOLUME,
            "user_id": None,
            "project_id": None,
            "resource_id": self.resource_id,
            "source": SOURCE,
            "timestamp": at,
            "recorded_at": at,
            "metadata": self.metadata,
        }

    def old_sample(self) -> dict[str, Any]:
        """As `/v2/meters/NAME` shows it."""
        at = timestamp(self.at_ns)
        return {
            "source": SOURCE,
            "counter_name": self.name,
            "counter_type": TYPE,
            "counter_unit": UNIT,
            "counter_volume": VOLUME,
            "user_id": None,
            "project_id": None,
            "resource_id": self.resource_id,
            "timestamp": at,
            "recorded_at": at,
            "resource_metadata": self.metadata,
            "message_id": self.id,
        }

    def meter(self) -> dict[str, Any]:
        """As `/v2/meters` shows what it is a sample of."""
        ident = b64encode(f"{self.resource_id}+{self.name}".encode("utf-8", "replace"))
        return {
            "name": self.name,
            "type": TYPE,
            "unit": UNIT,
            "resource_id": self.resource_id,
            "project_id": None,
            "user_id": None,
            "source": SOURCE,
            "meter_id": ident.decode(),
        }


def told_of(resource: Resource, span: SpanRecord) -> Iterator[Told]:
    """The start and the stop of a span; of what came as one of these, that one."""
    duration_ns = max(0, span.ended_ns - span.started_ns)
    start, stop = payloads(span, resource, duration_ns)
    lacking = span.attributes.get(LACKING)
    if lacking != "start":
        yield Told(span, resource, span.started_ns, start)
    if lacking != "stop":
        yield Told(span, resource, span.started_ns + duration_ns, stop)


def _flat(sent: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """All that is in it, by the keys that lead there: a dot after the first, then colons."""
    waiting = [(str(key), value) for key, value in sent.items()]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{key}.{inner}", below) for inner, below in value.items()]
        else:
            yield key.replace(".", ":").replace(":", ".", 1), text_of_any(value)
