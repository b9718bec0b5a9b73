"""What docs/catalogue.md lists, and a fixture that compares dimensions with it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from nilometer.measure import Registry
from nilometer.measure.family import OVERFLOW

PAGE = Path(__file__).parent.parent / "docs" / "catalogue.md"


class Row(NamedTuple):
    """One instrument of one measurement."""

    group: str
    measured: str
    instrument: str
    kind: str
    unit: str
    level: str
    dimensions: tuple[str, ...]
    integrations: tuple[str, ...]
    test: str


def rows() -> list[Row]:
    found, group, measured = [], "", ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("#"):
            group = line.lstrip("# ")
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 8 or "`" not in cells[1]:
            continue
        what, instrument, kind, unit, level, dimensions, integrations, test = cells
        measured = what or measured
        found.append(
            Row(
                group,
                measured,
                *(cell.strip("`") for cell in (instrument, kind, unit, level)),
                tuple(re.findall(r"`([^`]+)`", dimensions)),
                tuple(re.findall(r"`([^`]+)`", integrations)),
                test.strip("`"),
            )
        )
    return found


LISTED = {row.instrument: {*row.dimensions} for row in rows()}


def unlisted(name: str, dimensions: set[str]) -> set[str]:
    """Dimensions that the row of that instrument does not name; none if it has no row."""
    return dimensions - LISTED[name] - {key for key, _ in OVERFLOW} if name in LISTED else set()


@pytest.fixture(autouse=True)
def no_dimension_is_left_out_of_the_catalogue(monkeypatch):
    """Of whatever a test reads of any registry of its process."""
    collect = Registry.collect
    found = set()

    def collected(registry, **how):
        readings, events = collect(registry, **how)
        told = [(one.name, {key for key, _ in one.dimensions}) for one in readings]
        told += [(one.name, {*one.attributes}) for one in events]
        found.update((name, key) for name, keys in told for key in unlisted(name, keys))
        return readings, events

    monkeypatch.setattr(Registry, "collect", collected)
    yield
    assert not found, f"dimensions that docs/catalogue.md does not name: {sorted(found)}"
