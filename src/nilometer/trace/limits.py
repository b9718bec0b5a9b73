"""How much of a span is kept, and how text is made of what it was given; both twins ask here.

Nothing here runs before a span is drained, except `described`, when an exception leaves a span,
and what `held.py` asks where one on the flight recorder ends.
"""

from __future__ import annotations

import re
from reprlib import Repr
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nilometer.model import AttributeValue

SPANS_RING_MAX: Final = 16_384
"""Finished spans waiting for the pump. A span with three attributes takes about 450 bytes (208
the object, 250 the values), so a full ring holds 7 MB; half of it wakes the pump, which leaves
8,192 spans, four whole traces at their budget, for the time until the pump gets its turn."""

SPANS_PER_TRACE_MAX: Final = 2_000
"""Spans of one traced request in one process. Ten traced requests a second (the default) at
1.5 us a span, made and sent, cost 10 * 2,000 * 1.5 us = 30 ms a second, 3 % of one core."""

ONWARD_TTL_S: Final = 300
"""Validity of what we sign ourselves: enough for a request that waits in a queue."""

ATTRIBUTES_MAX: Final = 64
"""Attributes of a span or of an event. OpenTelemetry's limit is 128; the longest set of its
conventions (HTTP server) has about 30."""

EVENTS_MAX: Final = 32
"""Events of one span; 32 events of a few hundred bytes keep a span under about 10 kB."""

TEXT_CHARS_MAX: Final = 4_096
"""Characters of one attribute value. Long enough for the SQL that people write; 64 of them at
four bytes a character make 1 MB, the worst span there can be."""

MESSAGE_CHARS_MAX: Final = 1_024
"""Characters of an exception's text: what fits on a screen."""

NAME_CHARS_MAX: Final = 256
"""Characters of a span's or an attribute's name. Longer ones hold data, not a name."""

ITEMS_REPR_MAX: Final = 1_000
"""A larger container is told by its size: a repr of a million items would hold the GIL for a
tenth of a second."""

SPAN_BYTES: Final = 256
"""Of a span alone, on the flight recorder: 208 the object, 16 its place in a ring that may have
just doubled, and the rest for what it shares with others."""

ATTRIBUTE_BYTES: Final = 96
"""Of an attribute beside its text: at most 48 its place in a dict that has just grown, 48 the
head of its value."""

EVENT_BYTES: Final = 352
"""Of an event beside its attributes: 64 a tuple, 32 its time, 8 its place in a list, and 248 a
dict that is too small to have grown."""

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1

ELLIPSIS: Final = "..."
"""Ends a text that was cut. ASCII, so that cutting does not widen the string."""

_REPR: Final = Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = TEXT_CHARS_MAX
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = _REPR.maxset = ATTRIBUTES_MAX


def cut(text: str, chars_max: int) -> str:
    """At most `chars_max` characters of `text`; a cut one ends in three dots.

    >>> cut("abcdefgh", 6), cut("abcdef", 6)
    ('abc...', 'abcdef')
    """
    if len(text) <= chars_max:
        return text
    return text[: chars_max - len(ELLIPSIS)] + ELLIPSIS


def bounded(value: object) -> AttributeValue:
    """What is kept of an attribute's value: itself if plain and short, else a bounded text.

    Never raises for an `Exception`: a `repr` that fails is told as such. Whole numbers beyond
    64 bits become text, since no wire format carries them.

    >>> bounded(7), bounded(True), bounded([1, "x"]), bounded(2**63)
    (7, True, "[1, 'x']", '9223372036854775808')
    """
    try:
        if value is True or value is False:
            return value
        if isinstance(value, str):
            return _utf8(cut(str.__str__(value), TEXT_CHARS_MAX))
        if isinstance(value, int):
            whole = int.__add__(value, 0)  # an IntEnum becomes the plain number
            return whole if INT64_MIN <= whole <= INT64_MAX else cut(str(whole), TEXT_CHARS_MAX)
        if isinstance(value, float):
            return float.__add__(value, 0.0)
        return cut(_utf8(_text_of(value)), TEXT_CHARS_MAX)
    except Exception as error:  # noqa: BLE001 -- somebody else's __repr__ may raise anything
        return f"<{type(value).__name__}: {type(error).__name__} in repr>"


def _utf8(text: str) -> str:
    """The same text, fit for every wire format: lone surrogates (of file names) become "?"."""
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")


