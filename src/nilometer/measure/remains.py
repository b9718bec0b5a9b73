"""What processes that were killed left in a folder of values: claimed, read, taken away.

A file belongs to who has its lock: its process while that lives, then whoever gets the lock
first. It is taken away only once what it held has arrived, so that nothing is lost if its new
owner is killed, too: the next one hands on the very same readings, which our collector knows.
"""

from __future__ import annotations

import fcntl
import os
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.clock import Clock
from nilometer.errors import ArenaError
from nilometer.measure.arena_layout import ENDED_AT, Contents, Series, read
from nilometer.measure.catalogue import SUFFIX
from nilometer.measure.readings import KINDS
from nilometer.model import Batch, Distribution, Kind, Reading, Resource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SET_ASIDE: Final = ".unreadable"
"""Added to the name of a file that cannot be read: a person may look at it."""

COLLECTED: Final = ("nilometer.collected", "after_end")
"""The attribute of a resource whose process did not send its last readings itself."""

CLAIMS_MAX: Final = 20
"""Files that are held at once: a hundred workers killed together are read in five turns."""


class Claim(NamedTuple):
    """One file that is ours now, and what it held."""

    path: Path
    file: int
    batch: Batch

    def done(self) -> None:
        """It has arrived: take the file away, and only then let go of it."""
        with suppress(OSError):
            self.path.unlink()
        self.let_go()

    def let_go(self) -> None:
        """Leave it to whoever comes next."""
        with suppress(OSError):  # a daemon has closed all its descriptors
            os.close(self.file)


def files_of(folder: Path) -> list[Path]:
    """The files of values in a folder. Raises OSError."""
    return sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIX))


def opened(path: Path, flags: int) -> int | None:
    """A file of this user's, open; None for anything else, which is left alone."""
    try:
        file = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # taken away meanwhile, somebody else's, or a link
        return None
    found = os.fstat(file)
    if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
        return file
    os.close(file)
    return None


def is_locked(file: int, kind: int = fcntl.LOCK_SH) -> bool:
    """Whether somebody else has the lock of a file; if not, it is taken."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


class Remains:
    """Claims what was left in one folder. `told` hears of a file that cannot be read, once."""

    def __init__(
        self,
        folder: Path,
        told: Callable[[Path, ArenaError], None],
        clock: Clock = Clock(),  # noqa: B008 (an immutable value)
    ) -> None:
        self._folder = folder
        self._told = told
        self._clock = clock
        self._newer: set[Path] = set()

    def claims(self, most: int = CLAIMS_MAX) -> Iterator[Claim]:
        """Claim so many files at most. Raises OSError if the folder cannot be read."""
        for path in files_of(self._folder):
            if most <= 0:
                return
            claim = self._claim(path)
            if claim is not None:
                most -= 1
                yield claim

    def _claim(self, path: Path) -> Claim | None:
        file = opened(path, os.O_RDWR)
        if file is None:
            return None
        if is_locked(file, fcntl.LOCK_EX) or not os.fstat(file).st_nlink:
            os.close(file)  # its process lives, or another one was faster
            return None
        try:
            found = read(file)
        except ArenaError as error:
            self._refuse(path, error)
            os.close(file)
            return None
        except OSError:  # the disk fails: another time, perhaps
            os.close(file)
            return None
        batch = Batch(Resource()) if found is None else self._batch(file, found)
        claim = Claim(path, file, batch)
        if batch.rows:
            return claim
        claim.done()  # it was killed while it made the file, or had measured nothing since
        return None

    def _refuse(self, path: Path, error: ArenaError) -> None:
        """Say it once. A file of another version is left for who can read it."""
        if error.slug == "arena-version":
            if path not in self._newer:
                self._newer.add(path)
                self._told(path, error)
            return
        with suppress(OSError):
            path.rename(path.with_name(path.name + SET_ASIDE))
        self._told(path, error)

    def _batch(self, file: int, found: Contents) -> Batch:
        """Its last interval, which ends at the same time whoever claims it, and how often."""
        ended_ns = found.ended_ns
        if not ended_ns:
            now_ns = self._clock.wall_ns()
            ended_ns = min(now_ns, found.collected_ns + (found.interval_ns or now_ns))
            ended_ns = max(ended_ns, found.collected_ns)  # the wall clock may have stepped
            with suppress(OSError):
                os.pwrite(file, ended_ns.to_bytes(8, sys.byteorder), ENDED_AT)
        resource = found.resource
        attributes = tuple(sorted((*resource.attributes, COLLECTED)))
        readings = tuple(
            reading
            for one in found.series
            for reading in readings_of(one, found.collected_ns, ended_ns)
        )
        return Batch(
            resource._replace(attributes=attributes), readings, delivery=found.identity
        )


def readings_of(one: Series, started_ns: int, ended_ns: int) -> Iterator[Reading]:
    """What a series has to say of that time, and what its tally has."""
    if one.value is None:
        return
    kind, times = KINDS[one.kind], (started_ns, ended_ns)
    yield Reading(one.name, kind, one.dimensions, one.value, *times, one.unit, one.description)
    if one.tally is not None and isinstance(one.value, Distribution):
        name, unit, description = one.tally
        samples = one.value.samples
        yield Reading(name, Kind.COUNTER, one.dimensions, samples, *times, unit, description)
