"""``file:///path``: batches as JSON lines, appended; several processes may share the file.

A batch is one line and one ``write()`` to a file opened with O_APPEND, so lines of different
processes never tear each other. ``?rotate_bytes=100M&keep=5`` renames the full file to
``path.1``, that one to ``path.2``, and so on.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from time import sleep
from typing import TYPE_CHECKING, Final

from nilometer.wire import jsonlines

if TYPE_CHECKING:
    from nilometer.export.address import Address
    from nilometer.model import Batch

MODE: Final = 0o640  # attributes may be private: nothing for every user of the machine
ROTATE_BYTES_MIN: Final = 1 << 16  # smaller files would be renamed at every batch
KEEP: Final = 5
KEEP_MAX: Final = 1000
OPTIONS: Final = ("rotate_bytes", "keep")
# A line takes 20 us: in 50 ms a thousand others have had their turn. Who has it for longer
# was stopped, and nobody waits for him: the line is written without a look at the last one.
LOCK_EVERY_S: Final = 0.001
LOCK_TRIES: Final = 50


def open_file(address: Address) -> File:
    """The exporter of a ``file`` URL; ConfigError if something is wrong with it."""
    address.accepting(OPTIONS)
    if address.host not in ("", "localhost"):
        address.refuse(
            f"files are on this machine; three slashes, as in file:///{address.host}{address.path}"
        )
    path = Path(address.path)
    if not path.name or path.is_dir():
        address.refuse("a file is missing, as in file:///var/log/nilometer.jsonl")
    if not path.parent.is_dir():
        address.refuse(f"there is no directory {path.parent}")
    rotate_bytes = address.size("rotate_bytes", 0, least=0)
    if address.all("rotate_bytes") and rotate_bytes < ROTATE_BYTES_MIN:
        address.refuse(f"rotate_bytes={rotate_bytes} is too small; at least {ROTATE_BYTES_MIN}")
    if address.all("keep") and not rotate_bytes:
        address.refuse("keep is for files that are rotated; add rotate_bytes=100M")
    keep = int(address.number("keep", KEEP, least=1, most=KEEP_MAX))
    return File(path, rotate_bytes=rotate_bytes, keep=keep)


def _lock(descriptor: int) -> bool:
    """Have the file for one line; False if another has it for longer than a line takes."""
    for _ in range(LOCK_TRIES):
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        sleep(LOCK_EVERY_S)
    return False


def _ends_torn(descriptor: int) -> bool:
    """Whether the last line was cut short, by a full disk or with its process."""
    found = os.fstat(descriptor)
    if not S_ISREG(found.st_mode) or not found.st_size:
        return False
    return os.pread(descriptor, 1, found.st_size - 1) != b"\n"


class File:
    """Appends batches to one file; see the module. `rotate_bytes` 0 never rotates."""

    def __init__(self, path: Path, *, rotate_bytes: int = 0, keep: int = KEEP) -> None:
        self.waits = path.exists() and not path.is_file()  # a pipe waits for who reads it
        self._path = path
        self._rotate_bytes = rotate_bytes
        self._keep = keep
        self._descriptor: int | None = None

    def __call__(self, batch: Batch, /) -> None:
        line = jsonlines.encode(batch)
        descriptor = self._opened()
        if self._rotate_bytes:
            descriptor = self._make_room(descriptor, len(line))
        is_mine = _lock(descriptor)
        try:
            if is_mine and _ends_torn(descriptor):
                line = b"\n" + line  # the rest of a torn line is no part of this one
            written = os.write(descriptor, line)
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        if written < len(line):
            raise OSError(f"{self._path}: {written} of {len(line)} bytes could be written")

    def _opened(self) -> int:
        """The file, opened anew when somebody moved it away."""
        if self._descriptor is not None and self._is_moved(self._descriptor):
            self.close()
        if self._descriptor is None:
            flags = os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
            flags |= os.O_WRONLY if self.waits else os.O_RDWR  # to see how it ends
            self._descriptor = os.open(self._path, flags, MODE)
        return self._descriptor

    def _is_moved(self, descriptor: int) -> bool:
        try:
            return not os.path.samestat(os.fstat(descriptor), os.stat(self._path))  # noqa: PTH116
        except FileNotFoundError:
            return True

    def _make_room(self, descriptor: int, size: int) -> int:
        """Rotate if the line would overfill the file; the file to write to."""
        filled = os.fstat(descriptor).st_size
        if not filled or filled + size <= self._rotate_bytes:
            return descriptor
        # Of several processes one renames; the others find the file moved and open the new one.
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return descriptor  # another one is at it: this line still goes into the full file
        try:
            if not self._is_moved(descriptor):
                self._rename()
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        return self._opened()

    def _rename(self) -> None:
        for number in range(self._keep - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1))
        self._path.replace(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def close(self) -> None:
        """Close the file; the kernel has all that was written."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
