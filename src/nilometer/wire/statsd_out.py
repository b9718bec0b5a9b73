"""Readings into statsd lines, and lines into datagrams.

The far end adds counters up, keeps the last gauge, and takes extremes of timer values; so each
part of a distribution goes out as the type that the far end combines rightly (docs/wire.md has
the table). Nothing here can inject a line: every name, key and value is sanitised.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING, Final

from nilometer.model import Distribution, Kind

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator

    from nilometer.model import Dimensions, Reading

DATAGRAM_BYTES_MAX: Final = 1432
"""Ethernet's 1500 less IPv6 (40), UDP (8) and 20 bytes for whatever tunnel lies on the way."""

QUANTILES: Final = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))

NS_PER_MS: Final = 1_000_000

VALUE_CHARS_MAX: Final = 255  # Monasca refuses longer names, keys and values
NAME_CHARS_MAX: Final = VALUE_CHARS_MAX - len(".count")  # the longest suffix


class Dialect(Enum):
    """Whose statsd the far end speaks; the values are the schemes of the exporters."""

    ETSY = "statsd"
    DOGSTATSD = "dogstatsd"
    MONASCA = "monasca-statsd"


# The type by which a far end finds the least and the greatest over all processes: Etsy's
# timers report `lower` and `upper`, DogStatsD's distributions `min` and `max` (its histograms
# leave out `min` by default). Monasca's agent keeps only the last value of whatever it gets.
_EXTREME_TYPE: Final = {Dialect.ETSY: "ms", Dialect.DOGSTATSD: "d", Dialect.MONASCA: "g"}

_NS_PER_UNIT: Final = {"ns": 1, "us": 1_000, "ms": NS_PER_MS, "s": 1_000_000_000}
"""Monasca's agent makes counters whole by `int()`, at each flush: of milliseconds, all that is
below one would be lost."""

_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_.\-]")
_NOT_IN_FOLDED: Final = re.compile(r"[^A-Za-z0-9_\-]")
# Controls and the separators of each dialect; U+0085, U+2028 and U+2029 end lines for some.
_CONTROLS: Final = r"\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"
_NOT_IN_DOG_KEYS: Final = re.compile(rf"[{_CONTROLS}|,:#@{{}}\s]")
_NOT_IN_DOG_VALUES: Final = re.compile(rf"[{_CONTROLS}|,]")
_NOT_IN_MONASCA: Final = re.compile(rf"""[{_CONTROLS}|<>={{}},"'\\;&]""")


def encode(
    readings: Iterable[Reading],
    dialect: Dialect,
    *,
    prefix: str = "",
    dimensions: Dimensions = (),
    lost: Counter[str] | None = None,
) -> list[bytes]:
    """Lines, each ended by a newline; an item may hold several that must stay together.

    `dimensions` are added to those of every reading, which win. Nanoseconds go out as
    milliseconds; what is added up of times for Monasca's agent stays nanoseconds. What is not
    a finite number is left out, counted in `lost` as ``not_finite``.
    """
    start = f"{prefix}." if prefix else ""
    lines: list[bytes] = []
    for reading in readings:
        dims = _joined(reading.dimensions, dimensions)
        head, tail = _framed(start + reading.name, dims, dialect)
        for suffix, number, kind in _parts(reading, dialect):
            if number is None:
                if lost is not None:
                    lost["not_finite"] += 1
                continue
            lines.append(_line(head + suffix, number, kind, tail))
    return lines


def datagrams(
    lines: Iterable[bytes],
    bytes_max: int = DATAGRAM_BYTES_MAX,
    *,
    lost: Counter[str] | None = None,
) -> Iterator[bytes]:
    """Pack lines into datagrams of at most `bytes_max`, in order, none cut.

    A line that is longer than a datagram is left out, counted in `lost` as ``too_long``.
    """
    packed: list[bytes] = []
    size = 0
    for line in lines:
        if len(line) > bytes_max:
            if lost is not None:
                lost["too_long"] += 1
            continue
        if size + len(line) > bytes_max:
            yield b"".join(packed)
            packed, size = [], 0
        packed.append(line)
        size += len(line)
    if packed:
        yield b"".join(packed)


