"""How far the counters of a backend moved between two snapshots, or why nobody can say."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

from nilometer.model.reading import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from nilometer.counters.figures import Number, Series
    from nilometer.counters.snapshot import Snapshot
    from nilometer.model.dimensions import Dimensions


class Delta(NamedTuple):
    """How far each counter moved; `unknown` says of the others why not.

    A counter's move is never negative; a gauge's may be. If nothing at all can be said of the
    backend, `because` says why, and there are no moves.
    """

    moved: Mapping[Series, Number]
    unknown: Mapping[Series, str]
    because: str = ""


def delta(before: Snapshot, after: Snapshot, *, one_reader: bool = True) -> Delta:
    """Subtract two snapshots of one backend, the earlier one first.

    What restarted, was replaced or upgraded in between is not compared: ``because`` says so.
    `one_reader` took both: it goes on to tell what was counted in a thing that was made anew,
    as statements in a database, under its name. Another one cannot know that name.
    """
    because = _not_comparable(before, after)
    if because:
        return Delta({}, {}, because)
    moved: dict[Series, Number] = {}
    unknown: dict[Series, str] = {}
    read = {name for name, _ in before.values}
    families = {(name, text) for (name, _), text in before.incarnations.items()}
    for series, value in after.values.items():
        fact = after.fact(series[0])
        was_read = before.whole or (bool(series[1]) and series[0] in read)
        earlier = before.values.get(series, 0 if fact.from_zero and was_read else None)
        if begun := _begun_anew(series, before, after, families):
            unknown[series] = f"not one count throughout: {begun}"
        elif anew := _made_anew(series[1], before, after, one_reader=one_reader):
            unknown[series] = f"{anew} was made anew meanwhile, under the same name"
        elif not one_reader and (went := _left_by(series[1], before, after)):
            unknown[series] = f"it holds what {went} left, which went or was made anew"
        elif fact.from_zero and before.unseen != after.unseen:
            unknown[series] = after.unseen or before.unseen
        elif earlier is None:
            unknown[series] = "new: it was not there in the first snapshot"
        elif not (isfinite(value) and isfinite(earlier)):
            unknown[series] = f"not a number: {earlier} before, {value} after"
        elif value < earlier and fact.kind is not Kind.GAUGE:
            unknown[series] = f"it went back from {earlier} to {value}: reset, or wrapped"
        else:
            moved[series] = value - earlier
    for series in before.values.keys() - after.values.keys():
        unknown[series] = "vanished: it was there in the first snapshot only"
    return Delta(moved, unknown)


def _begun_anew(
    series: Series, before: Snapshot, after: Snapshot, families: AbstractSet[tuple[str, str]]
) -> str:
    """What says that a counter is not one count from the one snapshot to the other.

    A part that is new is of the same count as its siblings were: a statement that nobody had
    sent before, where all are counted since the server started.
    """
    now = after.incarnations.get(series, "")
    if series in before.values or not now:
        was = before.incarnations.get(series, "")
        return "" if was == now else now or was
    return "" if (series[0], now) in families else now


def _made_anew(part: Dimensions, before: Snapshot, after: Snapshot, *, one_reader: bool) -> str:
    """Which of its dimensions names another thing than it did; empty if none does, or if what
    is told of others, too, outlived it."""
    for pair in part if len(part) == 1 or not one_reader else ():
        was, now = before.ids.get(pair), after.ids.get(pair)
        if was is not None and now is not None and was != now:
            return f"{pair[0]} {pair[1]!r}"
    return ""


def _left_by(part: Dimensions, before: Snapshot, after: Snapshot) -> str:
    """What went, of which this part may hold what outlived it: it is of a thing without a name,
    as statements are whose database was dropped. Empty if nothing did."""
    nameless = {label for label, name in part if not name} if len(part) > 1 else set()
    gone = (pair for pair, text in before.ids.items() if after.ids.get(pair) != text)
    return next((f"{label} {name!r}" for label, name in gone if label in nameless), "")


def _not_comparable(before: Snapshot, after: Snapshot) -> str:
    """Why these two snapshots cannot be subtracted; empty if they can."""
    if (before.backend, before.instance) != (after.backend, after.instance):
        return (
            f"another server: {before.backend} at {before.instance} before, "
            f"{after.backend} at {after.instance} after"
        )
    if before.version != after.version:
        return f"upgraded meanwhile: {before.version} before, {after.version} after"
    if before.incarnation != after.incarnation:
        return (
            f"restarted, or its figures were reset, meanwhile: "
            f"{before.incarnation} before, {after.incarnation} after"
        )
    return ""
