"""SQL without the values in it: what may be shown, and the word that says what it does.

Values are what people are: names, mails, passwords. Parameters are never recorded; what
somebody wrote into the statement itself becomes ``?`` here. Where quoting is not understood to
its end, the rest is left out rather than shown.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

STATEMENT_NAMES: Final = ("query", "operation", "statement", "sql")
"""What drivers call the statement, for who gives it by its name; PEP 249 says `operation`."""

READ_CHARS_MAX: Final = 8192
"""What is read of a statement; a bulk insert may have megabytes. The regular expression takes
0.1 us a character, of nothing but signs 1 us: 8,192 of them cost 1 ms, and 10 at worst."""

SHOWN_CHARS_MAX: Final = 2048
"""What is shown: longer than any page shows, half of what a span keeps of one attribute."""

OPERATIONS: Final = frozenset(
    [
        "SELECT",
        "INSERT",
        "UPDATE",
        "DELETE",
        "REPLACE",
        "MERGE",
        "UPSERT",
        "WITH",
        "CREATE",
        "ALTER",
        "DROP",
        "TRUNCATE",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT",
        "RELEASE",
        "SET",
        "SHOW",
        "PRAGMA",
        "EXPLAIN",
        "CALL",
        "EXEC",
        "COPY",
        "LOCK",
        "ANALYZE",
        "VACUUM",
        "VALUES",
        "LISTEN",
        "NOTIFY",
        "GRANT",
        "REVOKE",
        "DESCRIBE",
        "START",
    ]
)
"""The words that may become a dimension; every other is "OTHER"."""

NAMES_IN_DOUBLE_QUOTES: Final = frozenset(
    [
        *("postgresql", "oracle", "mssql", "redshift", "cockroachdb", "duckdb"),
        *("ibm_db_sa", "db2", "firebird", "trino", "presto", "vertica", "hana", "crate"),
    ]
)
"""SQLAlchemy's names of databases where double quotes stand around names and nothing else."""

_SKIPPED: Final = re.compile(r"(?:\s+|--[^\n]*(?:\n|$)|/\*.*?\*/|\()*", re.DOTALL)
_WORD: Final = re.compile(r"[A-Za-z]+")

# What repeats is possessive (`*+`): nothing is given back and tried again, and whatever stands
# first takes all that it has read. A statement may say what it likes: the time is its length's.
# Wherever dialects differ in where something ends (a quote behind a backslash, a comment inside
# of a comment, a quote inside of brackets) nothing that comes after it is shown.
_COMMON: Final = r"""
    (?P<words>(?:[^\W\d][\w$]*+(?!')(?:\.[^\W\d][\w$]*+(?!'))*+[ ,]{0,2}|[(),=<>;]++[ ]?)++)
  | (?P<single>[NnEeXxBb]?'(?:[^'\\]++|''|\\(?:[^']|\Z))*+(?:'|\\'.*|\Z))   # 'it''s'
  | (?P<number>(?:(?<![\w$:?.])|(?<=[\w[\])"`?]:)|(?<=[\d\])]\ :)  # :1, $1, ?1 are places;
      |(?<=[$:?])(?=[+-]?\d{6}))[+-]?                             # a[2:7] holds values
      (?:0[xXbBoO][0-9a-fA-F_]+|\d[\d_]*(?:\.[\d_]*)?(?:[eE][+-]?\d+)?))
  | (?P<space>\s+)
  | (?P<comment>/\*(?:[^*/]++|\*(?!/)|/(?!\*))*+(?:\*/|\Z)|/\*.*)
  | (?P<fraction>(?<![$:?."`)\]])\.\d[\d_]*(?:[eE][+-]?\d+)?)
  | (?P<tick>`[^`]*`)
  | (?P<unclear>`.*|\[[^]'[]*'[^]']*\].*)
  | (?P<oracle>(?<!\w)[Nn]?[Qq]'                                  # q'[it's]'
      (?:\[.*?\]'|\{.*?\}'|\(.*?\)'|<.*?>'|(?P<end>[^\s[{(<]).*?(?P=end)'|.*))
"""
_STANDARD: Final = r"""
  | (?P<dollar>(?:(?<![\w$])|(?<=\$\d)|(?<=\$\d\d))              # PostgreSQL: $tag$ ... $tag$
      \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z))
  | (?P<name>"[^"]*")
  | (?P<open>".*)
  | (?P<dashes>--[^\n]*)
"""
_MYSQL: Final = r"""
  | (?P<double>"(?:[^"\\]++|""|\\(?:[^"]|\Z))*+(?:"|\\".*|\Z))    # a string, no name
  | (?P<hash>\#[^\n]*|--(?:\s[^\n]*|\Z))
"""
# Where the dialect is not known, what is a value or a comment in any of them is not shown.
_TRIPLE: Final = r"""
    (?P<triple>(?:'''|\"\"\").*)                                  # BigQuery, Spark
  |"""
