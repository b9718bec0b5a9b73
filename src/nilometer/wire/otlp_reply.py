"""OTLP answers, written and read: partial success, and errors as google.rpc.Status.

Both are so small that neither the service nor the collector needs protobuf for them.
"""

from __future__ import annotations

import json as json_text
from enum import Enum
from typing import Final, NamedTuple

from nilometer.errors import WireError
from nilometer.wire.otlp_bytes import varint

REPLY_BYTES_MAX: Final = 64 * 2**10  # a few numbers and a sentence; more is not an answer

MEDIA_TYPES: Final = {"application/x-protobuf": False, "application/json": True}
"""Content-Type and whether it is JSON."""

RPC_CODES: Final = {
    401: 16,  # UNAUTHENTICATED
    403: 7,  # PERMISSION_DENIED
    404: 12,  # UNIMPLEMENTED, as gRPC itself maps it
    405: 12,
    408: 4,  # DEADLINE_EXCEEDED
    413: 8,  # RESOURCE_EXHAUSTED
    500: 13,  # INTERNAL
    503: 14,  # UNAVAILABLE
}
INVALID_ARGUMENT: Final = 3
"""google.rpc.Code of an HTTP status; of one that is not listed it is INVALID_ARGUMENT."""


class Signal(Enum):
    """The three kinds of requests, by the JSON name of what was refused."""

    TRACES = "rejectedSpans"
    METRICS = "rejectedDataPoints"
    LOGS = "rejectedLogRecords"


class Reply(NamedTuple):
    """What a receiver says: how many items it refused, and why."""

    rejected: int = 0
    message: str = ""


def encode(signal: Signal, reply: Reply, *, json: bool) -> bytes:
    """The body of a 200: empty success, or partial."""
    if json:
        partial = {signal.value: str(reply.rejected), "errorMessage": reply.message}
        return json_text.dumps({"partialSuccess": partial} if reply != Reply() else {}).encode()
    if reply == Reply():
        return b""
    text = reply.message.encode("utf-8", "replace")
    partial_success = b"\x08" + varint(reply.rejected) if reply.rejected else b""
    if text:
        partial_success += b"\x12" + varint(len(text)) + text
    return b"\x0a" + varint(len(partial_success)) + partial_success


def encode_error(status: int, message: str, *, json: bool) -> bytes:
    """The body of that HTTP status, a 4xx or 5xx: a google.rpc.Status."""
    code = RPC_CODES.get(status, INVALID_ARGUMENT)
    if json:
        return json_text.dumps({"code": code, "message": message}).encode()
    text = message.encode("utf-8", "replace")
    return b"\x08" + varint(code) + b"\x12" + varint(len(text)) + text


def is_json(content_type: str) -> bool | None:
    """Whether a sender with this Content-Type writes JSON; None: neither that nor protobuf."""
    return MEDIA_TYPES.get(content_type.partition(";")[0].strip().lower())


def encode_refusal(
    path: str, content_type: str, status: int, message: str
) -> tuple[bytes, str]:
    """The body that refuses a request, and its media type, in the sender's protocol.

    At OTLP's paths a google.rpc.Status in the encoding of the request, elsewhere JSON.
    """
    if not path.startswith("/v1/"):
        return json_text.dumps({"detail": message}).encode(), "application/json"
    json = is_json(content_type) is not False
    media_type = "application/json" if json else "application/x-protobuf"
    return encode_error(status, message, json=json), media_type


def decode(body: bytes) -> Reply:
    """What a receiver refused, of protobuf; WireError(``malformed``) if it cannot be told."""
    partial = _fields(body).get(1, b"")
    if not isinstance(partial, bytes):
        raise _malformed()
    told = _fields(partial)
    rejected, text = told.get(1, 0), told.get(2, b"")
    if not isinstance(rejected, int) or not isinstance(text, bytes):
        raise _malformed()
    return Reply(rejected if rejected < 2**63 else 0, text.decode("utf-8", "replace"))


def decode_error(body: bytes) -> str:
    """The message of a google.rpc.Status; empty if there is none to be read."""
    try:
        text = _fields(body).get(2, b"")
    except WireError:
        return ""
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else ""


def _malformed() -> WireError:
    return WireError("not an OTLP answer", reason="malformed")


def _fields(body: bytes) -> dict[int, int | bytes]:
    """The last value of each field of one message, by number."""
    if len(body) > REPLY_BYTES_MAX:
        raise WireError(f"an answer of {len(body)} bytes", reason="too-large")
    found: dict[int, int | bytes] = {}
    position = 0
    while position < len(body):
        key, position = _read_varint(body, position)
        kind = key & 7
        value: int | bytes
        if kind == 0:
            value, position = _read_varint(body, position)
        else:
            length = {1: 8, 5: 4}.get(kind)
            if kind == 2:
                length, position = _read_varint(body, position)
            if length is None or position + length > len(body):
                raise _malformed()
            value = body[position : position + length]
            position += length
        found[key >> 3] = value
    return found


def _read_varint(body: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(body):
            break
        byte = body[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (2**64 - 1), position
    raise _malformed()
