"""Where a store lies: a directory here, or a URL that Delta's object stores understand."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple, cast

import pyarrow.fs as pafs
from deltalake.exceptions import TableNotFoundError
from deltalake.fs import DeltaStorageHandler

from nilometer.clock import wall_ns
from nilometer.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

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
            return cls(text.rstrip("/"), None, dict(options or {}))
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

    def create(self, path: str) -> Any:
        """A new file in this place to write bytes to."""
        if self.path is None:
            return self.files().open_output_stream(path)
        target = self.path / path
        target.parent.mkdir(exist_ok=True)
        return cast("IO[bytes]", target.open("xb"))

    def finish(self, path: str, *, durable: bool) -> tuple[int, int]:
        """Sync a file that is written; its size in bytes and its time in milliseconds."""
        if self.path is None:
            return int(self.files().get_file_info(path).size), wall_ns() // NS_PER_MS
        with (self.path / path).open("rb") as file:
            if durable:
                os.fsync(file.fileno())
            told = os.fstat(file.fileno())
        return told.st_size, told.st_mtime_ns // NS_PER_MS

    def first_of(self, folder: str, ending: str) -> str:
        """A file in a folder whose names begin and end so; empty if there is none here."""
        if self.path is not None:
            here = next(self.path.glob(f"{folder}*/*{ending}"), None)
            return "" if here is None else here.relative_to(self.path).as_posix()
        listing = pafs.FileSelector("", allow_not_found=True, recursive=True)
        try:
            found = self.files().get_file_info(listing)
        except TableNotFoundError:  # not even a directory
            return ""
        for told in found:
            if told.path.lstrip("/").startswith(folder) and told.path.endswith(ending):
                return str(told.path).lstrip("/")
        return ""

    def remove(self, path: str) -> None:
        """Delete a file of this place if it is there."""
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
    if _CAUSE in str(error):
        return _said_by_object_store(str(error))
    line = str(error).partition("\n")[0]
    before, brace, _ = line.partition(" { ")
    told = before.rpartition(":")[0] or before if brace else line
    return told if len(told) <= SAID_CHARACTERS_MAX else told[:SAID_CHARACTERS_MAX] + "…"


_CAUSE: Final = "↳"  # object_store begins each cause's line with it, in red


def _said_by_object_store(text: str) -> str:
    first, *causes = (
        cause.strip() for cause in re.sub(r"\x1b\[[0-9;]*m", "", text).split(_CAUSE)
    )
    asked = re.search(r"[a-z]+://[^/?\s]+", text)
    code = re.search(r"<Code>(\w+)</Code>", text)
    told = [cause for cause in causes if not cause.startswith("<")]  # an answer's body
    why = told[-1].partition("\n")[0] if told else "no cause is told"
    where = f" at {asked[0]}" if asked else ""
    line = f"{first.removeprefix('Kernel error -> ')}{where}: {why}"
    return f"{line}, {code[1]}" if code else line


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
    if _CAUSE in text:
        why += "; look whether it is up, and at the variables that say where it is and who asks"
    return StoreError(f"cannot {doing} {place.url}: {why}; nothing was acknowledged", slug=slug)
