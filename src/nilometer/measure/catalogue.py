"""The owner's side of a file of values: makes it, notes each series in it, takes it away.

The lock on the file says that its process lives: the kernel lets go of it with the process,
however that ends. Only what `arena_layout` describes is in the file; it is for this user only.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from secrets import token_bytes, token_hex
from typing import TYPE_CHECKING, Any, Final

from nilometer.errors import ConfigError
from nilometer.measure.arena_layout import (
    CATALOGUE_AT,
    CATALOGUE_BYTES_MAX,
    COLLECTED_AT,
    GRAIN,
    HEADER,
    MAGIC,
    THERE,
    VERSION,
)

if TYPE_CHECKING:
    from nilometer.measure.family import Instrument
    from nilometer.measure.pure import Arena, Handle
    from nilometer.measure.registry import Registry
    from nilometer.model import Dimensions, Resource

SUFFIX: Final = ".arena"
TRIES: Final = 100
"""A file that somebody took for an abandoned one before it was locked is made again."""
GONE: Final = b"-"


def checked_folder(folder: str, origin: str) -> Path:
    """The folder for such files, made if it is missing. Raises ConfigError.

    Whoever may rename files in a folder may put others in their place.
    """
    path = Path(folder).absolute()  # the service may go elsewhere
    try:
        with suppress(FileExistsError):
            path.mkdir(0o700)
        found = path.stat()
    except OSError as error:
        raise ConfigError(f"{origin}: {path}: {error.strerror}", slug="bad-arena") from None
    because = ""
    if not stat.S_ISDIR(found.st_mode):
        because = "is no folder"
    elif found.st_uid not in (0, os.geteuid()):
        because = f"belongs to another user (uid {found.st_uid}); choose one of your own"
    elif found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
        because = (
            f"is open to writing by others (mode {found.st_mode & 0o7777:o}); close it with: "
            f"chmod 700 {path}"
        )
    if because:
        raise ConfigError(f"{origin}: {path} {because}", slug="bad-arena")
    return path


class Catalogue:
    """The series of one file. May be used by all threads, and by what interrupts them.

    After a fork the file is the parent's: `arena.file` is -1, and nothing more is written.
    """

    def __init__(self, arena: Arena, path: Path) -> None:
        self._arena = arena
        self._path = path
        self._known = os.fstat(arena.file)
        self._lines: dict[int, tuple[int, int]] = {}  # by block: where its line is, how long
        self._free: dict[int, list[int]] = {}  # by length: where lines were
        self._end = CATALOGUE_AT

    def note(self, instrument: Instrument) -> None:
        """Add all series of an instrument."""
        for dimensions, series in list(instrument.series.items()):
            self.add(instrument, dimensions, series)

    def add(self, instrument: Instrument, dimensions: Dimensions, series: Handle) -> None:
        """Say where the values of a series lie, before anybody records in it."""
        offset = series.lie()
        if not offset:  # it found no room, and that is counted
            return
        told: dict[str, Any] = {
            "at": offset,
            "kind": instrument.kind,
            "name": instrument.name,
            "unit": instrument.unit,
            "description": instrument.description,
            "dimensions": dimensions,
        }
        tally = instrument.tally
        if tally is not None:
            told["tally"] = (tally.name, tally.unit, tally.description)
        before = self._lines.pop(offset, None)
        line = self.write(told)
        if line is not None:
            self._lines[offset] = line
        self._take_away(before)

    def drop(self, series: Handle) -> None:
        """Take a series' line away, before its block is given to another one."""
        self._take_away(self._lines.pop(series.lie(), None))

    def _take_away(self, line: tuple[int, int] | None) -> None:
        if line is not None and self._put(line[0], GONE):
            self._free.setdefault(line[1], []).append(line[0])

    def write(self, told: dict[str, Any]) -> tuple[int, int] | None:
        """Write one line; where, and how long. None if there was no room, which is counted."""
        text = THERE + json.dumps(told, separators=(",", ":")).encode()
        size = -(-(len(text) + 1) // GRAIN) * GRAIN
        at = self._place(size)
        line = text.ljust(size - 1) + b"\n"
        is_written = at + size <= CATALOGUE_AT + CATALOGUE_BYTES_MAX
        is_written = is_written and self._put(at + 1, line[1:]) and self._put(at, THERE)
        if is_written:
            return at, size
        self._arena.refused += 1
        return None

    def _place(self, size: int) -> int:
        """Where a line of that length goes. Each step is one that nothing interrupts."""
        try:
            return self._free[size].pop()
        except (KeyError, IndexError):
            at = self._end
            self._end = at + size
            return at

    def collected(self, wall_ns: int) -> None:
        """From now on values are of the time after this."""
        self._put(COLLECTED_AT, wall_ns.to_bytes(8, sys.byteorder))

    def begin(self, collected_ns: int, interval_ns: int) -> None:
        """All that belongs there is there: from now on the file counts. Raises OSError."""
        head = HEADER.pack(MAGIC, VERSION, 0, collected_ns, interval_ns, 0, token_bytes(16))
        os.pwrite(self._arena.file, head[len(MAGIC) :], len(MAGIC))
        os.pwrite(self._arena.file, MAGIC, 0)

    def _put(self, at: int, piece: bytes) -> bool:
        try:
            return os.pwrite(self._file(), piece, at) == len(piece)
        except OSError:
            return False

    def _file(self) -> int:
        """The file's descriptor, opened again if somebody closed it, as daemons close all.

        The number may be another file's by now: that is not to be written to.
        """
        file = self._arena.file
        with suppress(OSError):
            if file < 0 or os.path.samestat(os.fstat(file), self._known):
                return file
        file = os.open(self._path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        if not os.path.samestat(os.fstat(file), self._known):
            os.close(file)
            raise FileNotFoundError(self._path)
        self._arena.file = file  # the lock is held by the mapping, whoever closes what
        return file


class Kept:
    """A registry's values in a file in this folder, until `end`. Raises OSError."""

    def __init__(
        self, registry: Registry, folder: Path, resource: Resource, interval_s: float
    ) -> None:
        self._registry = registry
        self._arena = registry.arena
        self.path, file = _made(folder)
        try:
            os.ftruncate(file, CATALOGUE_AT)  # a hole, but for what is asked for
            self._arena.lie_in(file)
        except BaseException:
            self.path.unlink()
            os.close(file)
            raise
        try:
            catalogue = Catalogue(self._arena, self.path)
            if catalogue.write({"resource": resource}) is None:
                raise OSError("no room for what it holds")
            registry.catalogue = catalogue
            for instrument in registry.made():
                catalogue.note(instrument)
            catalogue.begin(registry.collected_ns, int(interval_s * 1e9))
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Go on in memory; the file is taken away while it is still locked."""
        if self._arena.file < 0:
            return  # a forked child, where the file is the parent's
        self._registry.catalogue = None
        with suppress(OSError):
            self.path.unlink()
        self._arena.leave()


def _made(folder: Path) -> tuple[Path, int]:
    """A new file, locked: nobody else can take it for one that was left behind."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    for _ in range(TRIES):
        path = folder / f"{os.getpid()}-{token_hex(8)}{SUFFIX}"
        file = os.open(path, flags, 0o600)
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file).st_nlink:
                return path, file
        os.close(file)
    raise OSError(f"others take files in {folder} away as they are made")
