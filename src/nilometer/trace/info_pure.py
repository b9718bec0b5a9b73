"""OSProfiler's X-Trace-Info as it nearly always is: the specification of C's `osprofiler_ids`.

OSProfiler writes two UUIDs by ``json.dumps``, so what it sends differs in nothing but their
digits. Whatever is spelled otherwise is left to `signing.read_osprofiler`, which takes all that
OSProfiler takes.
"""

from __future__ import annotations

from binascii import a2b_base64, a2b_hex
from typing import Final

INFO_CHARS: Final = 140  # 104 bytes in base64
BEFORE: Final = b'{"base_id": "'
BETWEEN: Final = b'", "parent_id": "'
AFTER: Final = b'"}'
UUID_CHARS: Final = 36
_BASE: Final = len(BEFORE)
_BASE_END: Final = _BASE + UUID_CHARS
_PARENT: Final = _BASE_END + len(BETWEEN)
_PARENT_END: Final = _PARENT + UUID_CHARS


def osprofiler_ids(info: str) -> tuple[str, bytes, bytes] | None:
    """The base id, the trace id (16 bytes) and the parent id (8 bytes, or none where both are
    the same) of an X-Trace-Info in its usual spelling; None if it is spelled otherwise.

    The alphabet need not be translated: neither "-" nor "_" can come of these characters.
    """
    if len(info) != INFO_CHARS:
        return None
    try:
        said = a2b_base64(info)
        if (
            said[:_BASE] != BEFORE
            or said[_BASE_END:_PARENT] != BETWEEN
            or said[_PARENT_END:] != AFTER
        ):
            return None
        base_id, parent_id = said[_BASE:_BASE_END], said[_PARENT:_PARENT_END]
        trace_id, parent = _uuid(base_id), _uuid(parent_id)[8:]
    except ValueError:  # not base64, not UUIDs
        return None
    if not any(trace_id) or not any(parent):
        return None
    return base_id.decode("ascii"), trace_id, b"" if parent == trace_id[8:] else parent


def _uuid(text: bytes) -> bytes:
    if text[8:24:5] != b"----":
        raise ValueError("dashes elsewhere")
    value = a2b_hex(text.replace(b"-", b""))
    if len(value) != 16:
        raise ValueError("more dashes")
    return value
