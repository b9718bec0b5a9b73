"""Questions over readings that are answered from roll-ups where these say the same.

What a roll-up cannot tell is asked of the readings themselves: five minutes of which only a
part is asked for, files that are not rolled up yet, and five minutes in which a series'
readings stand in several files and may be the same, delivered twice. Where a series counts from
its start, or has buckets of its sender's own, all is.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.errors import StoreError
from nilometer.store.broken import Forgiving
from nilometer.store.limits import TIME_MAX, TIME_MIN
from nilometer.store.reading import MEMORY_MAX, Piece, needed, sql
from nilometer.store.rollups import rolled_up
from nilometer.store.tables import OF_SERIES

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from nilometer.store.places import Place
    from nilometer.store.reading import Row, Wanted
    from nilometer.store.stored import DataFile

GRID_NS: Final = 300 * 10**9

APART_MAX: Final = 1000
"""Of five minutes that are asked from readings: of three days and a half."""

APART_KNOWN: Final = 16
"""So many answers to which those are: as many as a page asks for, each of 1 MB at most."""

SHARED_MAX: Final = 100
"""Of stretches of time that several files tell of, one at each file's beginning or end."""

LISTS: Final = ("catalogue", "names", "keys", "processes", "several")
"""Questions about who told readings in some time."""


class _Sources(NamedTuple):
    """The files of readings that a question needs: those that are rolled up, their roll-ups,
    and the others."""

    rolled: list[DataFile]
    rollups: list[DataFile]
    others: list[DataFile]


