"""No more parts of a counter than anybody looks at: the rest is summed and told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from nilometer.counters.figures import Number, Series
    from nilometer.model.dimensions import Dimensions

PARTS_MAX: Final = 1000
"""Of one counter: 100 bytes each in a history make 0.1 MB a run, and nobody reads on."""


class Kept:
    """Which parts of each counter a backend has shown, so that it goes on to show these."""

    def __init__(self) -> None:
        self._shown: dict[str, set[Dimensions]] = {}
        self._full: set[str] = set()

    def of(self, name: str, parts: Collection[Dimensions]) -> Collection[Dimensions]:
        """The parts of a counter that are shown; the first time it goes by their names.

        A part that was summed with others never comes out again: what it counted until then
        would look like a move.
        """
        shown = self._shown.setdefault(name, set())
        if name not in self._full:
            if len(shown.union(parts)) <= PARTS_MAX:
                shown.update(parts)
                return shown
            self._full.add(name)
            room = max(0, PARTS_MAX - 1 - len(shown))
            shown.update(sorted(part for part in parts if part not in shown)[:room])
        return shown


OVERFLOW: Final[Dimensions] = (("overflow", "true"),)


def bounded(
    values: Mapping[Series, Number],
    *,
    gauges: frozenset[str] = frozenset(),
    kept: Kept | None = None,
) -> tuple[dict[Series, Number], tuple[str, ...]]:
    """The same figures with at most `PARTS_MAX` parts of each counter, and what was done to it.

    Which parts are shown must not change between two reads: `kept` remembers it. What is beyond
    is summed as one part; of gauges, whose sum means nothing, it is left out.
    """
    parts: dict[str, list[Dimensions]] = {}
    for name, dimensions in values:
        if dimensions:
            parts.setdefault(name, []).append(dimensions)
    kept = Kept() if kept is None else kept
    shown = dict(values)
    notes = []
    for name, of_one in sorted(parts.items()):
        own = kept.of(name, of_one)
        rest = [dimensions for dimensions in of_one if dimensions not in own]
        if not rest:
            continue
        summed = sum(shown.pop((name, dimensions)) for dimensions in rest)
        fate = "left out" if name in gauges else "summed"
        if name not in gauges:
            shown[name, OVERFLOW] = summed
        notes.append(f"{name} has {len(of_one)} parts; {len(rest)} of them are {fate}")
    return shown, tuple(notes)
