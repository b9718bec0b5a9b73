"""OSProfiler's ids, which may be any text, as the bytes of ours."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from nilometer.model.identity import id_bytes, uuid_bytes, uuid_text
from nilometer.trace.limits import cut
from nilometer.trace.signing import INFO_CHARS_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping


def ids_of(
    sent: Mapping[str, Any],
) -> tuple[tuple[str, bytes, bytes], dict[str, object] | None]:
    """The ids as `osprofiler_ids` gives them, and attributes for the root span.

    What is empty there is made up or follows from the base id, as OSProfiler does.
    """
    base_id = _text(sent.get("base_id")) or uuid_text(os.urandom(16).hex())
    parent_id = _text(sent.get("parent_id")) or base_id
    trace_id = id_bytes(base_id, 16)
    parent = b"" if parent_id == base_id else id_bytes(parent_id, 8)
    if parent == trace_id[8:]:
        parent = b""
    attributes: dict[str, object] | None = None
    if uuid_bytes(base_id) != trace_id:
        attributes = {"osprofiler.base_id": base_id}
    return (base_id, trace_id, parent), attributes


def _text(value: Any) -> str:
    """An id as text; OSProfiler takes any JSON value, and takes an empty one for none."""
    if not value:
        return ""
    return value if isinstance(value, str) else cut(str(value), INFO_CHARS_MAX)
