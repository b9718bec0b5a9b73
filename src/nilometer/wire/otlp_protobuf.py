"""Protobuf bodies of OTLP into messages of protobuf's own classes."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError

from nilometer.errors import WireError
from nilometer.wire import otlp_count


def parse(body: bytes, request: Any) -> None:
    """Fill the request's message; WireError ``too-large`` or ``malformed``."""
    otlp_count.check(body, request.DESCRIPTOR, json=False)
    try:
        request.ParseFromString(body)
    except DecodeError as error:
        raise WireError(f"not protobuf: {error}", reason="malformed") from None
