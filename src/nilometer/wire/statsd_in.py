"""statsd lines of every dialect into samples; a bad line never takes another along.

Two rules. Cost is linear in the packet's length whatever it holds: nothing backtracks, nests or
evaluates. And a packet never raises: each line that cannot be read adds one to its reason.

Reasons: ``encoding`` (not UTF-8), ``form`` (no ``name:value|type``), ``name`` (empty), ``type``
(unknown), ``value`` (not a finite number), ``rate`` (not in 0..1), ``timestamp``,
``dimensions`` (a literal that cannot be read), ``event``, ``service-check``.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from nilometer.wire.statsd_dims import (
    Refusal,
    embedded,
    literal,
    ns_of_seconds,
    number_of,
    pairs_of_tags,
    series,
)
from nilometer.wire.statsd_sample import Sample, SampleType
from nilometer.wire.statsd_special import event, service_check

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nilometer.model import Dimensions

_TYPES: Final[Mapping[str, SampleType]] = {
    kind.value: kind for kind in SampleType if kind.value
}

# What most lines look like, told in one step: 1.0 us instead of 4.
_USUAL: Final = re.compile(
    r"([^:|,;#\[\s]+):([0-9]{1,15}(?:\.[0-9]{1,15})?)\|(c|ms|g|h|d)(?:\|#([^{|@\s][^|\s]*))?"
)

_RATED: Final = frozenset(
    {SampleType.COUNTER, SampleType.TIMER, SampleType.HISTOGRAM, SampleType.DISTRIBUTION}
)
RATE_MIN: Final = (
    1e-9  # one in a thousand million; below it is no sampling but an attack on sums
)
_STAMPED: Final = frozenset({SampleType.COUNTER, SampleType.GAUGE})  # DogStatsD 1.3


CACHED_CHARS_MAX: Final = 256  # with 2048 entries some 3 MB, whatever is sent


@lru_cache(maxsize=2048)  # the same series come again and again; 1.2 us saved for each line
def _remembered(tags: str) -> Dimensions:
    return series(pairs_of_tags(tags))


def _dimensions(tags: str) -> Dimensions:
    if len(tags) <= CACHED_CHARS_MAX:
        return _remembered(tags)
    return series(pairs_of_tags(tags))


def decode(packet: bytes) -> tuple[list[Sample], Mapping[str, int]]:
    """All samples of one packet, in order, and how many lines were refused, by reason."""
    samples: list[Sample] = []
    refused: dict[str, int] = {}
    for raw in packet.split(b"\n"):
        if not raw or raw.isspace():
            continue
        try:
            line = raw.decode()
        except UnicodeDecodeError:
            refused["encoding"] = refused.get("encoding", 0) + 1
            continue
        usual = _USUAL.fullmatch(line)
        if usual is not None:
            name, value, kind, tags = usual.groups()
            dims = _dimensions(tags) if tags else ()
            number = int(value) if value.isdigit() else float(value)
            samples.append(Sample(name, _TYPES[kind], number, 1.0, dims))
            continue
        try:
            samples.extend(_line(line.strip()))
        except Refusal as refusal:
            refused[refusal.reason] = refused.get(refusal.reason, 0) + 1
    return samples, refused


def _line(line: str) -> list[Sample]:
    if line.startswith("_e{"):
        return [event(line)]
    if line.startswith("_sc|"):
        return [service_check(line)]
    head, bar, rest = line.partition("|")
    if not bar:
        raise Refusal("form")
    name, value, dims = embedded(head)
    samples: list[Sample] = []
    for part in _segments(value, rest):
        samples.extend(_samples(name, dims, part))
    return samples


class _Segment:
    """One ``value|type|...`` of a line; Etsy allows several after one name."""

    __slots__ = ("dims", "at_s", "dog", "kind", "rate", "value")

    def __init__(self, value: str, kind: str) -> None:
        self.value = value
        self.kind = kind
        self.rate: str | None = None
        self.at_s: str | None = None
        self.dims: list[tuple[str, str]] = []
        self.dog = False  # has a field that Etsy's dialect does not know


def _segments(value: str, rest: str) -> Iterator[_Segment]:
    """Etsy's ``n:1|c:200|ms`` has the next value after the colon of a type or a rate."""
    kind, position = _field(rest, 0)
    while True:
        kind, colon, following = kind.partition(":")
        segment = _Segment(value, kind)
        while position < len(rest) and not colon:
            if rest.startswith("#{", position):
                dims, position = literal(rest, position + 1)
                segment.dims += dims
                segment.dog = True
                position += rest.startswith("|", position)
                continue
            field, position = _field(rest, position)
            colon, following = _told(segment, field)
        yield segment
        if not colon:
            return
        value = following
        kind, position = _field(rest, position)


def _field(text: str, position: int) -> tuple[str, int]:
    end = text.find("|", position)
    return (text[position:end], end + 1) if end >= 0 else (text[position:], len(text))


def _told(segment: _Segment, field: str) -> tuple[str, str]:
    """Take one field into the segment; a rate may carry the next segment's value."""
    if field.startswith("@"):
        segment.rate, colon, following = field[1:].partition(":")
        return colon, following
    if field.startswith("#"):
        segment.dims += pairs_of_tags(field[1:])
        segment.dog = True
    elif field.startswith("T"):
        segment.at_s = field[1:]
        segment.dog = True
    elif field:  # container id, external data, cardinality, and what later versions may add
        segment.dog = True
    return "", ""


def _samples(name: str, dims: list[tuple[str, str]], segment: _Segment) -> list[Sample]:
    kind = _TYPES.get(segment.kind.strip())
    if kind is None:
        raise Refusal("type")
    weight = _weight(segment.rate) if segment.rate is not None else 1.0
    at_ns = _at_ns(segment.at_s, kind) if segment.at_s is not None else None
    dimensions: Dimensions = series(dims + segment.dims)
    if kind is SampleType.SET:
        return [Sample(name, kind, 1, 1.0, dimensions, text=segment.value)]
    if kind not in _RATED:
        weight = 1.0
    return [
        Sample(
            name,
            kind,
            number_of(text),
            weight,
            dimensions,
            at_ns,
            relative=kind is SampleType.GAUGE and text[:1] in {"+", "-"} and not segment.dog,
        )
        for text in segment.value.split(":")
    ]


def _weight(text: str) -> float:
    rate = number_of(text, "rate")
    if not RATE_MIN <= rate <= 1:
        raise Refusal("rate")
    return 1 / rate


def _at_ns(text: str, kind: SampleType) -> int | None:
    if kind not in _STAMPED:
        return None  # the value is good all the same
    return ns_of_seconds(text, "timestamp")
