"""OSProfiler's ids, which may be any text, as the bytes of ours."""

from __future__ import annotations

from binascii import Error, a2b_hex
from hashlib import sha256


def id_bytes(text: str, size: int) -> bytes:
    """An id of OSProfiler's as `size` bytes (16 or 8), never all zero.

    A UUID gives its last bytes, which is how OSProfiler itself shortens one; any other text
    gives the first bytes of its SHA-256.

    >>> id_bytes("7a2b6c1e-9f00-4a55-b6d7-0c9d1e2f3a4b", 8).hex()
    'b6d70c9d1e2f3a4b'
    """
    value = uuid_bytes(text)
    if value is not None and any(value[-size:]):
        return value[-size:]
    return sha256(text.encode("utf-8", "surrogatepass")).digest()[:size]


def uuid_bytes(text: str) -> bytes | None:
    """The 16 bytes of a UUID in one of its usual spellings, None if it is none."""
    digits = text.replace("urn:", "").replace("uuid:", "").strip("{}").replace("-", "")
    if len(digits) != 32:
        return None
    try:
        return a2b_hex(digits.lower())
    except (Error, ValueError):
        return None


def uuid_text(digits: str) -> str:
    """32 hexadecimal digits spelled as a UUID.

    >>> uuid_text("7a2b6c1e9f004a55b6d70c9d1e2f3a4b")
    '7a2b6c1e-9f00-4a55-b6d7-0c9d1e2f3a4b'
    """
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