def _parts(reading: Reading, dialect: Dialect) -> Iterator[tuple[str, str | None, str]]:
    """Suffix, number and type of each line that one reading becomes."""
    scale = NS_PER_MS if reading.unit == "ns" else 1
    # Sums that others count from their start would be added up again: they go as gauges.
    adding = "g" if reading.cumulative else "c"
    value = reading.value
    if not isinstance(value, Distribution):
        if reading.kind is Kind.COUNTER:
            yield "", _added_up(value, reading.unit, dialect), adding
        else:
            yield "", _number(value, scale), "g"
        return
    yield ".count", _number(value.samples, 1), adding
    yield ".sum", _added_up(value.total, reading.unit, dialect), adding
    if value.minimum is not None:
        yield ".min", _number(value.minimum, scale), _EXTREME_TYPE[dialect]
    if value.maximum is not None:
        yield ".max", _number(value.maximum, scale), _EXTREME_TYPE[dialect]
    if value.buckets or value.negatives or value.zeros:
        for suffix, share in QUANTILES:
            yield f".{suffix}", _number(value.quantile(share), scale), "g"


def _added_up(value: float, unit: str, dialect: Dialect) -> str | None:
    """A counter's or a sum's number, as the far end keeps all of it."""
    if dialect is not Dialect.MONASCA or unit not in _NS_PER_UNIT:
        return _number(value, NS_PER_MS if unit == "ns" else 1)
    ns = value * _NS_PER_UNIT[unit]
    return _number(round(ns) if isfinite(ns) else ns, 1)


def _number(value: float | None, scale: int) -> str | None:
    """The shortest text that reads back as this number; None if no statsd can read it."""
    if value is None:
        return None
    try:
        if isinstance(value, int) and value % scale == 0:
            return str(value // scale)
        quotient = value / scale
    except (OverflowError, ValueError):  # thousands of digits
        return None
    if not isfinite(quotient):
        return None
    return (
        str(int(quotient)) if quotient.is_integer() and abs(quotient) < 1e16 else repr(quotient)
    )


def _line(name: str, number: str, kind: str, tail: str) -> bytes:
    if kind == "g" and number[0] == "-" and not tail:
        # A sign makes it relative for Etsy, telegraf and others; from 0 both readings agree.
        # With tags it is DogStatsD's or Monasca's, where all are absolute, and 0 a lie.
        return f"{name}:0|g{tail}\n{name}:{number}|g{tail}\n".encode()
    return f"{name}:{number}|{kind}{tail}\n".encode()


@lru_cache(maxsize=4096)  # series come again at every interval: 2 us saved for each
def _framed(name: str, dims: Dimensions, dialect: Dialect) -> tuple[str, str]:
    """What stands before a line's suffix and value, and what after its type."""
    head = _NOT_IN_NAMES.sub("_", name)[:NAME_CHARS_MAX] or "_"
    if dialect is Dialect.ETSY:
        return head + "".join(f".{_folded(k)}.{_folded(v)}" for k, v in dims), ""
    if dialect is Dialect.DOGSTATSD:
        tags = ",".join(
            f"{_NOT_IN_DOG_KEYS.sub('_', key)}:{_NOT_IN_DOG_VALUES.sub('_', value)}"
            for key, value in dims
        )
        return head, f"|#{tags}" if tags else ""
    return head, _monasca_tail(dims)


def _folded(text: str) -> str:
    return _NOT_IN_FOLDED.sub("_", text) or "_"


def _monasca_tail(dims: Dimensions) -> str:
    """A literal that is Python and JSON at once; what the agent would refuse is mended."""
    pairs = []
    for key, value in dims:
        clean_key = _NOT_IN_MONASCA.sub("_", key).lstrip("_")[:VALUE_CHARS_MAX]
        clean_value = _NOT_IN_MONASCA.sub("_", value)[:VALUE_CHARS_MAX]
        if clean_key and clean_value:  # it refuses a measurement for one that is empty
            pairs.append(f'"{clean_key}": "{clean_value}"')
    return "|#{" + ", ".join(pairs) + "}" if pairs else ""


def _joined(own: Dimensions, added: Dimensions) -> Dimensions:
    return tuple(sorted({**dict(added), **dict(own)}.items())) if added else own
