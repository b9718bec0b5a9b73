"""Where a store lies: a directory here, or a URL that Delta's object stores understand."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Final, NamedTuple

import pyarrow.fs as pafs
from deltalake.fs import DeltaStorageHandler

from nilometer.clock import wall_ns
from nilometer.errors import StoreError
from nilometer.store.objects import (
    CAUSE,
    objects_at,
    options_of,
    remedy,
    said_by_object_store,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

NS_PER_MS: Final = 1_000_000


class Place(NamedTuple):
    """One table's place: `path` where it is a directory of this machine, else None."""

    url: str
    path: Path | None
    options: dict[str, str] | None = None

    @classmethod
    def of(cls, location: str | Path, options: Mapping[str, str] | None = None) -> Place:
        """The place that a setting names.

        >>> Place.of("s3://bucket/nilometer").path is None
        True
        """
        text = str(location)
        if "://" in text:
            url = text.rstrip("/")
            return cls(url, None, options_of(url, options or {}))
        path = Path(text).expanduser().absolute()
        return cls(str(path), path)

    def inside(self, name: str) -> Place:
        """The place of that name in this one."""
        path = None if self.path is None else self.path / name
        return Place(f"{self.url}/{name}", path, self.options)

    def files(self) -> pafs.FileSystem:
        """The object store as Arrow reads and writes it, rooted here."""
        handler = DeltaStorageHandler(self.url, self.options)
        return pafs.PyFileSystem(handler)

    def put(
        self, path: str, write: Callable[[IO[bytes]], None], *, durable: bool
    ) -> tuple[int, int]:
        """Make a file of what `write` writes; its size in bytes and its time in milliseconds.

        An object is there whole or not at all, and an object store that has said so keeps it.
        """
        if self.path is None:
            with TemporaryFile(prefix="nilometer-") as file:
                write(file)
                size = file.seek(0, os.SEEK_END)
                file.seek(0)
                objects_at(self.url, self.options).put(path, file)
            return size, wall_ns() // NS_PER_MS
        target = self.path / path
        target.parent.mkdir(exist_ok=True)
        with target.open("xb") as sink:
            write(sink)
            sink.flush()
            if durable:
                os.fsync(sink.fileno())
            told = os.fstat(sink.fileno())
        return told.st_size, told.st_mtime_ns // NS_PER_MS

    def blocks(self, path: str) -> Iterator[memoryview]:
        """The bytes of an object of this place. Raises FileNotFoundError if there is none."""
        return objects_at(self.url, self.options).blocks(path)

    def first_of(self, folder: str, ending: str) -> str:
        """A file in a folder whose names begin and end so; empty if there is none here."""
        if self.path is not None:
            here = next(self.path.glob(f"{folder}*/*{ending}"), None)
            return "" if here is None else here.relative_to(self.path).as_posix()
        for found in objects_at(self.url, self.options).paths():
            if found.startswith(folder) and found.endswith(ending):
                return found
        return ""

    def remove(self, path: str) -> None:
        """Delete a file of this place if it is there.

        Not an object: that its commit failed is not sure where the network did, as a request
        that nobody waits for any more may still be carried out. What is in no list goes with
        the next vacuum but an hour, when that is over.
        """
        if self.path is not None:
            (self.path / path).unlink(missing_ok=True)


SAID_CHARACTERS_MAX: Final = 300


def said(error: BaseException) -> str:
    """What an error says, for a person: its first line, without the structures it shows.

    Of an object store's also whom it asked and the cause, which it tells at the other end.

    >>> said(ValueError("found gap: LogPath { location: Url { port: None } } -> LogPath { }"))
    'found gap'
    >>> said(OSError("Generic S3 error\\n ↳ performing GET http://c1:9/b in 5 s\\n  ↳ refused"))
    'Generic S3 error at http://c1:9: refused'
    """
    if CAUSE in str(error):
        return said_by_object_store(str(error))
    line = str(error).partition("\n")[0]
    before, brace, _ = line.partition(" { ")
    told = before.rpartition(":")[0] or before if brace else line
    return told if len(told) <= SAID_CHARACTERS_MAX else told[:SAID_CHARACTERS_MAX] + "…"


_FULL: Final = ("No space left", "File too large", "Disk quota exceeded")
_READ_ONLY: Final = ("Permission denied", "Read-only file system", "Operation not permitted")


def store_error(place: Place, error: BaseException, doing: str) -> StoreError:
    """The error to raise for what the file system or deltalake said."""
    text = str(error)
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or any(w in text for w in _FULL):
        slug, why = "store-full", "the disk is full"
    elif number in (errno.EACCES, errno.EROFS, errno.EPERM) or any(
        w in text for w in _READ_ONLY
    ):
        slug, why = "store-read-only", "it may not be written"
    else:
        slug, why = "store-failed", said(error)
    if CAUSE in text:
        why += f"; {remedy(place.url, text)}"
    return StoreError(f"cannot {doing} {place.url}: {why}; nothing was acknowledged", slug=slug)
