"""A question's SQL in Spark's dialect: SQLGlot translates, and what it cannot know is added.

Three things mean something else there. A whole number that is bound has 32 bits if it fits. A
pattern is Java's: `.` stops at other ends of lines, letters of all alphabets are words, `\\s`
is wider. And Java follows a repeated group by calls of itself, so that a long list would end in
an overflow of the stack: groups that never give back what they took are followed in a loop.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

import sqlglot
from sqlglot import exp

if TYPE_CHECKING:
    from collections.abc import Mapping


class Translated(NamedTuple):
    """SQL for Spark, and the values that it names."""

    text: str
    values: dict[str, object]


def in_spark(text: str, values: Mapping[str, object]) -> Translated:
    """A question in DuckDB's dialect as Spark gives the same answer to it."""
    tree = sqlglot.parse_one(text, read="duckdb")
    for pattern in [each.expression for each in tree.find_all(exp.RegexpReplace)]:
        for literal in pattern.find_all(exp.Literal):
            literal.set("this", in_java(literal.this))
    bound: dict[str, object] = {}
    for named in list(tree.find_all(exp.Placeholder)):
        bound[named.name] = values[named.name]
        if isinstance(values[named.name], int):
            named.replace(exp.cast(named.copy(), "BIGINT", dialect="duckdb"))
    return Translated(tree.sql("spark", unsupported_level=sqlglot.ErrorLevel.RAISE), bound)


_WORD: Final = "[0-9A-Za-z_]"
_JAVA: Final = {
    r"\s": r"[\t\n\f\r ]",
    r"\b": f"(?:(?<={_WORD})(?!{_WORD})|(?<!{_WORD})(?={_WORD}))",
    ".": r"[^\n]",
    ")*": ")*+",
    ")+": ")++",
}
_TOKEN: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\)[*+]|.", re.DOTALL)


def in_java(pattern: str) -> str:
    r"""A pattern of ours for DuckDB as Java reads it; whole, or a part between two tokens.

    A repeated group of ours is followed by nothing that must match, so what it takes at first
    it may keep.

    >>> in_java(r"(?:[^.]|\\.)*\s")
    '(?:[^.]|\\\\[^\\n])*+[\\t\\n\\f\\r ]'
    """
    return _TOKEN.sub(lambda found: _JAVA.get(found[0], found[0]), pattern)
