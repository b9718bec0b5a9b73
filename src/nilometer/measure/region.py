"""The region of the pure twin, for values that lie in a file: what arena.h does, in Python."""

from __future__ import annotations

import mmap
import os
from _thread import allocate_lock
from typing import TYPE_CHECKING, Any, Final

from nilometer.measure.arena_layout import (
    LEAST_OF_NONE,
    OCTAVE,
    REGION_AT,
    REGION_BYTES,
    TIMER,
    distribution,
)
from nilometer.measure.folding import BUCKET_MAX, Taken
from nilometer.model.distribution import bucket_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nilometer.measure.pure import Handle
    from nilometer.measure.pure_arena import Arena

    Placed = Mapping[type[Handle], tuple[type[Handle], int, Callable[[Any], None]]]
    """What a handle becomes, the size of its block, and how its values get there."""

FIRST_BYTES: Final = 16 << 10
WORD: Final = 2**64 - 1
OCTAVES_AT: Final = 12  # in a timer's block, in halves of words


class Region:
    """The blocks of one arena, mapped once for the most that they may become."""

    def __init__(self, arena: Arena, placed: Placed) -> None:
        self._arena = arena
        self._placed = placed
        self._pid = os.getpid()
        self._used = TIMER.size  # the first block is nobody's
        self._bytes = 0
        self._free: dict[int, list[int]] = {}
        self.lock = allocate_lock()
        self._show(memory())

    def _show(self, mapped: mmap.mmap) -> None:
        self.octets = memoryview(mapped)
        self.words = self.octets.cast("Q")
        self.integers = self.octets.cast("q")
        self.reals = self.octets.cast("d")
        self.offsets = self.octets.cast("I")

    def move_to(self, file: int) -> None:
        """Go on in this file. Raises OSError."""
        used = max(self._used, FIRST_BYTES)
        os.posix_fallocate(file, REGION_AT, used)
        self._copied_to(mmap.mmap(file, REGION_BYTES, offset=REGION_AT))
        self._bytes = used
        self._known = os.fstat(file)

    def is_its(self, file: int) -> bool:
        """Whether a descriptor is still that of the file: a daemon may have closed it."""
        try:
            return os.path.samestat(os.fstat(file), self._known)
        except OSError:
            return False

    def leave(self) -> None:
        """Go on in memory: with the same values, or in a forked child without any."""
        if os.getpid() == self._pid:
            self._copied_to(memory())
        else:  # what the parent wrote meanwhile fits no account of ours
            self._pid = os.getpid()
            self._show(memory())
            self.lock = allocate_lock()
        self._bytes = REGION_BYTES

    def _copied_to(self, mapped: mmap.mmap) -> None:
        mapped[: self._used] = bytes(self.octets[: self._used])
        self._show(mapped)

    def allocate(self, size: int) -> int:
        """The offset of a zeroed block, or 0, counted, if there is no room."""
        try:
            at = self._free[size].pop()
        except (KeyError, IndexError):
            at = self._used
            self._used = at + size
            if at + size > self._bytes and not self._has_grown(at + size):
                self._arena.refused += 1
                return 0
        self.octets[at : at + size] = bytes(size)
        return at

    def release(self, at: int, size: int) -> None:
        """Take a block back, to be given to who asks for one of this size."""
        self._free.setdefault(size, []).append(at)

    def release_timer(self, at: int) -> None:
        """Take a timer's block back, and those of its counts."""
        for octave in self.octaves(at):
            self.release(octave, OCTAVE.size)
        self.release(at, TIMER.size)

    def _has_grown(self, needed: int) -> bool:
        size = min(max(2 * self._bytes, needed), REGION_BYTES)
        if size < needed:
            return False
        try:
            file = self._arena.file
            if file >= 0 and not self.is_its(file):
                return False
            if file >= 0:
                os.posix_fallocate(file, REGION_AT, size)
        except OSError:  # the disk is full
            return False
        self._bytes = size
        return True

    def place(self, handle: Handle) -> int:
        """Where the values of a handle lie; they are moved here if they are not here yet."""
        if type(handle) not in self._placed:
            return handle._at
        kind, size, moved = self._placed[type(handle)]
        at = self.allocate(size)
        if at:
            handle._at = at
            if size == TIMER.size:
                self.words[at // 8 + 2] = LEAST_OF_NONE
            handle.__class__ = kind
            moved(handle)
        return at

    def record(self, at: int, value: int) -> None:
        """Enter one time; under the lock."""
        words, first = self.words, at // 8
        value = max(value, 0)  # only a test's clock runs backwards
        words[first] += 1
        words[first + 2] = min(words[first + 2], value)
        words[first + 3] = max(words[first + 3], value)
        low = words[first + 4] + value
        words[first + 4] = low & WORD
        words[first + 5] += low >> 64
        if value == 0:
            words[first + 1] += 1
        else:
            self.count(at, min(bucket_of(value), BUCKET_MAX), 1)

    def count(self, at: int, bucket: int, times: int) -> None:
        """Enter so many in a bucket; under the lock."""
        octave, place = divmod(bucket + 32, 32)
        half = at // 4 + OCTAVES_AT + octave
        block = self.offsets[half]
        if not block:
            block = self.allocate(OCTAVE.size)
            if not block:
                return  # counted as refused; samples, sum and extremes stay exact
            self.offsets[half] = block
        self.words[block // 8 + place] += times

    def taken(self, at: int) -> Taken | None:
        """What a timer's block holds, which is cleared; under the lock."""
        octets = self.octets
        found = distribution(
            bytes(octets[at : at + TIMER.size]),
            lambda octave: bytes(octets[octave : octave + OCTAVE.size]),
        )
        if found is not None:
            self.clear(at)
        return None if found is None else Taken(*found[:6])  # type: ignore[arg-type]

    def clear(self, at: int) -> None:
        """Back to no samples; the octaves are kept, they will be needed again."""
        words, first = self.words, at // 8
        words[first] = 0
        for word in (1, 3, 4, 5):
            words[first + word] = 0
        words[first + 2] = LEAST_OF_NONE
        for octave in self.octaves(at):
            self.octets[octave : octave + OCTAVE.size] = bytes(OCTAVE.size)

    def octaves(self, at: int) -> list[int]:
        """The blocks of counts that belong to a timer's block."""
        first = at // 4 + OCTAVES_AT
        return [octave for octave in self.offsets[first : first + 43] if octave]


def memory() -> mmap.mmap:
    """Memory that is only ours, and takes no room until it is used."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    return mmap.mmap(-1, REGION_BYTES, flags=flags)
