"""Runs that met a server whose tables had to be opened anew: it moves more than they ask for.

MariaDB opens a table when it is first asked for it since it was started, or since somebody
flushed its tables, as backups do; and then it reads what it keeps of the table itself. The same
run that moved `Handler_read_key` by 26 moved it by 98 after a restart, and six more with it;
the next one was as before. What statements asked for, `Com_*`, was as ever. Where most runs
have a server of their own that is what they cost, and all are alike.

Who looks at `information_schema.tables` meanwhile, as monitoring does, or dumps them, has them
opened before the run. Then it still reads what is kept of them, or opens them once more for a
join of a table with itself, and no definition that is opened tells it.
"""

from __future__ import annotations

from collections import Counter, deque
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.gate.history import read_of
from nilometer.gate.joint import SCALES_MIN
from nilometer.gate.robust import median
from nilometer.gate.stability import RUNS_MIN, spread_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nilometer.gate.history import Key, Series
    from nilometer.model.run import Run


class Opening(NamedTuple):
    """Which counters tell what a server opened, and how the names of those begin that it moves.

    `told_by` is how much it opened, and the gauge `kept` how much of it stayed open: that moves
    `moved`. So does what it reads of tables that somebody opened before the run: the locks and
    keys of `read` rise, though no more was `asked`. Where only `again` rises, it opened them
    once more, and moved `moved_again`.
    """

    told_by: str
    kept: str
    asked: str
    read: tuple[str, str]
    again: str
    moved: tuple[str, ...]
    moved_again: tuple[str, ...]

    @property
    def told(self) -> tuple[str, ...]:
        """All that it is told by."""
        return self.told_by, self.kept, self.asked, *self.read, self.again


OPENINGS: Final[Mapping[str, Opening]] = {
    "mysql": Opening(
        told_by="Opened_table_definitions",
        kept="Open_table_definitions",
        asked="Queries",
        # It locks its own tables for that, three for each, and asks for six keys; statements on
        # InnoDB's tables lock none.
        read=("Table_locks_immediate", "Handler_read_key"),
        again="Opened_tables",
        moved=(
            *("Handler_read_key", "Opened_", "Table_locks_immediate", "Table_open_cache_"),
            *("Aria_pagecache_", "Rows_read"),  # where ANALYZE TABLE made statistics persistent
        ),
        moved_again=("Opened_tables", "Table_open_cache_"),
    ),
}
"""By kind of backend."""

USUAL_SHARE: Final = 0.25
"""Where that is so of more of the runs, it is how things are."""

KEPT_SHARE_MIN: Final = 0.5
"""Of what was opened; the rest are tables that runs make and drop, now and then one more."""

BECAUSE: Final = (
    "the server opened tables anew, as after a start or a flush, which moves it, too"
)


class Opened:
    """At which places the run of a backend met tables that had to be opened, if few did."""

    def __init__(self, every: Sequence[Series], runs: Sequence[Run]) -> None:
        of_backend: dict[str, dict[str, Series]] = {}
        for one in every:
            of_backend.setdefault(one.key.backend, {})[one.key.counter] = one
        self._moved = {
            backend: _moved(OPENINGS[kind], series, len(runs))
            for backend, series in of_backend.items()
            if (kind := backend.partition("@")[0]) in OPENINGS
            and not _have_servers_of_their_own(backend, runs)
        }

    def moved(self, key: Key, at: int) -> bool:
        """Whether the server moved this counter by that, too, at this place."""
        return key.counter.startswith(self._moved.get(key.backend, {}).get(at, ()))

    def without(self, one: Series) -> Series:
        """The series without what it was in such runs."""
        if not self._moved.get(one.key.backend):
            return one
        values = (None if self.moved(one.key, at) else v for at, v in enumerate(one.values))
        return one._replace(values=tuple(values))


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


def _moved(
    opening: Opening, series: Mapping[str, Series], runs: int
) -> dict[int, tuple[str, ...]]:
    """By place, how the names of the counters begin that the server moved by itself.

    A rise is one above the level of the runs that are none of these. Where it goes on for as
    many runs as a level takes, it is how things are.
    """
    told = [name for name in opening.told if name in series]
    above = {name: _above_the_usual(series[name].values) for name in told}
    least = {name: _least(series[name]) for name in told}
    found: dict[int, tuple[str, ...]] = {}
    known, in_a_row, level = 0, 0, dict.fromkeys(told, 0.0)
    latest = deque([level], maxlen=RUNS_MIN)
    for at in range(runs):
        now = {name: by for name in told if (by := above[name][at]) is not None}
        if len(now) < len(told):
            continue
        known += 1
        moved = _moved_by(opening, {name: now[name] - level[name] for name in told}, least)
        in_a_row = in_a_row + 1 if moved else 0
        if 0 < in_a_row < RUNS_MIN:
            found[at] = moved
        else:
            latest.append(now)
            level = _level(latest)
    times = Counter(found.values())
    return {at: one for at, one in found.items() if times[one] <= USUAL_SHARE * known}


def _level(latest: deque[dict[str, float]]) -> dict[str, float]:
    """How far above the usual ordinary runs are: as far as the last of them.

    They are below it only where all are, as after an improvement that lasts: one run that did
    less makes no rise of the next.
    """
    return {
        name: max(by, min(0.0, max(one[name] for one in latest)))
        for name, by in latest[-1].items()
    }


def _moved_by(
    opening: Opening, rise: Mapping[str, float], least: Mapping[str, float]
) -> tuple[str, ...]:
    """How the names begin of what the server moved in a run in which these rose by so much.

    Of a table that a run makes and drops nothing stays, and one that is there for good is
    opened once.
    """
    opened = rise.get(opening.told_by, 0.0)
    if opened > 0:
        stayed = rise.get(opening.kept, 0.0) > KEPT_SHARE_MIN * opened
        return opening.moved if stayed else ()
    if rise.get(opening.asked, 1.0) > 0:  # or nobody knows what was asked
        return ()
    if _read_anew(*opening.read, rise, least):
        return opening.moved
    again = opening.again
    return opening.moved_again if again in rise and rise[again] >= least[again] else ()


def _read_anew(
    locks: str, keys: str, rise: Mapping[str, float], least: Mapping[str, float]
) -> bool:
    """Whether both rose by what could alarm; among very many keys those alarm nobody, but as
    many as of locks are there."""
    if locks not in rise or keys not in rise:
        return False
    return rise[locks] >= least[locks] and rise[keys] >= min(rise[locks], least[keys])


def _above_the_usual(values: Sequence[float | None]) -> list[float | None]:
    known = [value for value in values if value is not None]
    usual = median(known) if known else 0.0
    return [None if value is None else value - usual for value in values]


def _least(one: Series) -> float:
    """The least rise of a counter that could alarm."""
    known = [value for value in one.values if value is not None]
    usual = median(known) if known else 0.0
    return SCALES_MIN * spread_of(known, usual, is_counted=one.is_counted).scale
