"""Attributes of many rows as JSON texts, by the best twin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nilometer.twin import choose

if TYPE_CHECKING:
    from nilometer.store.jsontext import encode_all
else:
    encode_all = choose("nilometer.store.jsontext", "nilometer.store._jsontexts").encode_all

__all__ = ["encode_all"]
