"""Counts what a body would become before anything is made of it: two bytes can cost 500 here.

A message without any field is two bytes of protobuf, or of JSON, and a row of the tables is
made of it: without a bound one body of 16 MiB, which packs to 16 kB, took 4 GB.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from nilometer.errors import WireError

if TYPE_CHECKING:
    from collections.abc import Mapping

MESSAGES_MAX: Final = 1 << 20
"""Of one request, attributes included: 16 bytes each in the largest body the collector takes.
The densest we know, a point with three short attributes, has 24. At 500 bytes each 0.5 GB."""

JSON_MEMBERS_MAX: Final = 1 << 20
"""Objects and lists in one JSON request: an attribute is two and some 45 bytes long."""

_SMALLEST: Final = 2  # bytes: a tag and a length of 0

# What attributes hold is not looked into: whatever it is, it takes 40 times its bytes at most.
_CLOSED: Final = frozenset({"KeyValue", "AnyValue"})

_ONE_BYTE: Final = 0x7F  # the greatest number that a single byte tells

_VARINT, _FIXED64, _LENGTH, _GROUP, _END_GROUP, _FIXED32 = range(6)  # protobuf's wire types

_Schema = dict[int, Any]  # tag of a field that holds messages -> the schema of these


def check(body: bytes, descriptor: Any, *, json: bool) -> None:
    """Raise WireError ``too-large`` where the body would become too many objects."""
    if json:
        # Those in texts count, too; who sends a million of them sends smaller batches.
        if body.count(b"{") + body.count(b"[") > JSON_MEMBERS_MAX:
            raise WireError(
                f"more than {JSON_MEMBERS_MAX} objects and lists; send smaller batches",
                reason="too-large",
            )
    elif (
        len(body) > MESSAGES_MAX * _SMALLEST  # ordinary bodies are smaller: no look at them
        and messages(body, descriptor, MESSAGES_MAX) > MESSAGES_MAX
    ):
        raise WireError(
            f"more than {MESSAGES_MAX} spans, points, records and attributes;"
            " send smaller batches",
            reason="too-large",
        )


def messages(body: bytes, descriptor: Any, enough: int) -> int:
    """How many messages the body holds; counting ends beyond `enough`, or where it breaks."""
    try:
        return _messages(body, _schema(descriptor), enough)
    except IndexError:  # it was cut off: the parser will refuse it
        return 0


def _messages(body: bytes, schema: Mapping[int, Any], enough: int) -> int:
    outer: list[tuple[int, Mapping[int, Any]]] = []
    at, end, found = 0, len(body), 0
    while found <= enough:
        if at >= end:
            if not outer or at > end:
                break
            end, schema = outer.pop()
            continue
        tag, at = body[at], at + 1
        if tag > _ONE_BYTE:  # looked at here, as a call would double what counting costs
            tag, at = _varint(body, at - 1)
        kind = tag & 7
        if kind == _LENGTH:
            size, at = body[at], at + 1
            if size > _ONE_BYTE:
                size, at = _varint(body, at - 1)
            inner = schema.get(tag)
            if inner is not None:
                found += 1
            if inner and at + size <= end:
                outer.append((end, schema))
                end, schema = at + size, inner
            else:
                at += size
        elif kind == _VARINT:
            _, at = _varint(body, at)
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        elif kind not in (_GROUP, _END_GROUP):  # what a group holds is counted as if outside
            break
    return found


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """The number, and where the next thing begins."""
    value = shift = 0
    while True:
        byte = body[at]
        at += 1
        # The parser takes 10 bytes at most; of a longer number only its end matters.
        value |= (byte & _ONE_BYTE) << shift if shift < 64 else 0
        if byte <= _ONE_BYTE:
            return value, at
        shift += 7


@lru_cache(maxsize=64)  # three kinds of requests, some 30 types of messages
def _schema(descriptor: Any) -> _Schema:
    return {
        field.number << 3 | _LENGTH: {}
        if field.message_type.name in _CLOSED
        else _schema(field.message_type)
        for field in descriptor.fields
        if field.message_type is not None
    }