_UNKNOWN: Final = r"""
  | (?P<dollar>\$(?P<tag>(?:[^\W\d]\w*)?)\$.*)
  | (?P<double>"(?:[^"\\]++|""|\\(?:[^"]|\Z))*+(?:"|\\".*|\Z))
  | (?P<doubt>(?:\#|--|//)[^\n'"`]*+['"`].*)                         # a comment, or none
  | (?P<hash>(?:\#|--|//)[^\n]*)
"""
_LAST: Final = r"""
  | (?P<charset>[^\W\d][\w$]*+)                                  # _utf8'it', as one word
"""
_LITERALS: Final = re.compile(_COMMON + _STANDARD + _LAST, re.VERBOSE | re.DOTALL)
_LITERALS_MYSQL: Final = re.compile(_COMMON + _MYSQL + _LAST, re.VERBOSE | re.DOTALL)
_LITERALS_UNKNOWN: Final = re.compile(
    _TRIPLE + _COMMON + _UNKNOWN + _LAST, re.VERBOSE | re.DOTALL
)
_SHOWN: Final = frozenset(["words", "name", "tick", "charset"])
_BLANK: Final = frozenset(["comment", "dashes", "hash", "space"])
_VALUE: Final = r"(?:\?|%s|%\(\w+\)s|:\w+|\$\d+)"
_LISTS: Final = re.compile(rf"\(\s*{_VALUE}(?:\s*,\s*{_VALUE})+\s*\)")
_ROWS: Final = re.compile(r"\(\?, \.\.\.\)(?:\s*,\s*\(\?, \.\.\.\))+")
_ROWS_OF_ONE: Final = re.compile(rf"(\(\s*{_VALUE}\s*\))(?:\s*,\s*\(\s*{_VALUE}\s*\))+")


def operation_of(statement: str) -> str:
    """What a statement does, in one word of a fixed set.

    >>> operation_of("  -- why\\n(select 1)"), operation_of("FROBNICATE x"), operation_of("")
    ('SELECT', 'OTHER', 'OTHER')
    """
    start = _SKIPPED.match(statement, 0, READ_CHARS_MAX)
    word = _WORD.match(statement, start.end() if start else 0, READ_CHARS_MAX)
    name = word.group().upper() if word else ""
    return name if name in OPERATIONS else "OTHER"


def named_statement(named: Mapping[str, Any]) -> Any:
    """The statement among arguments that are given by their names; None if it is not there.

    >>> named_statement({"params": (7,), "query": "select %s"})
    'select %s'
    """
    return next((named[name] for name in STATEMENT_NAMES if name in named), None)


def text_of(statement: object) -> str:
    """A statement as text: drivers take bytes, too, and psycopg composes them of objects.

    >>> text_of(b"select 1"), text_of(None)
    ('select 1', '')
    """
    if isinstance(statement, str):
        return statement
    if isinstance(statement, bytes):
        return statement.decode("utf-8", "replace")
    composed: Any = statement
    for told in (_by_itself, _by_parts):
        with suppress(Exception):  # of neither kind: the driver's to refuse, a line later
            return told(composed)
    return "" if statement is None else f"({type(statement).__name__})"


def _by_itself(composed: Any) -> str:
    """Of psycopg 3, which needs no connection for it."""
    return str(composed.as_string(None))


def _by_parts(part: Any) -> str:
    """Of psycopg2, which asks a connection how to quote: names as they are, values left out."""
    if hasattr(part, "seq"):
        return "".join(map(_by_parts, part.seq))
    if hasattr(part, "strings"):
        return ".".join(f'"{name}"' for name in part.strings)
    if hasattr(part, "wrapped") or hasattr(part, "name"):  # a value, or the place of one
        return "?"
    return str(part.string)


def _replacement(match: re.Match[str]) -> str:
    kind = match.lastgroup
    if kind in _SHOWN:
        return match.group()
    return " " if kind in _BLANK else "?"


def normalised(statement: str, *, double_quotes_strings: bool | None = False) -> str:
    """A statement without literals, comments and the length of its lists, and not too long.

    `double_quotes_strings` is right for MySQL, where they do not quote names, and for SQLite,
    where they may quote either; None where it is not known.

    >>> normalised("SELECT * FROM users WHERE name = 'O''Hara' AND age > 41 -- hi")
    'SELECT * FROM users WHERE name = ? AND age > ?'
    >>> normalised("INSERT INTO t VALUES (1, 'x'), (2, 'y')")
    'INSERT INTO t VALUES (?, ...)'
    """
    text = statement[:READ_CHARS_MAX]
    literals = _LITERALS_MYSQL if double_quotes_strings else _LITERALS
    if double_quotes_strings is None:
        literals = _LITERALS_UNKNOWN
    text = literals.sub(_replacement, text)
    text = _ROWS.sub("(?, ...)", _LISTS.sub("(?, ...)", text))
    text = _ROWS_OF_ONE.sub(r"\1", text).strip()
    text = re.sub(" {2,}", " ", text)
    if len(text) > SHOWN_CHARS_MAX or len(statement) > READ_CHARS_MAX:
        text = text[: SHOWN_CHARS_MAX - 3] + "..."
    return text
