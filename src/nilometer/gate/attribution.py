"""What a change is put down to: the statements, queues and tests that moved with it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.gate.robust import mad, median
from nilometer.gate.stability import spread_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nilometer.gate.history import Key, Series
    from nilometer.model.dimensions import Dimensions

PARTS_MAX: Final = 3  # of one backend: who needs more looks at the run
PART_SCALES_MIN: Final = 2.0  # one count, of a part that never varied
ALIKE: Final = 0.5  # a part of another counter explains a change if it moved by half to double

FILE_KEYS: Final = ("code.file.path", "code.filepath", "file")
LINE_KEYS: Final = ("code.line.number", "code.lineno", "line")
CALLER_KEYS: Final = ("caller", "code", "from", "origin", "where")
_CALLER: Final = re.compile(r"^(?P<file>[^:\n]+\.\w+):(?P<line>[0-9]{1,7})\b")
_TEST: Final = re.compile(r"^(?P<file>[^:\n]+\.\w+)::")


class Place(NamedTuple):
    """A line of code; 0 where only the file is known."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        """``shop/orders.py:17``."""
        return f"{self.file}:{self.line}" if self.line else self.file


class Part(NamedTuple):
    """A part of a counter that moved against its own history."""

    key: Key
    now: float
    expected: float
    scales: float
    place: Place | None = None

    @property
    def delta(self) -> float:
        """By how much it moved."""
        return self.now - self.expected


def place_of(dimensions: Dimensions) -> Place | None:
    """The line of code that a part's dimensions tell, if they do.

    >>> place_of((("caller", "shop/orders.py:17 in lines"),))
    Place(file='shop/orders.py', line=17)
    >>> place_of((("test", "tests/test_a.py::test_b"),))
    Place(file='tests/test_a.py', line=0)
    """
    told = dict(dimensions)
    file = next((told[key] for key in FILE_KEYS if told.get(key)), "")
    if file:
        line = next((told[key] for key in LINE_KEYS if key in told), "0")
        return Place(file, int(line) if re.fullmatch(r"[0-9]{1,7}", line) else 0)
    for key in CALLER_KEYS:
        if match := _CALLER.match(told.get(key, "")):
            return Place(match["file"], int(match["line"]))
    if match := _TEST.match(told.get("test", "")):
        return Place(match["file"])
    return None


def parts_of(key: Key, delta: float, series: Iterable[Series]) -> tuple[Part, ...]:
    """The parts that explain a counter's move of `delta`, those of its own backend first.

    Parts of the counter itself by how far they moved; then those of another kind (it may have
    parts by test, others by statement) of its backend's other counters that moved about as
    far, and likewise of the other backends, which is how a statement is put down to a test.
    `series` have the value of the run last.
    """
    own: list[Part] = []
    kin: list[Part] = []
    others: list[Part] = []
    for one in series:
        part = moved_part(one)
        if part is None or part.delta * delta <= 0:
            continue
        if part.key.backend != key.backend:
            others.append(part)
        elif part.key.counter == key.counter or part.key.counter.startswith(f"{key.counter}."):
            own.append(part)
        else:
            kin.append(part)
    told = {_kind(part) for part in own}
    kin = [part for part in kin if _kind(part) not in told]
    return (*_largest(own), *_alike(kin, delta), *_alike(others, delta))


def _kind(part: Part) -> frozenset[str]:
    """Whether it is a statement, a queue scope or a test."""
    return frozenset(key for key, _ in part.key.dimensions)


def moved_part(one: Series) -> Part | None:
    """The part as it moved in the run; None if it did not, or nobody knows."""
    *earlier, now = one.values
    known = [value for value in earlier if value is not None]
    if now is None or not known:
        return None
    middle = float(median(known))
    scale = spread_of(known, middle, mad(known, middle), is_counted=one.is_counted).scale
    scales = abs(now - middle) / scale if scale else float(now != middle)
    if scales < PART_SCALES_MIN:
        return None
    return Part(one.key, now, middle, scales, place_of(one.key.dimensions))


def _largest(parts: Sequence[Part]) -> list[Part]:
    ranked = sorted(parts, key=lambda part: (-abs(part.delta), part.key))
    return ranked[:PARTS_MAX]


def _alike(parts: Sequence[Part], delta: float) -> list[Part]:
    """One counter of each statement, queue or test, whose move is nearest to `delta`."""
    best: dict[tuple[str, Dimensions], Part] = {}
    near = [part for part in parts if ALIKE <= part.delta / delta <= 1 / ALIKE]
    for part in sorted(near, key=lambda one: (_off(one, delta), -one.scales, one.key)):
        best.setdefault((part.key.backend, part.key.dimensions), part)
    return list(best.values())[:PARTS_MAX]


def _off(part: Part, delta: float) -> float:
    return abs(part.delta / delta - 1)