class Rolling(Forgiving):
    """As `Forgiving`, and what can be answered from roll-ups is."""

    def __init__(self, place: Place, *, memory_max: str = MEMORY_MAX) -> None:
        super().__init__(place, memory_max=memory_max)
        self._apart_known: dict[object, list[int] | None] = {}

    def ask(
        self,
        name: str,
        table: str,
        wanted: Wanted,
        values: Mapping[str, object],
        *,
        heads: Sequence[str] = (),
        without: Collection[DataFile] = (),
    ) -> list[Row]:
        """As `Questions.ask`."""
        how = {"measured": self._sums, "buckets": self._sums}.get(name)
        if name in LISTS:
            how = self._list
        if how is not None and not without:
            # Roll-ups that cannot be read are no reason to answer nothing: readings can be.
            with suppress(StoreError):
                found = self.retried(partial(how, name, wanted, values))
                if found is not None:
                    return found
        return super().ask(name, table, wanted, values, heads=heads, without=without)

    def _sources(self, wanted: Wanted) -> _Sources | None:
        """What there is; None if nothing of it is rolled up."""
        rollups = rolled_up(self.listed("rollups"))
        if not rollups:
            return None
        broken = {file.path for file in self.passed_over("readings", wanted)}
        files = needed(self.listed("readings"), wanted)
        rolled = [file for file in files if file.path in rollups]
        if not rolled:
            return None
        return _Sources(
            [file for file in rolled if file.path not in broken],
            [rollups[file.path] for file in rolled],
            [file for file in files if file.path not in rollups and file.path not in broken],
        )

    # ---- lists -------------------------------------------------------------------------------

    def _list(
        self, name: str, wanted: Wanted, values: Mapping[str, object]
    ) -> list[Row] | None:
        """Who told readings in a time that is longer than a roll-up's.

        A roll-up knows when the first and the last of its readings ended. One of them lies in
        such a time if any of them does.
        """
        since, last = wanted["ended_ns"]
        sources = self._sources(wanted) if last - since >= GRID_NS else None
        if sources is None:
            return None
        columns = ", ".join(sorted(OF_SERIES))
        ended = f"CASE WHEN ended_ns <= {last} THEN ended_ns ELSE first_ns END AS ended_ns"
        pieces = [
            Piece("readings", sources.others, f"{columns}, ended_ns"),
            Piece("rollups", sources.rollups, f"{columns}, {ended}"),
        ]
        return self.ask_pieces(sql(name), values, {"readings": pieces})

    # ---- sums --------------------------------------------------------------------------------

    def _sums(self, name: str, wanted: Wanted, values: Mapping[str, Any]) -> list[Row] | None:
        """What is added up, or merged, over whole periods of whole roll-ups."""
        since, last = values["since_ns"], values["last_ns"]
        begin, end = -(-since // GRID_NS) * GRID_NS, (last + 1) // GRID_NS * GRID_NS
        if values["period_ns"] % GRID_NS or begin >= end:
            return None
        sources = self._sources({**wanted, "ended_ns": (since, last)})
        apart = None if sources is None else self._apart(sources, values, begin, end)
        if sources is None or apart is None:
            return None
        inner = f"ended_ns >= {begin} AND ended_ns < {end}"
        grid = "ended_ns - ended_ns % 300000000000"
        if apart:
            inner += f" AND {grid} NOT IN ({', '.join(map(str, apart))})"
        cut = [file for file in sources.rolled if _is_cut(file, since, last, begin, end, apart)]
        twice = overlapping([*sources.others, *cut])
        outer = f"NOT ({inner})"
        views = {
            "readings": [
                Piece("readings", sources.others),
                Piece("readings", cut, where=outer),
            ],
            "repeated": [
                Piece("readings", [file for file in sources.others if file.path in twice]),
                Piece("readings", [file for file in cut if file.path in twice], where=outer),
            ],
            "rolled": [Piece("rollups", sources.rollups, where=inner)],
        }
        return self.ask_pieces(sql("plain", "added", name), values, views)

    def _apart(
        self, sources: _Sources, values: Mapping[str, Any], begin: int, end: int
    ) -> list[int] | None:
        """Which five minutes are to be asked from readings; None if all are.

        Files never change, so of the same files it is known from the question before.
        """
        paths = tuple(file.path for file in (*sources.rolled, *sources.others))
        time = values["since_ns"], values["last_ns"]
        asked = (paths, values["name"], frozenset(values["series"]), time)
        known = self._apart_known
        with suppress(KeyError):
            return known[asked]
        found = known[asked] = self._looked_apart(sources, values, begin, end)
        while len(known) > APART_KNOWN:
            with suppress(KeyError, RuntimeError):  # another thread did
                del known[next(iter(known))]
        return found

    def _looked_apart(
        self, sources: _Sources, values: Mapping[str, Any], begin: int, end: int
    ) -> list[int] | None:
        shared = " OR ".join(
            f"grid_ns BETWEEN {first} AND {last}"
            for first, last in shared_times([*sources.rolled, *sources.others])
        )
        views = {
            "readings": [Piece("readings", sources.others)],
            "rolled": [Piece("rollups", sources.rollups, where=f"is_raw OR {shared or False}")],
        }
        told = {"series": values["series"], "name": values["name"]}
        told |= {"grid_ns": begin, "grid_end_ns": end}
        told |= {"since_ns": values["since_ns"], "last_ns": values["last_ns"]}
        found = self.ask_pieces(sql("overlaps"), told, views)
        apart = [row["grid_ns"] for row in found if not row["is_raw"]]
        if len(apart) > APART_MAX or any(row["is_raw"] for row in found):
            return None
        return sorted(apart)


def shared_times(files: Sequence[DataFile]) -> list[tuple[int, int]]:
    """The first and last five minutes of each stretch of time that several files tell of."""
    ends = [(file.least["ended_ns"], file.greatest["ended_ns"]) for file in files]
    if any(None in each for each in ends):
        return [(TIME_MIN, TIME_MAX)]
    grids = sorted((first // GRID_NS, last // GRID_NS) for first, last in ends)
    shared: list[tuple[int, int]] = []
    reached = None
    for first, last in grids:
        if reached is not None and first <= reached:
            both = min(last, reached)
            if shared and first <= shared[-1][1] + 1:
                shared[-1] = shared[-1][0], max(shared[-1][1], both)
            else:
                shared.append((first, both))
        reached = last if reached is None else max(reached, last)
    if len(shared) > SHARED_MAX:
        return [(TIME_MIN, TIME_MAX)]
    return [(first * GRID_NS, last * GRID_NS) for first, last in shared]


def overlapping(files: Sequence[DataFile]) -> set[str]:
    """The paths of those that tell of a time that another tells of, too.

    A batch that was delivered twice ended at the same times twice, so no others hold one.
    """
    if any(None in (file.least["ended_ns"], file.greatest["ended_ns"]) for file in files):
        return {file.path for file in files}
    found: set[str] = set()
    longest = None
    for file in sorted(files, key=lambda each: each.least["ended_ns"]):
        if longest is not None and file.least["ended_ns"] <= longest.greatest["ended_ns"]:
            found |= {longest.path, file.path}
        if longest is None or file.greatest["ended_ns"] > longest.greatest["ended_ns"]:
            longest = file
    return found


def _is_cut(
    file: DataFile, since: int, last: int, begin: int, end: int, apart: Sequence[int]
) -> bool:
    """Whether some of a file's readings are to be read though it is rolled up."""
    times = [(since, begin - 1), (end, last), *((at, at + GRID_NS - 1) for at in apart)]
    return any(needed([file], {"ended_ns": time}) for time in times if time[0] <= time[1])
