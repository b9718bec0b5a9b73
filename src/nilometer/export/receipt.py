"""What an OTLP receiver's answer says: how much it rejected, and when to come again. No I/O."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Final

_VARINT_BYTES_MAX: Final = 10  # of a 64-bit number
_INT64_MAX: Final = 2**63 - 1


def rejected_rows(body: bytes) -> int:
    """The rejected rows that an Export...ServiceResponse tells; 0 if it tells none.

    The answer is ``{1: {1: rejected, 2: message}}`` for all three signals. Never raises: an
    answer that cannot be read came with a status of success, and that counts.

    >>> rejected_rows(bytes.fromhex("0a020805"))
    5
    """
    partial = _fields(body).get(1, b"")
    rejected = _fields(partial).get(1, 0) if isinstance(partial, bytes) else 0
    return rejected if isinstance(rejected, int) and 0 < rejected <= _INT64_MAX else 0


def retry_after_s(header: str | None, now_ns: int) -> float | None:
    """The seconds that a Retry-After header asks for, by number or by date; None if nothing.

    >>> retry_after_s("7", 0), retry_after_s("soon", 0)
    (7.0, None)
    """
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
        return max(0.0, at.timestamp() - now_ns / 1e9)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _fields(message: bytes) -> dict[int, int | bytes]:
    """The varint and length-delimited fields of a protobuf message, the last of each number.

    Stops at whatever it cannot read.
    """
    found: dict[int, int | bytes] = {}
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        if key & 7 == 0:
            found[key >> 3], at = _varint(message, at)
        elif key & 7 == 2:
            size, at = _varint(message, at)
            found[key >> 3] = message[at : at + size]
            at += size
        elif key & 7 in (1, 5):
            at += 8 if key & 7 == 1 else 4
        else:
            break
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift, byte in enumerate(message[at : at + _VARINT_BYTES_MAX]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, at + shift + 1
    return 0, len(message)
