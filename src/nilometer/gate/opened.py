"""Runs that met a server whose tables had to be opened anew: it moves more than they ask for.

MariaDB opens a table when it is first asked for it since it was started, or since somebody
flushed its tables, as backups do; and then it reads what it keeps of the table itself. The same
run that moved `Handler_read_key` by 26 moved it by 98 after a restart, and six more with it;
the next one was as before. What statements asked for, `Com_*`, was as ever. Where most runs
have a server of their own that is what they cost, and all are alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.gate.robust import median

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nilometer.gate.history import Key, Series


class Opening(NamedTuple):
    """Which counter tells how much a server opened, and how the names of those begin that it
    moves by that."""

    told_by: str
    moved: tuple[str, ...]


OPENINGS: Final[Mapping[str, Opening]] = {
    "mysql": Opening(
        "Opened_table_definitions",
        ("Handler_read_key", "Opened_", "Table_locks_immediate", "Table_open_cache_"),
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

    def __init__(self, every: Sequence[Series]) -> None:
        self._places = {
            one.key.backend: _above_the_usual(one.values)
            for one in every
            if one.key.counter == _opening(one.key).told_by
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
    return OPENINGS.get(key.backend.partition("@")[0], Opening("", ()))


def _above_the_usual(values: Sequence[float | None]) -> frozenset[int]:
    known = [(at, value) for at, value in enumerate(values) if value is not None]
    usual = median([value for _, value in known]) if known else 0.0
    above = [at for at, value in known if value > usual]
    return frozenset(above if len(above) <= USUAL_SHARE * len(known) else ())
