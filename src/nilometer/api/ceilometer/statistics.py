"""Statistics of a meter: each start or stop is a sample of volume 1, so these count them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.api.ceilometer.faults import Fault, invalid, unknown
from nilometer.api.ceilometer.told import UNIT, VOLUME
from nilometer.api.ceilometer.wanted import SAMPLE_FIELDS
from nilometer.wire.osprofiler import timestamp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.api.ceilometer.told import Told

GROUPS: Final = ("user_id", "resource_id", "project_id", "source")
NS_PER_S: Final = 10**9
PERIOD_S_MAX: Final = 10**9  # thirty years


def period_of(told: str) -> int:
    """Seconds; 0 where none are told."""
    if not told:
        return 0
    if not told.lstrip("-").isdecimal():
        raise invalid("period", told, "unable to convert to int")
    if told.startswith("-"):
        raise Fault("Period must be positive.")
    return min(int(told[:20]), PERIOD_S_MAX)


def group_of(name: str) -> str:
    """What is grouped by; none if empty."""
    if name and name not in GROUPS:
        raise unknown(name, "Invalid groupby fields")
    return name


def statistics(samples: Sequence[Told], period_s: int, group: str) -> list[dict[str, Any]]:
    """One for each group and period that has samples; periods begin with the first of all."""
    if not samples:
        return []
    began_ns = min(told.at_ns for told in samples)
    period_ns = period_s * NS_PER_S
    cells: dict[tuple[int, str | None], list[Told]] = {}
    for told in samples:
        number = (told.at_ns - began_ns) // period_ns if period_ns else 0
        by = SAMPLE_FIELDS[group](told) if group else None
        cells.setdefault((number, by), []).append(told)
    ordered = sorted(cells.items(), key=lambda cell: (cell[0][0], str(cell[0][1])))
    last_ns = max(told.at_ns for told in samples)
    made = []
    for (number, by), ones in ordered:
        start_ns = began_ns + number * period_ns
        end_ns = start_ns + period_ns if period_ns else last_ns
        one = _of_one(ones, {group: by} if group else None)
        period = {"period_start": timestamp(start_ns), "period_end": timestamp(end_ns)}
        made.append({**one, "period": period_s, **period})
    return made


def _of_one(samples: Sequence[Told], by: dict[str, str | None] | None) -> dict[str, Any]:
    first_ns = min(told.at_ns for told in samples)
    last_ns = max(told.at_ns for told in samples)
    return {
        "count": len(samples),
        "sum": VOLUME * len(samples),
        "avg": VOLUME,
        "min": VOLUME,
        "max": VOLUME,
        "unit": UNIT,
        "groupby": by,
        "duration": (last_ns - first_ns) / NS_PER_S,
        "duration_start": timestamp(first_ns),
        "duration_end": timestamp(last_ns),
    }
