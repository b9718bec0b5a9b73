"""What a registry is asked for, looked at before anything is made of it; and who asked."""

from __future__ import annotations

import sys
from typing import Final

# OpenTelemetry's limit on the name of an instrument.
NAME_CHARS_MAX: Final = 255

_OURS: Final = frozenset(
    f"nilometer{module}" for module in ("", ".measure", ".measure.registry", ".measure.asked")
)


def refuse_other_than_text(name: object, unit: object = "1", description: object = "") -> None:
    """Raise TypeError for what is no text, ValueError for a name that is empty."""
    for what, text in (("name", name), ("unit", unit), ("description", description)):
        if not isinstance(text, str):
            raise TypeError(f"{what} must be text, not {type(text).__name__}")
    if not name:
        raise ValueError("name must not be empty")


def way(per_thread: bool) -> str:
    """How an error says that values are kept by thread."""
    return " by thread" if per_thread else ""


def origin() -> str:
    """File and line of the first caller outside of this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__") in _OURS:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
