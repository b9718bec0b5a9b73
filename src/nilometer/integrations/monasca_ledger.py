"""What outlives a processor of the Monasca persister: how far it came, and if it said goodbye.

A small piece of memory that all processors of one group and topic share; in a file, it also
outlives the service, so that what Kafka delivers again after ``kill -9`` is known again. Who
has the file has it alone: its lock is held for as long as any process of the service lives.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from nilometer.clock import Clock

if TYPE_CHECKING:
    from typing import IO

PROCESSORS_MAX: Final = 512  # of one topic on one machine; each has a core of its own, nearly
PARTITIONS_MAX: Final = 8192  # of one topic; Kafka's own advice is 4,000 for a whole broker
_MAGIC: Final = b"nilo-ledger-1\n\0\0"
_LIFE: Final = struct.Struct("<q")  # the process of a processor that has not said goodbye
_MARK: Final = struct.Struct("<qq")  # the next offset, and when that was, in ms since 1970
_EVERY: Final = range(PROCESSORS_MAX)
_MARKS_AT: Final = len(_MAGIC) + PROCESSORS_MAX * _LIFE.size
BYTES: Final = _MARKS_AT + PARTITIONS_MAX * _MARK.size  # 132 KiB


class Mark(NamedTuple):
    """All below this offset of a partition was completed at this time; 0 if nothing was."""

    offset: int
    at_ms: int


class Ledger:
    """What the processors of one group and topic know of each other and of those before.

    `left` are those of before that ended without a goodbye. OSError if the file cannot be
    had: BlockingIOError where another service has it.
    """

    def __init__(self, memory: mmap.mmap, file: IO[bytes] | None = None) -> None:
        self._memory = memory
        self._file = file  # its lock is held with it
        self._clock = Clock()
        self.left = self.alive()

    @classmethod
    def in_memory(cls) -> Self:
        """One that the processes forked from here share, and nobody after them."""
        return cls(mmap.mmap(-1, BYTES))

    @classmethod
    def in_file(cls, folder: str, group: str, topic: str) -> Self:
        """The one that is kept in a folder, which is made if there is none."""
        Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"monasca-persister.{_as_file(group)}.{_as_file(topic)}.ledger"
        number = os.open(Path(folder) / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        file = os.fdopen(number, "r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(number).st_size != BYTES or file.read(len(_MAGIC)) != _MAGIC:
                file.truncate(0)
                file.truncate(BYTES)
                os.pwrite(number, _MAGIC, 0)
            made = cls(mmap.mmap(number, BYTES), file)
        except OSError:
            file.close()
            raise
        return made

    def completed(self, partition: int) -> Mark:
        """How far a partition was completed, by whomever."""
        if not 0 <= partition < PARTITIONS_MAX:
            return Mark(0, 0)
        return Mark(*_MARK.unpack_from(self._memory, _MARKS_AT + partition * _MARK.size))

    def complete(self, partition: int, offset: int) -> None:
        """All below that offset of a partition is completed now."""
        if 0 <= partition < PARTITIONS_MAX and offset > self.completed(partition).offset:
            self._mark(partition, Mark(offset, self._clock.wall_ns() // 1_000_000))

    def forget(self, partition: int) -> None:
        """Nothing of it is completed: it was made anew."""
        if 0 <= partition < PARTITIONS_MAX:
            self._mark(partition, Mark(0, 0))

    def _mark(self, partition: int, mark: Mark) -> None:
        _MARK.pack_into(self._memory, _MARKS_AT + partition * _MARK.size, *mark)

    def begin(self, processor: int) -> None:
        """This process is that processor, and owes a goodbye."""
        if 0 <= processor < PROCESSORS_MAX:
            _LIFE.pack_into(self._memory, self._life(processor), os.getpid())

    def goodbye(self, processor: int) -> None:
        """All that this processor measured was sent."""
        if 0 <= processor < PROCESSORS_MAX:
            _LIFE.pack_into(self._memory, self._life(processor), 0)

    def alive(self) -> dict[int, int]:
        """The processes that owe a goodbye, by processor."""
        lives = ((n, *_LIFE.unpack_from(self._memory, self._life(n))) for n in _EVERY)
        return {processor: pid for processor, pid in lives if pid}

    @staticmethod
    def _life(processor: int) -> int:
        return len(_MAGIC) + processor * _LIFE.size


def _as_file(name: str) -> str:
    """A name as part of a file's: what is no letter, digit, ``-`` or ``_`` as its number."""
    return "".join(c if c.isalnum() or c in "-_" else f"%{ord(c):x}" for c in name)[:80]