def _text_of(value: object) -> str:
    if isinstance(value, list | tuple | dict | set | frozenset | bytes | bytearray):
        items = len(value)
        if items > ITEMS_REPR_MAX:
            return f"<{type(value).__name__} of {items} items>"
        return _REPR.repr(value)
    return repr(value)


def name_of(value: object) -> str:
    """What is kept of a name: text, bounded.

    >>> name_of("db"), name_of(None)
    ('db', 'None')
    """
    kept = bounded(value)
    return cut(kept if isinstance(kept, str) else str(kept), NAME_CHARS_MAX)


def message_of(value: object) -> str:
    """What is kept of a status message: text, bounded."""
    kept = bounded(value)
    return cut(kept if isinstance(kept, str) else str(kept), MESSAGE_CHARS_MAX)


def attributes_of(given: dict[str, object]) -> tuple[dict[str, AttributeValue], int]:
    """The attributes that are kept, and how many exceeded the limit and are not.

    >>> attributes_of({"rows": 3, "ids": [1, 2]})
    ({'rows': 3, 'ids': '[1, 2]'}, 0)
    """
    kept: dict[str, AttributeValue] = {}
    for key, value in list(given.items())[:ATTRIBUTES_MAX]:
        name = key if len(key) <= NAME_CHARS_MAX and key.isascii() else name_of(key)
        if type(value) is str and len(value) <= TEXT_CHARS_MAX and value.isascii():
            kept[name] = value
        else:
            kept[name] = bounded(value)
    return kept, max(0, len(given) - ATTRIBUTES_MAX)


_OF_DATABASES: Final = frozenset(
    [
        *("DatabaseError", "InterfaceError", "PostgresError", "SQLAlchemyError"),
        *("RedisError", "PyMongoError", "MemcacheError", "MemcachedKeyError"),
    ]
)
_OF_CLIENTS: Final = frozenset(["pylibmc"])
"""Modules whose exceptions are a data store's, by names that others have, too."""

_VALUES: Final = frozenset("\"'`([{<\u00ab\u201c\u201e\u20180123456789")
"""What a value begins with in a driver's text: a quotation mark, a bracket or a digit."""

_CODES: Final = ("sqlstate", "pgcode", "sqlite_errorname", "full_code")
"""Where psycopg and asyncpg, psycopg2, sqlite3 and oracledb have the error's code."""


CHAIN_MAX: Final = 16
"""Exceptions looked at that led to one; a chain may be as long as a retry's patience."""

NEEDLE_CHARS: Final = 24
"""How much of a line tells that it stands in another text: "Key (email)=" and more than that,
and a message that somebody cut still has it."""

NEEDLE_CHARS_MIN: Final = 4
"""Less than a word stands in any text."""

ITEMS_MAX: Final = 8
"""Arguments of an exception that are looked at; no driver has more than five."""


_MODULE: Final = type.__dict__["__module__"].__get__
_QUALNAME: Final = type.__dict__["__qualname__"].__get__
"""What classes are called, past what a metaclass may have under these names, which is code."""


def class_name(kind: type) -> str:
    """A class as OpenTelemetry's ``error.type`` names it: with its module unless built in.

    >>> class_name(ValueError), class_name(Repr)
    ('ValueError', 'reprlib.Repr')
    """
    try:
        module = _text(_MODULE(kind))
    except AttributeError:  # somebody deleted it
        module = "builtins"
    name = _text(_QUALNAME(kind))
    return cut(name if module == "builtins" else f"{module}.{name}", NAME_CHARS_MAX)


def _text(said: object) -> str:
    return str.__str__(said) if issubclass(type(said), str) else "?"


def _is_of_database(error: BaseException) -> bool:
    """Whether a database's driver (PEP 249), SQLAlchemy or a data store's client made it."""
    return any(
        (kind.__name__ in _OF_DATABASES and kind.__module__ != "builtins")
        or kind.__module__ in _OF_CLIENTS
        for kind in type(error).__mro__
    )


def _shown_chars(line: str) -> int:
    """How much of a line stands before the first value; the ' of "Session's" begins none."""
    for at, sign in enumerate(line):
        if sign in _VALUES and not (line[at : at + 3] == "'s " and line[at - 1 : at].isalpha()):
            return at
    return len(line)


