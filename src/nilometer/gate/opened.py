"""Runs that met a server whose tables had to be opened anew: it moves more than they ask for.

MariaDB opens a table when it is first asked for it since it was started, or since somebody
flushed its tables, as backups do; and then it reads what it keeps of the table itself. The same
run that moved `Handler_read_key` by 26 moved it by 98 after a restart, and six more with it;
the next one was as before. What statements asked for, `Com_*`, was as ever. Where most runs
have a server of their own that is what they cost, and all are alike.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.gate.history import read_of
from nilometer.gate.robust import median
from nilometer.gate.stability import RUNS_MIN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nilometer.gate.history import Key, Series
    from nilometer.model.run import Run


class Opening(NamedTuple):
    """Which counter tells how much a server opened, which gauge how much of it stayed open, and
    how the names of those begin that it moves by that."""

    told_by: str
    kept: str
    moved: tuple[str, ...]


OPENINGS: Final[Mapping[str, Opening]] = {
    "mysql": Opening(
        "Opened_table_definitions",
        "Open_table_definitions",
        (
            *("Handler_read_key", "Opened_", "Table_locks_immediate", "Table_open_cache_"),
            *("Aria_pagecache_", "Rows_read"),  # where ANALYZE TABLE made statistics persistent
        ),
    ),
}
"""By kind of backend."""

USUAL_SHARE: Final = 0.25
"""Where that is so of more of the runs, it is how things are."""

BECAUSE: Final = (
    "the server opened tables anew, as after a start or a flush, which moves it, too"
)


class Opened:
    """At which places the run of a backend met tables that had to be opened, if few did."""

    def __init__(self, every: Sequence[Series], runs: Sequence[Run]) -> None:
        of_key = {one.key: one.values for one in every}
        self._places = {
            key.backend: _anew(values, of_key[kept])
            for key, values in of_key.items()
            if key.counter == _opening(key).told_by
            and (kept := key._replace(counter=_opening(key).kept)) in of_key
            and not _have_servers_of_their_own(key.backend, runs)
        }

    def moved(self, key: Key, at: int) -> bool:
        """Whether the server moved this counter by that, too, at this place."""
        is_meant = key.counter.startswith(_opening(key).moved)
        return is_meant and at in self._places.get(key.backend, ())

    def without(self, one: Series) -> Series:
        """The series without what it was in such runs."""
        if one.key.backend not in self._places:
            return one
        values = (None if self.moved(one.key, at) else v for at, v in enumerate(one.values))
        return one._replace(values=tuple(values))


def _opening(key: Key) -> Opening:
    return OPENINGS.get(key.backend.partition("@")[0], Opening("", "", ()))


def without_openings(every: Iterable[Series], runs: Sequence[Run]) -> tuple[Series, ...]:
    """The series of these runs, without what they were where tables had to be opened."""
    read = tuple(every)
    return tuple(map(Opened(read, runs).without, read))


def _have_servers_of_their_own(backend: str, runs: Sequence[Run]) -> bool:
    """Whether most runs do: then what more of them open is what they cost."""
    told = [read.incarnation if (read := read_of(one, backend)) else "" for one in runs]
    begun = [text for text in told if text]
    changed = sum(before != now for before, now in pairwise(begun))
    return changed > USUAL_SHARE * len(begun)


def _anew(opened: Sequence[float | None], kept: Sequence[float | None]) -> frozenset[int]:
    """Where more was opened than usual, and than in the latest run that is none of these, and
    as much of it stayed open.

    Of a table that a run makes and drops nothing stays, and one that is there for good is
    opened once. Where it goes on for as many runs as a level takes, it is how things are.
    """
    more, stayed = _above_the_usual(opened), _above_the_usual(kept)
    found, in_a_row, level = [], 0, 0.0
    for at, (by, kept_by) in enumerate(zip(more, stayed, strict=True)):
        if by is None or kept_by is None:
            continue
        in_a_row = in_a_row + 1 if kept_by >= by - level > 0 else 0
        if 0 < in_a_row < RUNS_MIN:
            found.append(at)
        else:
            level = max(by, 0.0)
    known = sum(by is not None for by in more)
    return frozenset(found if len(found) <= USUAL_SHARE * known else ())


def _above_the_usual(values: Sequence[float | None]) -> list[float | None]:
    known = [value for value in values if value is not None]
    usual = median(known) if known else 0.0
    return [None if value is None else value - usual for value in values]
