"""What a change is put down to: the statements, queues and tests that moved with it."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.gate.robust import median
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
VERBS_ELSE: Final = {
    "begin": ("start",),
    "delete": ("with",),
    "select": ("with",),
    "update": ("with",),
}
"""What statements may begin with instead that MySQL counts as this verb."""

_VERB: Final = re.compile(r"Com_(?!admin|change|stmt)([a-z]+)")  # those count no one verb
_OF_CALLS: Final = re.compile(r"Com_|Questions$|Queries$|sql\.statements$")
CALLS: Final = "statement.calls"
"""How often a statement was asked, which is what `_OF_CALLS` count of all statements."""

_FIRST: Final = re.compile(r"[\s(]*([A-Za-z]+)")
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


def parts_of(
    key: Key, delta: float, series: Iterable[Series], *, levels: Sequence[int] = ()
) -> tuple[Part, ...]:
    """The parts that explain a counter's move of `delta`, those of its own backend first.

    Parts of the counter itself by how far they moved; then those of another kind (it may have
    parts by test, others by statement) of its backend's other counters that moved about as
    far, and likewise of the other backends, which is how a statement is put down to a test.
    `series` have the value of the run last; `levels` are the places at which a level of theirs
    began that is no news, as somebody accepted it.
    """
    own: list[Part] = []
    kin: list[Part] = []
    others: list[Part] = []
    for one in series:
        part = moved_part(one, levels)
        if part is None or part.delta * delta <= 0:
            continue
        is_kin = part.key.backend == key.backend
        if is_kin and f"{part.key.counter}.".startswith(f"{key.counter}."):
            own.append(part)
        elif _is_of_verb(key.counter, part.key):
            (kin if is_kin else others).append(part)
    told = {_kind(part) for part in own}
    kin = [part for part in kin if _kind(part) not in told]
    of = key.counter
    return (*_largest(own), *_alike(kin, delta, of), *_alike(others, delta, of))


def _is_of_verb(counter: str, part: Key) -> bool:
    """Whether another counter's part may be of this one: a statement of the verb it counts."""
    told = dict(part.dimensions)
    verb = _VERB.match(counter)
    first = _FIRST.match(told.get("digest") or told.get("statement", ""))
    if verb is None or first is None:
        return True
    return first[1].lower() in (verb[1], *VERBS_ELSE.get(verb[1], ()))


def _kind(part: Part) -> frozenset[str]:
    """Whether it is a statement, a queue scope or a test."""
    return frozenset(key for key, _ in part.key.dimensions)


def moved_part(one: Series, levels: Sequence[int]) -> Part | None:
    """The part as it moved in the run; None if it did not, or nobody knows."""
    *earlier, now = one.values
    known = _on_latest(earlier, levels)
    if now is None or not known:
        return None
    middle = float(median(known))
    scale = spread_of(known, middle, is_counted=one.is_counted).scale
    scales = abs(now - middle) / scale if scale else float(now != middle)
    if scales < PART_SCALES_MIN:
        return None
    return Part(one.key, now, middle, scales, place_of(one.key.dimensions))


def _on_latest(values: Sequence[float | None], levels: Sequence[int]) -> list[float]:
    """What is known of all levels, moved onto the latest by the difference of the medians.

    So one run of a level is enough to expect the next by; the others tell the noise.

    >>> _on_latest([5, 6, 5, None, 8], [3])
    [8.0, 9.0, 8.0, 8.0]
    """
    cuts = sorted({at for at in levels if 0 < at < len(values)})
    pieces = [
        known
        for start, stop in pairwise([0, *cuts, len(values)])
        if (known := [value for value in values[start:stop] if value is not None])
    ]
    return [
        value + float(median(pieces[-1])) - float(median(known))
        for known in pieces
        for value in known
    ]


def _largest(parts: Sequence[Part]) -> list[Part]:
    ranked = sorted(parts, key=lambda part: (-abs(part.delta), part.key))
    return ranked[:PARTS_MAX]


def _alike(parts: Sequence[Part], delta: float, counter: str) -> list[Part]:
    """One counter of each statement, queue or test, whose move is nearest to `delta`.

    Of a `counter` of statements it is how often that one was asked, if that moved at all: the
    rows that it read may by chance have moved by a number that is nearer.
    """
    is_of_calls = _OF_CALLS.match(counter) is not None
    asked = {one.key[::2]: one for one in parts if is_of_calls and one.key.counter == CALLS}
    best: dict[tuple[str, Dimensions], Part] = {}
    moved = (part for part in parts if ALIKE <= part.delta / delta <= 1 / ALIKE)
    near = [asked.get(part.key[::2], part) for part in moved]
    for part in sorted(near, key=lambda one: (_off(one, delta), -one.scales, one.key)):
        best.setdefault((part.key.backend, part.key.dimensions), part)
    return list(best.values())[:PARTS_MAX]


def _off(part: Part, delta: float) -> float:
    return abs(part.delta / delta - 1)
