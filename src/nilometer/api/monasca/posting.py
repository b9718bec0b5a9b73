"""Points that are posted, as monasca-agent and `monasca metric-create` send them."""

from __future__ import annotations

import json
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from nilometer.api.monasca.faults import Fault, unprocessable
from nilometer.api.monasca.grammar import DIMENSION_NEVER, name_of
from nilometer.api.monasca.metrics import POSTED, TENANT
from nilometer.api.problems import cut
from nilometer.model import Batch, Kind, Reading, Resource

if TYPE_CHECKING:
    from fastapi import Request

BODY_BYTES_MAX: Final = 8 << 20  # monasca-agent's forwarder sends some 500 points, 250 kB
POINTS_MAX: Final = 20_000  # of that body, at 400 bytes each
DIMENSION_CHARS_MAX: Final = 255
VALUE_META_MAX: Final = 16
VALUE_META_CHARS_MAX: Final = 2048
VALUE_META_DEPTH_MAX: Final = 32  # Python reads back what is nested some hundred times at most
TIMESTAMP_MS_MAX: Final = (2**63 - 1) // 10**6
NS_PER_MS: Final = 10**6

_encode: Final = json.JSONEncoder(
    separators=(",", ":"), ensure_ascii=False, allow_nan=False
).encode


async def posted(request: Request, tenant: str | None) -> Batch:
    """The points in a request's body."""
    if request.headers.get("content-type") != "application/json":
        raise Fault(400, "Bad content type. Must be application/json")
    try:
        told = json.loads(await _body(request))
    except (ValueError, RecursionError):
        raise Fault(400, "Request body is not valid JSON") from None
    points = told if isinstance(told, list) else [told]
    if len(points) > POINTS_MAX:
        raise Fault(413, f"at most {POINTS_MAX} metrics at a time")
    attributes = () if tenant is None else ((TENANT, tenant),)
    readings = tuple(reading_of(each) for each in points)
    return Batch(Resource("monasca", attributes=attributes), readings)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_BYTES_MAX:
            raise Fault(413, f"at most {BODY_BYTES_MAX} bytes")
    return bytes(body)


def reading_of(told: Any) -> Reading:
    """One point; refused if anything in it is not as Monasca wants it."""
    if not isinstance(told, dict):
        raise unprocessable("a metric is a JSON object")
    for key in ("name", "timestamp", "value"):
        if key not in told:
            raise unprocessable(f"Missing {key}")
    name = told["name"]
    if not isinstance(name, str) or not name:
        raise unprocessable("invalid metric name")
    at_ns = _at_ns(told["timestamp"])
    return Reading(
        name_of(name),
        Kind.GAUGE,
        _dimensions(told.get("dimensions")),
        _number("Value", told["value"]),
        at_ns,
        at_ns,
        "",
        _value_meta(told.get("value_meta")),
        POSTED,
    )


def _number(what: str, value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise unprocessable(f"{what} must be a number")
    try:
        finite = isfinite(value)
    except OverflowError:  # a whole number beyond every float
        finite = False
    if not finite:
        raise unprocessable(f"{what} must be a finite number")
    return value


def _at_ns(timestamp: object) -> int:
    """Milliseconds since 1970, whole or not."""
    told = _number("Timestamp", timestamp)
    if not 0 <= told <= TIMESTAMP_MS_MAX:
        raise unprocessable("Timestamp must be milliseconds since 1970")
    whole = int(told)
    return whole * NS_PER_MS + round((told - whole) * NS_PER_MS)


def _dimensions(told: object) -> tuple[tuple[str, str], ...]:
    if told is None:
        return ()
    if not isinstance(told, dict):
        raise unprocessable("dimensions must be a JSON object")
    for key, value in told.items():
        if not key or len(key) > DIMENSION_CHARS_MAX or key.startswith("_"):
            raise unprocessable(f"invalid dimension key {cut(key)!r}")
        if not isinstance(value, str) or not 0 < len(value) <= DIMENSION_CHARS_MAX:
            raise unprocessable(f"dimension {cut(key)!r} must be 1 to 255 characters of text")
        if DIMENSION_NEVER.search(key + value) or "\x00" in key + value:
            raise unprocessable(f"invalid characters in dimension {cut(key)!r}")
    return tuple(sorted(told.items()))


def _value_meta(told: object) -> str:
    """The value meta as it is kept: JSON in the place of a description. What is under its keys
    may be any JSON, as Monasca takes it."""
    if not told:
        return ""
    if not isinstance(told, dict):
        raise unprocessable("value_meta must be a JSON object")
    if len(told) > VALUE_META_MAX:
        raise unprocessable(f"value_meta has at most {VALUE_META_MAX} entries")
    if any(not 0 < len(key) <= DIMENSION_CHARS_MAX for key in told):
        raise unprocessable("invalid key in value_meta")
    if _is_deep(told, VALUE_META_DEPTH_MAX):
        raise unprocessable(f"value_meta is nested deeper than {VALUE_META_DEPTH_MAX}")
    try:
        text = _encode(told)
    except ValueError:
        raise unprocessable("value_meta holds a number that no JSON can say") from None
    if len(text) > VALUE_META_CHARS_MAX:
        raise unprocessable(f"value_meta has at most {VALUE_META_CHARS_MAX} characters of JSON")
    return text


def _is_deep(told: object, left: int) -> bool:
    """Whether there is more nested in it than so much."""
    if not isinstance(told, dict | list):
        return False
    held = told.values() if isinstance(told, dict) else told
    return left == 0 or any(_is_deep(one, left - 1) for one in held)
