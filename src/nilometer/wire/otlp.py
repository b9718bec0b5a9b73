"""OTLP out: batches as the bytes of export requests, by the best twin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nilometer.twin import choose

if TYPE_CHECKING:
    from nilometer.wire.otlp_pure import encode_logs, encode_metrics, encode_traces
else:
    _twin = choose("nilometer.wire.otlp_pure", "nilometer.wire._otlp")
    encode_logs = _twin.encode_logs
    encode_metrics = _twin.encode_metrics
    encode_traces = _twin.encode_traces

__all__ = ["encode_logs", "encode_metrics", "encode_traces"]
