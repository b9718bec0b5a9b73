"""Where the points, levels and marks of a counter's course stand in its drawing.

Points are parts of a thousand of the drawing's width and height, which the template stretches;
so text stands beside it in HTML, and is as large as any other.
"""

from __future__ import annotations

from math import floor, log10
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WIDE: Final = 1000.0
HIGH: Final = 1000.0
EDGE: Final = 0.06  # of the height is free above and below
TICKS: Final = 4
MARKS_MAX: Final = 40  # numbered above the drawing; more hide each other


class Dot(NamedTuple):
    """One run: above what history explains, or not known, or neither."""

    x: float
    y: float
    kind: str
    title: str


class Level(NamedTuple):
    """A level from one run to another."""

    x1: float
    x2: float
    y: float


class Mark(NamedTuple):
    """Where the level moved or was accepted; `number` leads to the list below."""

    left: float
    number: int
    kind: str


class Tick(NamedTuple):
    """A line across, and what it stands for."""

    top: float
    value: float


class Plot(NamedTuple):
    """All of it; `band` is x, y, width and height of what history explains, if it is known."""

    dots: list[Dot]
    levels: list[Level]
    marks: list[Mark]
    ticks: list[Tick]
    band: tuple[float, float, float, float] | None


def plot_of(course: Mapping[str, Any]) -> Plot | None:
    """The drawing of a course as `course_document` tells it; None without a known value."""
    points = course["points"]
    values = [one["value"] for one in points if one["value"] is not None]
    if not values:
        return None
    upper = course["bound"]["upper"] if course["bound"] else None
    told = values if upper is None else [*values, upper]
    scale = _Scale(len(points), min(told), max(told))
    levels = [
        Level(scale.edge(one["start"]), scale.edge(one["stop"]), scale.y(one["level"]))
        for one in course["levels"]
    ]
    band = None
    if upper is not None and course["levels"]:
        now = course["levels"][-1]
        x, y = scale.edge(now["start"]), scale.y(upper)
        high = max(scale.y(min(course["median"], upper)) - y, HIGH / 100)
        band = (x, y, round(WIDE - x, 2), high)
    return Plot(_dots(points, scale, course), levels, _marks(course, scale), scale.ticks, band)


class _Scale:
    """From places and values to parts of a thousand."""

    def __init__(self, places: int, low: float, high: float) -> None:
        if low == high:
            low, high = low - max(1.0, abs(low) * 0.05), high + max(1.0, abs(high) * 0.05)
        reach = high - low
        self._places = max(1, places)
        self._low, self._reach = low - reach * EDGE, reach * (1 + 2 * EDGE)
        self.ticks = [
            Tick(round(self.y(one) / HIGH * 100, 2), one) for one in round_values(low, high)
        ]

    def x(self, place: int) -> float:
        return round((place + 0.5) / self._places * WIDE, 2)

    def edge(self, place: int) -> float:
        return round(place / self._places * WIDE, 2)

    def y(self, value: float) -> float:
        return round(HIGH - (value - self._low) / self._reach * HIGH, 2)


def _dots(
    points: Sequence[Mapping[str, Any]], scale: _Scale, course: Mapping[str, Any]
) -> list[Dot]:
    start = course["levels"][-1]["start"] if course["levels"] else 0
    upper = course["bound"]["upper"] if course["bound"] else None
    found = []
    for at, one in enumerate(points):
        if one["value"] is None:
            found.append(Dot(scale.x(at), HIGH, "unknown", f"{one['run']}: {one['because']}"))
            continue
        is_above = upper is not None and at >= start and one["value"] > upper
        title = f"{one['run']} {one['revision'][:12]}: {one['value']:,}"
        found.append(Dot(scale.x(at), scale.y(one["value"]), "above" * is_above, title))
    return found


def _marks(course: Mapping[str, Any], scale: _Scale) -> list[Mark]:
    """In the order of the list of `events`."""
    return [
        Mark(round(scale.edge(place) / WIDE * 100, 3), number, kind)
        for number, (place, kind, _) in enumerate(events(course), 1)
    ][-MARKS_MAX:]


def events(course: Mapping[str, Any]) -> list[tuple[int, str, Mapping[str, Any]]]:
    """What happened to the level, in order: place, `step`, `held` or `accepted`, and of it."""
    found = [
        (one["place"], "held" if one["alarms"] else "step", one) for one in course["steps"]
    ]
    found += [(one["place"], "accepted", one) for one in course["accepted"]]
    return sorted(found, key=lambda one: (one[0], one[1]))


def round_values(low: float, high: float) -> list[float]:
    """A few round numbers from one to the other, for lines across.

    >>> round_values(790, 850), round_values(0, 1)
    ([800, 820, 840], [0, 0.5, 1])
    """
    rough = (high - low) / TICKS
    size = 10.0 ** floor(log10(rough))
    step = next(size * one for one in (1, 2, 5, 10) if size * one >= rough)
    first = -floor(-low / step)
    found = [round(at * step, 12) for at in range(first, floor(high / step) + 1)]
    return [int(one) if float(one).is_integer() else one for one in found]
