"""SQL as it is told: without its values, and read once however often it is executed."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from nilometer.integrations.statement import READ_CHARS_MAX, normalised

NAMES_STRINGS: Final = frozenset(["mysql", "mariadb"])
"""Databases where double quotes stand around strings. In SQLite they do so only where nothing
has that name; Django puts every name in them, and its statements would say nothing."""


def shown_statement(statement: str, double_quotes_strings: bool) -> str:
    """A statement without its values, remembered: reading one takes up to 0.1 ms."""
    if len(statement) > READ_CHARS_MAX:
        return normalised(statement, double_quotes_strings=double_quotes_strings)
    return _remembered(statement, double_quotes_strings)


@lru_cache(maxsize=1_000)  # 16 kB of text each at most
def _remembered(statement: str, double_quotes_strings: bool) -> str:
    return normalised(statement, double_quotes_strings=double_quotes_strings)
