"""What a file of values holds, byte by byte, and how it is read beside who writes it.

    0         the header: who may read it, and of what time the values are
    64 KiB    the region: blocks of whole words, found by offset, as arena.h lays them out
    64 MiB on the catalogue: a line of JSON for each series, which says where its block is

A reader never changes a file, and believes nothing: each offset is checked. The numbers are the
machine's own, in its byte order. Most of the file is a hole, which takes no room on the disk.
"""

from __future__ import annotations

import json
import os
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.errors import ArenaError
from nilometer.model import Dimensions, Distribution, Resource

if TYPE_CHECKING:
    from collections.abc import Iterator

REGION_AT: Final = 65536  # ARENA_FILE_AT of arena.h
REGION_BYTES: Final = 64 << 20  # ARENA_BYTES_MAX
CATALOGUE_AT: Final = REGION_AT + REGION_BYTES
CATALOGUE_BYTES_MAX: Final = 64 << 20

MAGIC: Final = b"nilarena"
VERSION: Final = 1
HEADER: Final = Struct("=8sIIqqq16s")
"""Magic, version, nothing, when it was collected, the interval, when it ended, an id."""
COLLECTED_AT: Final = 16  # in the header
ENDED_AT: Final = 32

COUNTER_BYTES: Final = 16
GAUGE_BYTES: Final = 16
TIMER: Final = Struct("=6Q43I4x")  # samples, zeros, least, greatest, total in two, octaves
OCTAVE: Final = Struct("=32Q")
LEAST_OF_NONE: Final = 2**64 - 1
GAUGE_INTEGER: Final = 1
GAUGE_REAL: Final = 2
_SUM: Final = Struct("=QQ")
_WHOLE: Final = Struct("=qq")
_REAL: Final = Struct("=qd")

GRAIN: Final = 64
"""Lines of the catalogue begin at multiples of it: one can be written over with another."""
THERE: Final = b"+"
"""How a line begins whose series is there: written last, so that none is ever half there."""

LOOKS_MAX: Final = 5
"""A timer that changes while it is looked at is looked at again, so often at most."""


class Series(NamedTuple):
    """One series of a file, and what it held; `tally` counts what a timer timed, if anybody."""

    kind: str
    name: str
    unit: str
    description: str
    dimensions: Dimensions
    value: int | float | Distribution | None
    tally: tuple[str, str, str] | None = None


class Contents(NamedTuple):
    """All that a file tells. Times are wall-clock ns; 0 for what nobody knows."""

    resource: Resource
    collected_ns: int  # the values are what was measured since
    interval_ns: int
    ended_ns: int
    identity: str
    series: tuple[Series, ...]


def read(file: int) -> Contents | None:
    """What an open file holds; None if it was not finished being made. Raises ArenaError."""
    head = os.pread(file, HEADER.size, 0)
    if not head.strip(b"\0"):
        return None
    if len(head) < HEADER.size or not head.startswith(MAGIC):
        if not head.startswith(b"\0" * len(MAGIC)):
            raise ArenaError("it is none of Nilometer's", slug="arena-unreadable")
        return None  # the magic comes last
    _, version, _, collected_ns, interval_ns, ended_ns, identity = HEADER.unpack(head)
    if version != VERSION:
        raise ArenaError(
            f"it is of version {version}, this Nilometer reads {VERSION}", slug="arena-version"
        )
    resource, entries = None, {}
    for entry in _entries(file):
        if "resource" in entry:
            resource = _resource(entry["resource"])
        elif isinstance(entry.get("at"), int):
            entries[entry["at"]] = entry  # of two for one block the later one counts
        else:
            raise ArenaError("a line of its catalogue says nothing", slug="arena-unreadable")
    if resource is None:
        raise ArenaError("it does not say whose it is", slug="arena-unreadable")
    series = tuple(_series(file, entry) for entry in entries.values())
    return Contents(resource, collected_ns, interval_ns, ended_ns, identity.hex(), series)


