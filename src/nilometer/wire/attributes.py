"""Attribute values of kinds that no attribute should have: their text, whatever they are."""

from __future__ import annotations


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
