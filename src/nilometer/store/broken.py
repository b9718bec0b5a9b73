"""Files of a table that cannot be read: which, why, and whether that is still so.

One such file must not take the answers of all the others along. It is looked for only when a
question failed, as every file is read whole then, and is passed over from then on. Readers say
which there are; it is never left out in silence.
"""

from __future__ import annotations

from contextlib import closing
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

import duckdb

from nilometer.clock import elapsed_ns
from nilometer.errors import StoreError
from nilometer.store.copies import Copies, CutError
from nilometer.store.places import said
from nilometer.store.reading import (
    MEMORY_MAX,
    Questions,
    Row,
    Wanted,
    database,
    needed,
    show,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from nilometer.store.places import Place
    from nilometer.store.stored import DataFile

PROBE_MAX: Final = "500MB"
"""For looking through one file at a time; a row group of the widest rows takes some 100 MB."""


LOOK_AGAIN_NS: Final = 60 * 10**9
"""A file of an object store that was broken is passed over for so long at most."""


class Broken(NamedTuple):
    """A file that is in the table's list and cannot be read; `rows` as the list tells them."""

    table: str
    path: str
    rows: int
    because: str


class Forgiving(Questions):
    """Answers from the files that can be read; `broken` says which were left out."""

    def __init__(self, place: Place, *, memory_max: str = MEMORY_MAX) -> None:
        super().__init__(place, memory_max=memory_max)
        self._lock = Lock()
        self._found: dict[tuple[str, str], tuple[Broken, object]] = {}

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
        """As `Questions.ask`; where files cannot be read, over the others, if there are any."""
        try:
            passed = [*without, *self.passed_over(table, wanted)]
            return super().ask(name, table, wanted, values, heads=heads, without=passed)
        except StoreError as error:
            if error.slug != "store-unreadable" or not self._look(table, wanted):
                raise
        passed = [*without, *self.passed_over(table, wanted)]
        return super().ask(name, table, wanted, values, heads=heads, without=passed)

    def broken(self) -> list[Broken]:
        """The broken files that questions met and that are still there."""
        with self._lock:
            return sorted(broken for broken, _ in self._found.values())

    def passed_over(self, table: str, wanted: Wanted) -> list[DataFile]:
        """Which of the needed files are broken; none if all are, so that the question fails."""
        with self._lock:
            if not self._found:
                return []
        files = self.listed(table)
        paths = {file.path for file in files}
        with self._lock:
            for key, (_, stamp) in list(self._found.items()):
                # Merged or dropped, or somebody put it right, or tried to.
                if key[0] == table and (key[1] not in paths or stamp != self._stamp(*key)):
                    del self._found[key]
            known = {path for name, path in self._found if name == table}
        chosen = needed(files, wanted)
        passed = [file for file in chosen if file.path in known]
        return passed if len(passed) < len(chosen) else []

    def _look(self, table: str, wanted: Wanted) -> bool:
        """Read the files that were needed, one by one; whether any is found broken."""
        place = self.place.inside(table)
        try:
            found = broken_of(place, table, needed(self.listed(table), wanted))
        except OSError:  # an object store that does not answer: no file is to blame
            return False
        with self._lock:
            for each in found:
                self._found[table, each.path] = each, self._stamp(table, each.path)
        return bool(found)

    def _stamp(self, table: str, path: str) -> object:
        """What changes when a file does; None where there is none.

        An object store does not say: there a file is looked at again after a while.
        """
        root = self.place.inside(table).path
        if root is None:
            return elapsed_ns() // LOOK_AGAIN_NS
        try:
            told = (root / path).stat()
        except OSError:
            return None
        return told.st_size, told.st_mtime_ns, told.st_ino


def broken_of(place: Place, table: str, files: Iterable[DataFile]) -> list[Broken]:
    """Which of these files of the table at its place cannot be read, and why.

    Raises OSError where an object store cannot be asked just now.
    """
    found = []
    with closing(Copies()) as copies:
        for file in files:
            because = _why_not(copies, place, table, file)
            if because:
                found.append(Broken(table, file.path, file.rows, because))
    return found


def _why_not(copies: Copies, place: Place, table: str, file: DataFile) -> str:
    """Why a file cannot be read, by a database of its own: a bad file may make it unusable."""
    try:
        with copies.of(place, [file]) as paths, database(PROBE_MAX) as probe:
            show(probe, table, paths)
            probe.execute(f"SELECT BIT_XOR(HASH(each)) FROM {table} AS each").fetchall()  # noqa: S608
    except duckdb.OutOfMemoryException:
        return ""  # too large for this; that is no fault of the file
    except (duckdb.Error, OSError) as error:
        of_the_store = place.path is None and isinstance(error, OSError)
        if of_the_store and not isinstance(error, FileNotFoundError | CutError):
            raise
        return said(error)
    return ""