def _entries(file: int) -> Iterator[dict[str, Any]]:
    """The lines of the catalogue that are whole; what was torn never was there."""
    size = os.fstat(file).st_size - CATALOGUE_AT
    if not 0 < size <= CATALOGUE_BYTES_MAX + GRAIN:
        raise ArenaError("its length is none that it could have", slug="arena-unreadable")
    catalogue = b"".join(
        os.pread(file, 1 << 20, CATALOGUE_AT + at) for at in range(0, size, 1 << 20)
    )
    at = 0
    while at < len(catalogue):
        end = catalogue.find(b"\n", at)
        entry = _entry(catalogue[at + 1 : end]) if end > 0 and catalogue[at] else None
        if entry is None:
            at += GRAIN
            continue
        if catalogue[at : at + 1] == THERE:
            yield entry
        at = -(-(end + 1) // GRAIN) * GRAIN


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _resource(told: Any) -> Resource:
    try:
        service, host, pid, region, zone, version, attributes = told
        pairs = tuple((str(key), value) for key, value in attributes)
        texts = (service, host, region, zone, version)
        if not isinstance(pid, int) or not all(isinstance(text, str) for text in texts):
            raise TypeError
        if not all(isinstance(value, str | int | float) for _, value in pairs):
            raise TypeError
    except (TypeError, ValueError):
        raise ArenaError("it does not say whose it is", slug="arena-unreadable") from None
    return Resource(service, host, pid, region, zone, version, pairs)


def _series(file: int, entry: dict[str, Any]) -> Series:
    texts = [entry.get(key) for key in ("kind", "name", "unit", "description")]
    dimensions = _pairs(entry.get("dimensions"))
    tally = entry.get("tally")
    if (
        not all(isinstance(text, str) for text in texts)
        or dimensions is None
        or not (tally is None or _are_texts(tally, 3))
        or texts[0] not in VALUES
    ):
        raise ArenaError("a line of its catalogue says nothing", slug="arena-unreadable")
    kind, name, unit, description = map(str, texts)
    value = VALUES[kind](file, entry["at"])
    return Series(kind, name, unit, description, dimensions, value, tally and tuple(tally))


def _pairs(told: Any) -> Dimensions | None:
    if not isinstance(told, list) or not all(_are_texts(pair, 2) for pair in told):
        return None
    return tuple((key, value) for key, value in told)


def _are_texts(told: Any, many: int) -> bool:
    is_list = isinstance(told, list) and len(told) == many
    return is_list and all(isinstance(text, str) for text in told)


def _block(file: int, at: int, size: int) -> bytes:
    if at % 8 or not TIMER.size <= at <= REGION_BYTES - size:  # the first block is nobody's
        raise ArenaError(f"it has no block at {at}", slug="arena-unreadable")
    block = os.pread(file, size, REGION_AT + at)
    if len(block) < size:
        raise ArenaError(f"it ends before {at}", slug="arena-unreadable")
    return block


def _counter(file: int, at: int) -> int | None:
    low, high = _SUM.unpack(_block(file, at, COUNTER_BYTES))
    return low + (high << 64) or None


def _gauge(file: int, at: int) -> int | float | None:
    block = _block(file, at, GAUGE_BYTES)
    kind, value = _WHOLE.unpack(block)
    if kind == GAUGE_REAL:
        kind, value = _REAL.unpack(block)
        return float(value) if value - value == 0 else None
    return int(value) if kind == GAUGE_INTEGER else None


def _timer(file: int, at: int) -> Distribution | None:
    """As it was at one moment, but for one record that was just being written.

    Each record changes the block of sums, so counts between two equal ones belong to it.
    """
    block = _block(file, at, TIMER.size)
    for _ in range(LOOKS_MAX):
        found = distribution(block, lambda octave: _block(file, octave, OCTAVE.size))
        again = _block(file, at, TIMER.size)
        if again == block:
            break
        block = again
    return found


def distribution(block: bytes, octave_at: Any) -> Distribution | None:
    """The distribution that a timer's block and its octaves hold; None if it has no samples."""
    samples, zeros, least, greatest, low, high, *octaves = TIMER.unpack(block)
    if not samples or least > greatest:  # none, or the first one was just being written
        return None
    buckets = {}
    for place, octave in enumerate(octaves):
        for bucket, count in enumerate(OCTAVE.unpack(octave_at(octave)) if octave else ()):
            if count:
                buckets[(place - 1) * 32 + bucket] = count
    return Distribution(samples, low + (high << 64), least, greatest, buckets, zeros)


VALUES: Final = {"counter": _counter, "gauge": _gauge, "timer": _timer}
"""How the value of each kind is read."""
