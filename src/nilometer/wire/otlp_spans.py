"""Spans of OTLP in: the bytes of an export request as batches, by the best twin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nilometer.twin import choose

if TYPE_CHECKING:
    from nilometer.wire.otlp_spans_pure import decode
else:
    decode = choose("nilometer.wire.otlp_spans_pure", "nilometer.wire._otlp_spans").decode

__all__ = ["decode"]
