"""The dimensions of statsd lines, in the six forms in which people write them, and numbers."""

from __future__ import annotations

import re
from math import isfinite
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from nilometer.model import Dimensions

Pairs = list[tuple[str, str]]


class Refusal(Exception):  # noqa: N818  an answer, not a fault: it never leaves this package
    """Why one line is not read."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INT_DIGITS_MAX: Final = 18  # fit in 63 bits; longer ones become floats, as elsewhere


def number_of(text: str, reason: str = "value") -> int | float:
    """The number, whole if written so; NaN, infinities and other texts are refused."""
    if _NUMBER.fullmatch(text) is None:
        raise Refusal(reason)
    digits = text.lstrip("+-")
    if len(digits) <= _INT_DIGITS_MAX and digits.isdigit():
        return int(text)
    value = float(text)
    if not isfinite(value):
        raise Refusal(reason)
    return value


def ns_of_seconds(text: str, reason: str) -> int:
    """Unix seconds as nanoseconds that fit in 63 bits, until the year 2262."""
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) > 2**63 // 10**9:
        raise Refusal(reason)
    return int(text) * 10**9


def series(pairs: Pairs) -> Dimensions:
    """The one form of these pairs; values given under one key several times are joined."""
    found: dict[str, str] = {}
    for key, value in sorted(set(pairs)):
        found[key] = f"{found[key]},{value}" if key in found else value
    return tuple(found.items())


def pairs_of_tags(text: str) -> Pairs:
    """DogStatsD's ``key:value,word``; the value may hold colons, a word has an empty one."""
    pairs = []
    for tag in text.split(","):
        key, _, value = tag.strip().partition(":")
        if key:
            pairs.append((key, value))
    return pairs


def embedded(head: str) -> tuple[str, str, Pairs]:
    """Name, value text and dimensions of what stands before the first bar.

    The dimensions may stand in the name: ``n,k=v`` (Influx), ``n#k=v,..`` (Librato),
    ``n;k=v;..`` (Graphite), ``n[k=v,..]`` (SignalFx). Their values may hold colons, so there
    the number is sought from the right.
    """
    name, colon, value = head.partition(":")
    if not colon:
        raise Refusal("form")
    opener = _OPENER.search(name)
    if opener is None:
        return _checked(name), value, []
    name, value = _number_from_right(head)
    at = opener.start()
    mark, inner = name[at], name[at + 1 :]
    if mark == "[":
        inner, closed, after = inner.rpartition("]")
        if not closed:
            raise Refusal("name")
        return _checked(name[:at] + after), value, _pairs(inner, ",")
    return _checked(name[:at]), value, _pairs(inner, ";" if mark == ";" else ",")


_OPENER: Final = re.compile(r"[,#;\[]")


def _checked(name: str) -> str:
    name = name.strip()
    if not name:
        raise Refusal("name")
    return name


def _number_from_right(head: str) -> tuple[str, str]:
    """Split off the last value and the numbers packed before it."""
    pieces = head.split(":")
    first = len(pieces) - 1
    while first > 1 and _NUMBER.fullmatch(pieces[first - 1]):
        first -= 1
    return ":".join(pieces[:first]), ":".join(pieces[first:])


def _pairs(text: str, separator: str) -> Pairs:
    pairs = []
    for pair in text.split(separator):
        key, _, value = pair.strip().partition("=")
        if key:
            pairs.append((key, value))
    return pairs


# Monasca's clients send the repr of a dict, those in Java JSON. One flat dict of plain values
# is read, token by token; nothing is evaluated and nothing nests.
_STRING: Final = re.compile(r"""\s*[uUbB]?(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\s*""")
_PLAIN: Final = re.compile(r"\s*([A-Za-z0-9_.+\-]+)\s*")
_ESCAPE: Final = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL
)
_LETTERS: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "a": "\a", "v": "\v"}
_WORDS: Final = {"True": "true", "False": "false", "null": "None"}


def literal(text: str, position: int) -> tuple[Pairs, int]:
    """The pairs of the dict that opens at `position`, and where it ended."""
    pairs: Pairs = []
    position += 1
    while True:
        if text.startswith("}", position):
            return pairs, position + 1
        key, position = _token(text, position)
        if not text.startswith(":", position):
            raise Refusal("dimensions")
        value, position = _token(text, position + 1)
        if key:
            pairs.append((key, value))
        if text.startswith(",", position):
            position += 1
            while text.startswith(" ", position):
                position += 1
        elif not text.startswith("}", position):
            raise Refusal("dimensions")


def _token(text: str, position: int) -> tuple[str, int]:
    found = _STRING.match(text, position)
    if found is not None:
        quoted = found[1] if found[1] is not None else found[2]
        return (_unescaped(quoted) if "\\" in quoted else quoted), found.end()
    found = _PLAIN.match(text, position)
    if found is None:
        raise Refusal("dimensions")
    return _WORDS.get(found[1], found[1]), found.end()


def _unescaped(quoted: str) -> str:
    text = _ESCAPE.sub(_character, quoted)
    # JSON writes what lies beyond 16 bits as two surrogates; a lone one is nobody's text.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _character(found: re.Match[str]) -> str:
    code = found[1] or found[2] or found[3]
    if code is None:
        return _LETTERS.get(found[4], found[4])
    point = int(code, 16)
    if point > 0x10FFFF:
        raise Refusal("dimensions")
    return chr(point)
