"""Attribute values of kinds that no attribute should have: their text, whatever they are."""

from __future__ import annotations

from math import isfinite


def text_of_any(value: object) -> str:
    """The value's text; of one whose ``__str__`` fails, the name of its class.

    Whole numbers of more digits than the interpreter converts come out in hexadecimal.

    >>> text_of_any(None), text_of_any([1])
    ('None', '[1]')
    """
    try:
        return str(value)
    except Exception:  # noqa: BLE001  somebody's __str__ must not stop a batch
        return hex(value) if isinstance(value, int) else f"<{type(value).__name__}>"


def json_value(value: object) -> str | int | float | bool:
    """The value as any reader of JSON takes it: no NaN, no infinity, no more than 64 bits."""
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    if isinstance(value, float) and isfinite(value):
        return value
    return text_of_any(value)
