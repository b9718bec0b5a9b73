"""No more parts of a counter than anybody looks at: the rest is summed and told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nilometer.counters.figures import Number, Series
    from nilometer.model.dimensions import Dimensions

PARTS_MAX: Final = 1000
"""Of one counter: 100 bytes each in a history make 0.1 MB a run, and nobody reads on."""

OVERFLOW: Final[Dimensions] = (("overflow", "true"),)


def bounded(
    values: Mapping[Series, Number], *, gauges: frozenset[str] = frozenset()
) -> tuple[dict[Series, Number], tuple[str, ...]]:
    """The same figures with at most `PARTS_MAX` parts of each counter, and what was done to it.

    Which parts are kept must not change between two reads, so it goes by their names. What is
    beyond is summed as one part; of gauges, whose sum means nothing, it is left out.
    """
    parts: dict[str, list[Dimensions]] = {}
    for name, dimensions in values:
        if dimensions:
            parts.setdefault(name, []).append(dimensions)
    many = {name: sorted(of_one) for name, of_one in parts.items() if len(of_one) > PARTS_MAX}
    if not many:
        return dict(values), ()
    kept = dict(values)
    notes = []
    for name, of_one in sorted(many.items()):
        rest = [kept.pop((name, dimensions)) for dimensions in of_one[PARTS_MAX - 1 :]]
        fate = "left out" if name in gauges else "summed"
        if name not in gauges:
            kept[name, OVERFLOW] = sum(rest)
        notes.append(f"{name} has {len(of_one)} parts; {len(rest)} of them are {fate}")
    return kept, tuple(notes)