def _of_database(error: BaseException) -> str:
    """The driver's code, and its first line as far as it shows no value.

    Statements and parameters are in these texts, and keys that are there already: a name, a
    mail, a password.
    """
    cause = getattr(error, "orig", None)
    if isinstance(cause, BaseException):  # SQLAlchemy's, around the driver's own
        if not _is_of_database(cause):
            return class_name(type(cause))  # a TypeError, say, that shows the parameter
        error = cause
    first, *more = error.args or ("",)
    code, text = "", str(error)
    for name in _CODES:
        code = code or str(getattr(error, name, None) or getattr(first, name, None) or "")
    if more and (type(first) is int or (type(first) is str and len(first) == 5)):
        code, text = code or str(first), str(more[0])  # MySQL's drivers, ODBC's
    line = text.strip().partition("\n")[0].removeprefix(code)
    line = line[: _shown_chars(line)].strip(" :")
    return f"{code}: {line}" if code and line else code or line


def _around(error: BaseException) -> list[BaseException]:
    """What led to an exception and is of a database: it may have been quoted."""
    found: list[BaseException] = []
    seen = {id(error)}
    waiting = [error]
    while waiting and len(seen) < CHAIN_MAX:
        one = waiting.pop()
        for other in (one.__cause__, one.__context__, getattr(one, "orig", None)):
            if isinstance(other, BaseException) and id(other) not in seen:
                seen.add(id(other))
                waiting.append(other)
                if _is_of_database(other):
                    found.append(other)
    return found


def _lines_of(error: BaseException) -> Iterator[str]:
    """What a database's error may be quoted by, as far as it shows a value."""
    for source in (str(error), getattr(error, "statement", None), *error.args[:ITEMS_MAX]):
        if isinstance(source, str):
            for line in str.splitlines(source[:TEXT_CHARS_MAX]):
                if _shown_chars(line) < len(line):
                    yield line.strip()
                    yield line.partition(": ")[2].strip()  # after DETAIL


def _without_quoted(error: BaseException, text: str) -> str:
    """The text of an exception, up to where it quotes a database's: f"failed: {error}"."""
    text = text[:TEXT_CHARS_MAX]
    end = text.find("[SQL:")  # SQLAlchemy's mark, whichever way it came here
    end, told = (len(text), "") if end < 0 else (end, "")
    for other in _around(error):
        for line in _lines_of(other):
            needle = line[:NEEDLE_CHARS]
            at = text.find(needle, 0, end + len(needle) - 1)
            if at >= 0 and len(needle) >= NEEDLE_CHARS_MIN:
                end, told = at, _of_database(other)
    return text[:end] + told


# Possessive: a text of nothing but slashes takes no longer than another. A quotation mark does
# not end a query, since clients send it as it is.
_URLS: Final = r"""(?x)
        (?P<user>//[^\s/?@]*+@)(?:[^\s/?@]*+@)*+
      | (?P<path>/[^\s/?]*+)(?P<query>\?\S++)?+
      | (?P<bare>\?)[^\s=?]*+=\S*"""

_CLOSING: Final = "'\"),.;:>]"
"""Signs at the end of a URL that are the text's, which is around it."""


def _of_url(match: re.Match[str]) -> str:
    if match["user"]:
        return "//...@"
    if match["bare"]:
        return "?..."
    query = match["query"] or ""
    closing = query[len(query.rstrip(_CLOSING)) :]
    return match["path"] + ("?..." + closing if query else "")


_MISREAD: Final = (
    r"Failed to parse:|is not a valid host or port|nonnumeric port:|Invalid port:"
    r"|Invalid non-printable ASCII|Port could not be cast|Invalid URL"
)
"""What clients say of a URL in which they take a password for a host or a port, and show it."""


def without_queries(text: str) -> str:
    """A text with its URLs' queries and passwords left out: tokens and names are in them.

    >>> without_queries("404 for 'http://me:key@host/x?token=y', why?")
    "404 for 'http://...@host/x?...', why?"
    """
    if re.search(_MISREAD, text):
        return "a URL that cannot be read; it may hold a password"
    return re.sub(_URLS, _of_url, text)


def described(error: BaseException) -> tuple[str, str]:
    """An exception's class and its text, both bounded; a failing ``__str__`` is told as such.

    Of a database's error only what names no value: see `_of_database`. Of one that quotes such
    an error only what comes before; of URLs no query.

    >>> described(KeyError("id"))
    ('KeyError', "'id'")
    """
    kind = class_name(type(error))
    try:
        if _is_of_database(error):
            text = _of_database(error)
        else:
            text = without_queries(_without_quoted(error, str.__str__(str(error))))
        return kind, cut(_utf8(str.__str__(text)), MESSAGE_CHARS_MAX)
    except Exception as failure:  # noqa: BLE001 -- the application's error must come through
        return kind, f"<{kind}: {type(failure).__name__} in str>"
