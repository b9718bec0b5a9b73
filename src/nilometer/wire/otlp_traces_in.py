"""Spans out of an ExportTraceServiceRequest.

A span is refused for ``trace-id`` or ``span-id`` (wrong length or all zeros), ``parent-id``
(wrong length) or ``time`` (beyond 63 bits). Links with ids like that are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.model import Event, Link, SpanKind, SpanRecord, Status
from nilometer.wire import osprofiler_otlp
from nilometer.wire.otlp_values import TIME_NS_MAX, attributes_of

if TYPE_CHECKING:
    from nilometer.wire.otlp_values import Inbox

ZERO_TRACE: Final = bytes(16)
ZERO_SPAN: Final = bytes(8)

_KINDS: Final = tuple(SpanKind)
_STATUSES: Final = tuple(Status)


def read(request: Any, inbox: Inbox) -> None:
    """Put all spans of the request into the inbox."""
    for resource_spans in request.resource_spans:
        _, spans, _ = inbox.of(resource_spans.resource)
        for scope_spans in resource_spans.scope_spans:
            scope = scope_spans.scope.name
            inbox.expect(len(scope_spans.spans))
            span_of = _of_osprofiler if scope == osprofiler_otlp.SCOPE else _span
            for message in scope_spans.spans:
                reason = _refusal(message)
                if reason:
                    inbox.rejected[reason] += 1
                else:
                    spans.append(span_of(message, scope))


def is_trace_id(content: bytes) -> bool:
    """Whether these bytes may name a trace."""
    return len(content) == 16 and content != ZERO_TRACE


def is_span_id(content: bytes) -> bool:
    """Whether these bytes may name a span."""
    return len(content) == 8 and content != ZERO_SPAN


def _refusal(span: Any) -> str:
    if not is_trace_id(span.trace_id):
        return "trace-id"
    if not is_span_id(span.span_id):
        return "span-id"
    if len(span.parent_span_id) not in (0, 8):
        return "parent-id"
    if span.start_time_unix_nano > TIME_NS_MAX or span.end_time_unix_nano > TIME_NS_MAX:
        return "time"
    return ""


def _span(span: Any, scope: str) -> SpanRecord:
    parent_id, kind = span.parent_span_id, span.kind
    status = span.status
    code = status.code
    events, links = span.events, span.links
    return SpanRecord(
        span.trace_id,
        span.span_id,
        b"" if parent_id == ZERO_SPAN else parent_id,
        span.name,
        _KINDS[kind] if 0 <= kind < len(_KINDS) else SpanKind.UNSPECIFIED,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        attributes_of(span.attributes),
        _STATUSES[code] if 0 <= code < len(_STATUSES) else Status.UNSET,
        status.message,
        tuple([_event(event) for event in events]) if events else (),
        tuple(
            [
                Link(link.trace_id, link.span_id, attributes_of(link.attributes))
                for link in links
                if is_trace_id(link.trace_id) and is_span_id(link.span_id)
            ]
        )
        if links
        else (),
        scope,
    )


def _of_osprofiler(span: Any, scope: str) -> SpanRecord:
    return osprofiler_otlp.understood(_span(span, scope))


def _event(event: Any) -> Event:
    at_ns = min(event.time_unix_nano, TIME_NS_MAX)
    return Event(event.name, at_ns, attributes_of(event.attributes))
