"""OTLP in: the bodies of export requests, protobuf or JSON, as batches, one per resource.

A body that cannot be read is a WireError, by reason ``too-large``, ``malformed`` (protobuf),
``json``, ``too-deep`` or ``field`` (JSON). Of one that can, each item stands for itself: those
refused are counted by reason in `Decoded.rejected`, for the answer's partial success. Unknown
fields are passed over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from nilometer.errors import WireError
from nilometer.wire import (
    otlp_count,
    otlp_json,
    otlp_logs_in,
    otlp_metrics_in,
    otlp_protobuf,
    otlp_spans,
    otlp_traces_in,
)
from nilometer.wire.otlp_values import Decoded, Inbox

if TYPE_CHECKING:
    from collections.abc import Callable

BODY_BYTES_MAX: Final = 64 * 2**20
"""65,536 spans of 1 KiB; other collectors stop between 4 and 20 MiB."""


def decode_traces(body: bytes, *, json: bool) -> Decoded:
    """The spans of an ExportTraceServiceRequest."""
    if not json:
        _check_size(body)
        return otlp_spans.decode(body)
    return _decode(ExportTraceServiceRequest(), body, json, otlp_traces_in.read)


def decode_metrics(body: bytes, *, json: bool) -> Decoded:
    """The readings of an ExportMetricsServiceRequest."""
    return _decode(ExportMetricsServiceRequest(), body, json, otlp_metrics_in.read)


def decode_logs(body: bytes, *, json: bool) -> Decoded:
    """The events of an ExportLogsServiceRequest."""
    return _decode(ExportLogsServiceRequest(), body, json, otlp_logs_in.read)


def _decode(
    request: Any, body: bytes, json: bool, read: Callable[[Any, Inbox], None]
) -> Decoded:
    _check_size(body)
    refused: list[str] = []
    if json:
        otlp_count.check(body, request.DESCRIPTOR, json=True)
        refused = otlp_json.parse(body, request)
    else:
        otlp_protobuf.parse(body, request)
    inbox = Inbox()
    if refused:
        inbox.rejected["field"], inbox.example = len(refused), refused[0]
    read(request, inbox)
    return inbox.decoded()


def _check_size(body: bytes) -> None:
    if len(body) > BODY_BYTES_MAX:
        raise WireError(
            f"{len(body)} bytes, more than the {BODY_BYTES_MAX} allowed", reason="too-large"
        )


__all__ = ["BODY_BYTES_MAX", "Decoded", "decode_logs", "decode_metrics", "decode_traces"]
