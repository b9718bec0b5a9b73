"""Files of an object store, fetched whole to this machine while questions read them.

Files of a table never change, so a copy is as good as the file, and DuckDB reads every store in
one way. It could read an object store through Arrow, whose threads then ask Python for the
bytes: one that waits for the interpreter with a lock of Arrow's, beside one that waits for the
lock with the interpreter's, stops the process for ever (docs/adr/0020-copies-of-objects.md).
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import gettempdir, mkdtemp
from threading import Lock
from typing import TYPE_CHECKING, Final, Self

from nilometer.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nilometer.store.places import Place
    from nilometer.store.stored import DataFile

COPIES_BYTES_MAX: Final = 4 << 30
"""What copies may take of this machine's disk: as much as a question may spill. A day of a
million spans and ten million readings is 0.2 GB."""

AT_ONCE: Final = 8
"""Files fetched at once: an object store takes some 50 ms to answer, whatever it is asked."""

PREFIX: Final = "nilometer-copies-"


class CutError(OSError):
    """A file that is not as long as what was committed."""


class Copy:
    """One file's copy: who reads it just now, and whether it is there."""

    __slots__ = ("path", "size", "readers", "lock", "there")

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        self.readers = 0
        self.lock = Lock()
        self.there = False


class _Folder:
    """A folder that nobody else removes while this process holds it open."""

    __slots__ = ("path", "_held")

    def __init__(self, path: Path) -> None:
        """Raises BlockingIOError where another process holds it."""
        self.path = path
        self._held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(self._held)
            raise

    @classmethod
    def new(cls) -> Self:
        """One in the machine's folder for temporary files; it has its name once it is held."""
        unnamed = cls(Path(mkdtemp(prefix=f".{PREFIX}")))
        unnamed.path = unnamed.path.rename(unnamed.path.with_name(unnamed.path.name[1:]))
        return unnamed

    def remove(self) -> None:
        """Give its room back."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._held)


def _remove_left_behind(temporary: Path) -> None:
    """Remove the copies of processes that were killed, of which nobody holds the folder."""
    for path in temporary.glob(f"{PREFIX}*"):
        with suppress(OSError):  # another's, or gone meanwhile
            _Folder(path).remove()


class Copies:
    """Copies of files, those unused longest given up first; any thread may ask.

    Files of this machine are read where they are.
    """

    def __init__(self, bytes_max: int = COPIES_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._lock = Lock()
        self._folder: _Folder | None = None
        self._made = 0
        self._copies: OrderedDict[tuple[str, str], Copy] = OrderedDict()

    def close(self) -> None:
        """Give the disk's room back."""
        with self._lock:
            folder, self._folder = self._folder, None
            self._copies.clear()
        if folder is not None:
            folder.remove()

    @contextmanager
    def of(self, place: Place, files: Sequence[DataFile]) -> Iterator[list[Path]]:
        """These files of the table at that place, to read while the ``with`` lasts.

        Raises FileNotFoundError or CutError for one that is broken, another OSError for one
        that cannot be fetched just now, and StoreError where there is no room for them here.
        """
        if place.path is not None:
            yield [place.path / file.path for file in files]
            return
        copies = self._hold(place, files)
        try:
            self._make_room()
            with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="nilometer-fetch") as pool:
                for _ in pool.map(_fetch, copies, [place] * len(files), files):
                    pass
            yield [copy.path for copy in copies]
        finally:
            self._release(copies)

    def _hold(self, place: Place, files: Sequence[DataFile]) -> list[Copy]:
        held = []
        with self._lock:
            if self._folder is None:
                _remove_left_behind(Path(gettempdir()))
                self._folder = _Folder.new()
            for file in files:
                key = place.url, file.path
                copy = self._copies.get(key)
                if copy is None:
                    self._made += 1
                    path = self._folder.path / f"{self._made}.parquet"
                    copy = self._copies[key] = Copy(path, file.size)
                self._copies.move_to_end(key)
                copy.readers += 1
                held.append(copy)
        return held

    def _release(self, copies: Sequence[Copy]) -> None:
        with self._lock:
            for copy in copies:
                copy.readers -= 1

    def _make_room(self) -> None:
        with self._lock:
            taken = sum(copy.size for copy in self._copies.values())
            for key, copy in list(self._copies.items()):
                if taken <= self._bytes_max:
                    return
                if not copy.readers:
                    copy.path.unlink(missing_ok=True)
                    del self._copies[key]
                    taken -= copy.size
        if taken > self._bytes_max:
            raise StoreError(
                f"the question needs {taken >> 20} MiB of files at once, more than the "
                f"{self._bytes_max >> 20} MiB that copies may take; ask for less time",
                slug="store-too-much",
            )


def _fetch(copy: Copy, place: Place, file: DataFile) -> None:
    with copy.lock:
        if copy.there:
            return
        with _written(copy.path) as write:
            for block in place.blocks(file.path):
                write(block)
        size = copy.path.stat().st_size
        if size != file.size:
            raise CutError(f"{file.path} has {size} bytes, and {file.size} were committed")
        copy.there = True


@contextmanager
def _written(path: Path) -> Iterator[Callable[[memoryview], None]]:
    """A new file to write to; what fails there is this machine's fault, and not the store's."""

    def write(left: memoryview) -> None:
        try:
            while left:
                left = left[target.write(left) :]
        except OSError as error:
            message = f"no copy can be written to {path.parent}: {error.strerror or error}"
            raise StoreError(message, slug="store-too-much") from error

    with path.open("wb", buffering=0) as target:
        yield write
