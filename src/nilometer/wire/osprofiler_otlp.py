"""Spans of OSProfiler's own OTLP driver, in our words.

The driver keeps OpenTracing's names of 2017 and sets no status: a failure is an attribute
``error`` and an event ``log``. Read as they are, everything would have succeeded, and no
statement would be one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nilometer.model import Status
from nilometer.wire.osprofiler import ARGUMENTS, PARAMS, RESULT
from nilometer.wire.osprofiler_points import TEXT_CHARS_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nilometer.model import AttributeValue, SpanRecord

SCOPE: Final = "osprofiler.drivers.otlp"
"""The instrumentation scope of that driver's spans, and of nobody else's: its module's name."""

_NAMES: Final = {
    "http.method": "http.request.method",
    "http.path": "url.path",
    "http.query": "url.query",
    "http.scheme": "url.scheme",
    "http.hostname": "server.address",
    "http.port": "server.port",
    "status_code": "http.response.status_code",
    "db.statement": "db.query.text",
    "db.params": PARAMS,
    "name": "code.function.name",
    "result": RESULT,
    **ARGUMENTS,
}


def understood(span: SpanRecord) -> SpanRecord:
    """The span with the names, and the status, that it would have had as two points."""
    attributes = {
        _NAMES.get(key, key): _bounded(value)
        for key, value in span.attributes.items()
        if value != "" or key not in _NAMES
    }
    if attributes.get("error") is not True:
        return span._replace(attributes=attributes)
    del attributes["error"]
    told: Mapping[str, AttributeValue] = {}
    others = []
    for event in span.events:
        if event.name == "log" and "error.kind" in event.attributes:
            told = event.attributes
        else:
            others.append(event)
    attributes["error.type"] = str(told.get("error.kind", "Error"))[:TEXT_CHARS_MAX]
    return span._replace(
        attributes=attributes,
        status=Status.ERROR,
        status_message=str(told.get("message", ""))[:TEXT_CHARS_MAX],
        events=tuple(others),
    )


def _bounded(value: AttributeValue) -> AttributeValue:
    return value[:TEXT_CHARS_MAX] if isinstance(value, str) else value
