"""Spans out of the bytes of an ExportTraceServiceRequest, by protobuf's own classes.

The specification of `_otlp_spans.c`, which hands back every body that is out of the ordinary:
what is malformed is so because protobuf's parser says it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from nilometer.wire import otlp_protobuf, otlp_traces_in
from nilometer.wire.otlp_values import Decoded, Inbox

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nilometer.model import SpanRecord


def decode(body: bytes) -> Decoded:
    """What the request holds; WireError ``too-large`` or ``malformed``."""
    request = ExportTraceServiceRequest()
    otlp_protobuf.parse(body, request)
    inbox = Inbox()
    otlp_traces_in.read(request, inbox)
    return inbox.decoded()


def gathered(
    body: bytes,
    found: Sequence[tuple[bytes, Sequence[SpanRecord]]],
    rejected: Mapping[str, int],
) -> Decoded:
    """What the request holds, whose spans are read already; `found` has a pair for each of its
    ResourceSpans, with the bytes of a request that holds only its resource.
    """
    inbox = Inbox()
    for resource, spans in found:
        try:
            request = ExportTraceServiceRequest.FromString(resource)
        except DecodeError:
            return decode(body)
        inbox.of(request.resource_spans[0].resource)[1].extend(spans)
    inbox.rejected.update(rejected)
    return inbox.decoded()
