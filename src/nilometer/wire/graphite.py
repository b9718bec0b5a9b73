"""Readings into graphite's points, and points into its two protocols: text, and pickle.

A point is a path, a value and whole seconds since 1970. Dimensions are graphite's tags, after
the name: ``shop.orders;tenant=acme``. Graphite does not add up what comes for one path and one
second, it keeps the last: sending a point again does no harm, and what adds up goes in one.
Nothing here can inject a line: every name, tag and value is sanitised.
"""

from __future__ import annotations

import pickle
import re
import struct
from functools import lru_cache
from hashlib import sha256
from math import isfinite
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.model import Distribution

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nilometer.model import Dimensions, Reading

NS_PER_S: Final = 10**9
NS_PER_MS: Final = 10**6
QUANTILES: Final = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))

PART_CHARS_MAX: Final = 200  # of a name between dots, a tag, a value: graphite-web's columns
PATH_CHARS_MAX: Final = 4096  # carbon closes a connection with a line of more than 16,384
POINTS_MAX: Final = 500  # of one pickled message, as carbon's own relay sends
MESSAGE_BYTES_MAX: Final = 1 << 19  # half of what carbon takes
POINT_BYTES: Final = 64  # of a pickled point beside its path: value, time, opcodes
PICKLE_PROTOCOL: Final = 2  # what every carbon reads

_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_\-]")
_NOT_IN_TAGS: Final = re.compile(r"[^A-Za-z0-9_.\-]")
_NOT_IN_VALUES: Final = re.compile(r"[^\x21-\x3a\x3c-\x7e]")  # no blanks, no semicolon


class Point(NamedTuple):
    """One value of one series."""

    path: str
    value: int | float
    at_s: int


def encode(
    readings: Iterable[Reading],
    *,
    prefix: str = "",
    dimensions: Dimensions = (),
    tagged: bool = True,
) -> Iterator[tuple[Reading, list[Point]]]:
    """Each reading with its points: none if it is not a finite number, or its path too long.

    `dimensions` are added to those of every reading, which win. Not `tagged`, they become
    parts of the name. Nanoseconds go out as milliseconds.
    """
    added = dict(dimensions)
    for reading in readings:
        pairs = tuple(sorted({**added, **dict(reading.dimensions)}.items()))
        head, tail = _framed(prefix, reading.name, pairs, tagged)
        at_s = reading.ended_ns // NS_PER_S
        scale = NS_PER_MS if reading.unit == "ns" else 1
        points = []
        for suffix, value, divided in _parts(reading, scale):
            number = _number(value, divided)
            path = head + suffix + tail
            if number is not None and len(path) <= PATH_CHARS_MAX:
                points.append(Point(path, number, at_s))
        yield reading, points


def lines(points: Iterable[Point]) -> bytes:
    """The text protocol.

    >>> lines([Point("shop.orders;tenant=acme", 3, 1700000000)])
    b'shop.orders;tenant=acme 3 1700000000\\n'
    """
    return "".join(f"{p.path} {p.value!r} {p.at_s}\n" for p in points).encode("ascii")


def messages(points: Iterable[Point]) -> Iterator[bytes]:
    """The pickle protocol: messages, each after its length in four bytes, the highest first."""
    gathered: list[Point] = []
    size = 0
    for point in points:
        costs = len(point.path) + POINT_BYTES
        if gathered and (len(gathered) == POINTS_MAX or size + costs > MESSAGE_BYTES_MAX):
            yield _message(gathered)
            gathered, size = [], 0
        gathered.append(point)
        size += costs
    if gathered:
        yield _message(gathered)


def _message(points: Iterable[Point]) -> bytes:
    body = pickle.dumps([(p.path, (p.at_s, p.value)) for p in points], PICKLE_PROTOCOL)
    return struct.pack("!L", len(body)) + body


def _parts(reading: Reading, scale: int) -> Iterator[tuple[str, int | float | None, int]]:
    """Suffix, value and divisor of each point that one reading becomes."""
    value = reading.value
    if not isinstance(value, Distribution):
        yield "", value, scale
        return
    yield ".count", value.samples, 1
    yield ".sum", value.total, scale
    yield ".min", value.minimum, scale
    yield ".max", value.maximum, scale
    if value.buckets or value.negatives or value.zeros:
        for suffix, share in QUANTILES:
            yield f".{suffix}", value.quantile(share), scale


def _number(value: float | None, scale: int) -> int | float | None:
    """None if graphite cannot keep it: its numbers are floats of 64 bits."""
    if value is None:
        return None
    try:
        if not isfinite(float(value)):
            return None
        is_whole = isinstance(value, int) and value % scale == 0
        return int(value) // scale if is_whole else value / scale
    except OverflowError:
        return None


@lru_cache(maxsize=4096)  # series come again at every interval
def _framed(prefix: str, name: str, pairs: Dimensions, tagged: bool) -> tuple[str, str]:
    """What stands before a point's suffix, and what after it."""
    head = ".".join(_named(part) for part in f"{prefix}.{name}".split(".") if part) or "_"
    if tagged:
        return head, "".join(f";{_tag(key)}={_tag_value(value)}" for key, value in pairs)
    return head + "".join(f".{_named(k)}.{_named(v)}" for k, v in pairs), ""


def _named(text: str) -> str:
    return _cut(_NOT_IN_NAMES.sub("_", text), text) or "_"


def _tag(key: str) -> str:
    clean = _cut(_NOT_IN_TAGS.sub("_", key), key)
    return f"_{clean}" if clean in ("", "name") else clean  # `name` is the series' own


def _tag_value(value: str) -> str:
    clean = _cut(_NOT_IN_VALUES.sub("_", value), value)
    return f"_{clean[1:]}" if clean.startswith("~") else clean or "_"


def _cut(clean: str, whole: str) -> str:
    """At most so many characters; two long texts that begin alike stay two."""
    if len(clean) <= PART_CHARS_MAX:
        return clean
    digest = sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{clean[: PART_CHARS_MAX - 9]}_{digest}"
