"""OTLP/JSON into the messages that protobuf would have given.

Not protobuf's own JSON: OTLP writes ids in hexadecimal where that has base64. Names may be
lowerCamelCase or the schema's; enums numbers or names; 64-bit numbers texts or numbers; unknown
members are passed over, as the specification asks.

A span, point or record that has a member of a wrong type is left out; its neighbours stay.
"""

from __future__ import annotations

import json
from base64 import b64decode
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.descriptor import FieldDescriptor

from nilometer.errors import WireError, said_by

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.message import Message

DEPTH_MAX: Final = 100  # what protobuf's own parser allows

_HEX: Final = frozenset({"trace_id", "span_id", "parent_span_id"})
_NO_ID: Final = b"\x00"  # of no valid length: the item is refused, not the request

_ITEMS: Final = frozenset(
    {
        "Span",
        "LogRecord",
        "NumberDataPoint",
        "HistogramDataPoint",
        "ExponentialHistogramDataPoint",
        "SummaryDataPoint",
    }
)
"""Messages that stand for themselves: each becomes rows, or is refused, by itself."""

NUMBER_CHARS_MAX: Final = 64  # of 64 bits: 20 digits; a double as printers write it: 24

REFUSED_MAX: Final = 1 << 16
"""Items left out of one request; with one more it is refused whole. A wrong item of two bytes
costs some 3 us and 100 bytes: 0.2 s and 7 MB, where a body could hold eight million."""

_INTS: Final = frozenset(
    {
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT32,
        FieldDescriptor.CPPTYPE_UINT64,
    }
)


def parse(body: bytes, message: Message) -> list[str]:
    """Fill the message, and say what was wrong with each item that is left out.

    Of what is not an item's a WireError says ``json``, ``too-deep`` or ``field``.
    """
    try:
        document = _loads(body)
    except RecursionError:
        raise WireError("JSON nested too deep", reason="too-deep") from None
    except ValueError as error:
        raise WireError(f"not JSON: {said_by(error)}", reason="json") from None
    refused: list[str] = []
    _fill(message, document, 0, refused)
    return refused


def _loads(body: bytes) -> Any:
    """The document, in which numbers that Python takes for an attack are infinite."""
    try:
        return json.loads(body)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError:  # one has thousands of digits; the rest may be good
        return json.loads(body, parse_int=_int_or_infinity)


def _int_or_infinity(digits: str) -> float:
    return int(digits) if len(digits) <= NUMBER_CHARS_MAX else float("inf")


@lru_cache(maxsize=256)  # OTLP has some 60 message types
def _fields(descriptor: Any) -> Mapping[str, FieldDescriptor]:
    by_name = {field.name: field for field in descriptor.fields}
    return by_name | {field.json_name: field for field in descriptor.fields}


def _fill(message: Any, document: Any, depth: int, refused: list[str]) -> None:
    if depth > DEPTH_MAX:
        raise WireError("JSON nested too deep", reason="too-deep")
    if not isinstance(document, dict):
        raise WireError(f"{type(document).__name__} where an object is due", reason="field")
    fields = _fields(message.DESCRIPTOR)
    for name, value in document.items():
        field = fields.get(name)
        if field is None or value is None:
            continue
        try:
            _set(message, field, value, depth, refused)
        except WireError:
            raise
        except (TypeError, ValueError, OverflowError) as error:
            raise WireError(f"{name}: {error}", reason="field") from None


def _set(message: Any, field: Any, value: Any, depth: int, refused: list[str]) -> None:
    is_message = field.message_type is not None
    if field.is_repeated:
        if not isinstance(value, list):
            raise TypeError(f"{type(value).__name__}, not a list")
        target = getattr(message, field.name)
        if is_message and field.message_type.name in _ITEMS:
            _add_items(target, value, depth + 1, refused)
        elif is_message:
            for item in value:
                _fill(target.add(), item, depth + 1, refused)
        else:
            target.extend([_scalar(field, item) for item in value])
    elif is_message:
        target = getattr(message, field.name)
        target.SetInParent()
        _fill(target, value, depth + 1, refused)
    else:
        setattr(message, field.name, _scalar(field, value))


def _add_items(target: Any, items: list[Any], depth: int, refused: list[str]) -> None:
    for item in items:
        try:
            _fill(target.add(), item, depth, refused)
        except WireError as error:
            if error.reason != "field" or len(refused) >= REFUSED_MAX:
                raise
            del target[-1]
            refused.append(str(error).removesuffix(" [wire-field]"))


def _scalar(field: Any, value: Any) -> Any:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        if not isinstance(value, str):
            raise TypeError(f"{type(value).__name__}, not text")
        if field.type == FieldDescriptor.TYPE_BYTES:
            return _bytes(field.name, value)
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        if not isinstance(value, bool):
            raise TypeError(f"{type(value).__name__}, not true or false")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError(f"{type(value).__name__}, not a number")
    if isinstance(value, str) and len(value) > NUMBER_CHARS_MAX:
        raise ValueError(f"a text of {len(value)} characters is no number of 64 bits")
    if kind in _INTS:
        return _whole(value)
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        names = field.enum_type.values_by_name
        return names[value].number if value in names else _whole(value)
    try:
        return float(value)  # NaN, Infinity and -Infinity are texts
    except ValueError:
        raise ValueError(f"{value!r} is not a number") from None


def _whole(value: float | str) -> int:
    try:
        number = int(value)
    except (ValueError, OverflowError):
        number = None
    if number is None or (isinstance(value, float) and number != value):
        raise ValueError(f"{value!r} is not a whole number")
    if abs(number) >= 2**64:
        raise ValueError("a number beyond 64 bits")
    return number


def _bytes(name: str, value: str) -> bytes:
    if name not in _HEX:
        return b64decode(value, validate=True)
    try:
        return bytes.fromhex(value)
    except ValueError:
        return _NO_ID
