"""Protobuf's few forms as bytes, and OTLP's attributes in them; otlp_pure.py is made of it."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from nilometer.wire.attributes import text_of_any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
UINT64_MAX: Final = 2**64 - 1

FIXED64: Final = Struct("<Q").pack
_DOUBLE: Final = Struct("<d").pack

SMALL: Final = [bytes([n]) for n in range(128)]
"""Whole numbers below 128 as varints."""


def varint(n: int) -> bytes:
    """A whole number in groups of seven bits."""
    if n < 128:
        return SMALL[n]
    out = bytearray()
    while n >= 128:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(key: bytes, content: bytes) -> bytes:
    """A field of bytes, text or a message: key, length, content."""
    return key + varint(len(content)) + content


def utf8(text: object) -> bytes:
    """Text as UTF-8, question marks for what is not Unicode; of other kinds their text."""
    if not isinstance(text, str):
        text = text_of_any(text)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def text_field(key: bytes, text: str) -> bytes:
    """A string field; nothing if empty."""
    if not text:
        return b""
    encoded = utf8(text)
    return key + varint(len(encoded)) + encoded


def unsigned(n: int) -> int:
    """What no unsigned field can hold becomes the nearest that it can."""
    return 0 if n < 0 else n if n <= UINT64_MAX else UINT64_MAX


def double(value: float) -> bytes:
    """Eight bytes; what lies beyond all floats becomes infinity."""
    try:
        return _DOUBLE(float(value))
    except OverflowError:  # a whole number beyond all floats
        return _DOUBLE(float("inf") if value > 0 else float("-inf"))


def attribute_fields(key: bytes, pairs: Iterable[tuple[str, Any]]) -> bytes:
    """Each pair as one KeyValue field."""
    out = b""
    for name, value in pairs:
        label = _LABELS.get(name)
        if label is None:
            label = _label(name)
        any_value = _VALUES.get(type(value), _other_value)(value)
        length = len(label) + 1 + len(any_value)
        if length < 128:  # then so is the value's, and each takes one byte
            out += b"%b%c%b%c%b" % (key, length, label, len(any_value), any_value)
        else:
            pair = label + varint(len(any_value)) + any_value
            out += key + varint(len(pair)) + pair
    return out


_LABELS: Final[dict[str, bytes]] = {}
"""Prepared bytes: the key of a pair and the field key of its value."""

_LABELS_MAX: Final = 1024
"""Code names its attributes; who makes names up at run time gets no memory of ours for it."""


def _label(name: str) -> bytes:
    encoded = utf8(name)
    label = b"\x0a" + varint(len(encoded)) + encoded + b"\x12"
    if len(_LABELS) < _LABELS_MAX and isinstance(name, str):
        _LABELS[name] = label
    return label


def string_value(value: str) -> bytes:
    """An AnyValue's content for a text."""
    try:
        encoded = value.encode()
    except UnicodeEncodeError:
        encoded = value.encode("utf-8", "replace")
    length = len(encoded)
    return b"\x0a" + (SMALL[length] if length < 128 else varint(length)) + encoded


def _bool_value(value: bool) -> bytes:
    return b"\x10\x01" if value else b"\x10\x00"


def _int_value(value: int) -> bytes:
    if INT64_MIN <= value <= INT64_MAX:
        return b"\x18" + varint(value & UINT64_MAX)
    return string_value(text_of_any(value))


def _double_value(value: float) -> bytes:
    return b"\x21" + _DOUBLE(value)


def _other_value(value: Any) -> bytes:
    if isinstance(value, str):
        return string_value(value)
    if isinstance(value, int):
        return _int_value(value)
    if isinstance(value, float):
        return _double_value(value)
    return string_value(text_of_any(value))


_VALUES: Final[dict[type, Callable[[Any], bytes]]] = {
    str: string_value,
    int: _int_value,
    bool: _bool_value,
    float: _double_value,
}


def bytes_field(key: bytes, content: bytes) -> bytes:
    """A field of bytes; nothing if empty."""
    return key + varint(len(content)) + content if content else b""
