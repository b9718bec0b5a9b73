"""Lines of statistics over time: those of one unit in one panel, an earlier time among them."""

from __future__ import annotations

from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.web.explorer import share_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.store.statistics import Statistics
    from nilometer.web.explorer import Explored, Side

Group = tuple[str | None, ...]

LABEL_CHARS_MAX: Final = 48  # of a group's name in a legend; the tables have all of it

GAP: Final = 3
"""So many times the usual distance lies between two points that no line joins."""

STEPS: Final = ((10**9, "s"), (10**6, "ms"), (10**3, "us"), (1, "ns"))


class Line(NamedTuple):
    """One statistic of one group; a point that is None breaks it. `colour` is the number of
    the group, and `style` that of the statistic."""

    label: str
    points: list[tuple[int, float | None]]
    colour: int
    style: int
    is_earlier: bool


class Panel(NamedTuple):
    """Lines that share an axis, of values in `unit`, as UCUM has it."""

    title: str
    unit: str
    lines: list[Line]


def value_of(row: Statistics, statistic: str) -> float | None:
    """One number of a row; None where its kind has no such."""
    share = share_of(statistic)
    if share is not None:
        return dict(row.quantiles).get(share)
    named = {
        "count": row.samples if row.kind == "distribution" else None,
        "rate": row.rate,
        "sum": row.total,
        "avg": row.average,
        # Of a counter they would tell how often it was read, not what happened.
        "min": None if row.kind == "counter" else row.minimum,
        "max": None if row.kind == "counter" else row.maximum,
        "last": row.last,
    }
    return named[statistic]


def unit_of(statistic: str, unit: str, kind: str) -> str:
    """What a statistic of a metric with that unit is in.

    >>> unit_of("rate", "By", "counter"), unit_of("rate", "ns", "distribution")
    ('By/s', '1/s')
    """
    if statistic == "count":
        return ""
    if statistic == "rate":
        each = unit.strip("{}") if kind == "counter" else ""
        return f"{each or 1}/s"
    return unit


def label_of(group: Group) -> str:
    """A group in words; cut where it is too long for a legend."""
    told = ", ".join("(none)" if value is None else value for value in group)
    return told if len(told) <= LABEL_CHARS_MAX else told[: LABEL_CHARS_MAX - 1] + "…"


def panels(told: Explored) -> list[Panel]:
    """The lines of what was explored, of drawn groups only."""
    found: dict[tuple[str, str], Panel] = {}
    drawn = {group: number for number, group in enumerate(told.drawn)}
    for style, statistic in enumerate(told.statistics):
        title = statistic if statistic in ("count", "rate", "sum") else ""
        for side in (told.now, told.earlier):
            for (group, kind, unit), rows in _series(side).items():
                if group not in drawn:
                    continue
                points = _points(rows, statistic, side.shift_ns if side else 0)
                if not any(value is not None for _, value in points):
                    continue
                axis = unit_of(statistic, unit, kind)
                panel = found.setdefault(
                    (title, axis), Panel(title or _kind_of_values(kind, unit), axis, [])
                )
                words = [label_of(group), statistic if not title else ""]
                words.append("earlier" if side is told.earlier else "")
                label = " ".join(word for word in words if word) or statistic
                is_earlier = side is told.earlier
                line = Line(label, points, drawn[group], style, is_earlier)
                panel.lines.append(line)
    return list(found.values())


def _kind_of_values(kind: str, unit: str) -> str:
    if kind == "distribution":
        return "duration" if unit == "ns" else "values"
    return "value"


def _series(side: Side | None) -> dict[tuple[Group, str, str], list[Statistics]]:
    """Rows by what one line can be of: a group's of one kind and unit."""
    found: dict[tuple[Group, str, str], list[Statistics]] = {}
    for row in side.rows if side else ():
        found.setdefault((row.group, row.kind, row.unit), []).append(row)
    return found


def _points(
    rows: Sequence[Statistics], statistic: str, shift_ns: int
) -> list[tuple[int, float | None]]:
    """By time; broken where nothing was told for some time."""
    told = [(row.started_ns + shift_ns, value_of(row, statistic)) for row in rows]
    told.sort(key=lambda point: point[0])
    if len(told) < GAP:
        return told
    steps = [later[0] - one[0] for one, later in pairwise(told)]
    longest = GAP * median(steps)
    points: list[tuple[int, float | None]] = [told[0]]
    for point, step in zip(told[1:], steps, strict=True):
        if step > longest:
            points.append((point[0] - step // 2, None))
        points.append(point)
    return points


def scaled(unit: str, greatest: float) -> tuple[float, str]:
    """What to divide values of a unit by for an axis, and what they are then in.

    >>> scaled("ns", 2_500_000), scaled("By", 3000.0), scaled("1", 5)
    ((1000000, 'ms'), (1000, 'kB'), (1, ''))
    """
    if unit == "ns":
        return next(each for each in STEPS if greatest >= each[0] or each[0] == 1)
    if unit in ("By", "By/s"):
        rest = unit[2:]
        sizes = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"), (1, "B"))
        size, word = next(each for each in sizes if greatest >= each[0] or each[0] == 1)
        return size, word + rest
    return 1, "" if unit in ("", "1") else unit.strip("{}")
