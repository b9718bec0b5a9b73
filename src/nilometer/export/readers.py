"""Calls the service's own functions (the `read=` of gauges) where nobody has to wait for them.

They may wait for a lock that the thread which flushes is holding, or for ever. So they run in
a thread of their own: what hangs there is named once, and left out until it returns.
"""

from __future__ import annotations

import logging
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from nilometer.clock import Clock
from nilometer.export.bell import Bell
from nilometer.export.threads import start_thread, where_threads_run

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

log = logging.getLogger("nilometer")

READ_S: Final = 0.25
"""What one function may take: a length takes 50 ns, a thousand system calls 1 ms."""

READS_S: Final = 1.0
"""What all of them may take at one interval of 10 s; and half of the 2 s of a process's end."""

HANGING_MAX: Final = 8
"""Each function that hangs keeps a thread (a stack of some 20 KiB). So many hang because they
wait for the same thing: then no other is called before one returns."""

REST_S: Final = 3600.0
"""How long a thread waits for work before it waits again: any time will do."""

TRIES_MAX: Final = 2
"""A green thread started in a fork may belong to a hub that is no more; a second does not."""


class Read(Protocol):
    """One function to be called."""

    @property
    def key(self) -> Hashable:
        """What tells it from others, and is the same the next time."""

    @property
    def name(self) -> str:
        """What people know it by."""

    def __call__(self) -> None:
        """Call it."""

    def missed(self) -> None:
        """Told instead, or afterwards: it has not returned in time."""


class Worker:
    """One thread that calls what it is given until it is left behind."""

    def __init__(self, clock: Clock, returned: Callable[[Worker], None]) -> None:
        self.where = where_threads_run()
        self.has_begun = self.is_left = False
        self.at: Read | None = None
        self.since_ns = 0
        self.round: tuple[deque[Read], Bell] = (
            deque(),
            Bell(),
        )  # to do, and rung when done
        self.asked = Bell()
        self._clock = clock
        self._returned = returned

    def run(self) -> None:
        """The thread: the service's own faults are counted by what it calls."""
        self.has_begun = True
        while not self.is_left:
            if self.asked.wait(REST_S):
                todo, done = self.round
                self._work(todo)
                done.ring()
        self._returned(self)

    def _work(self, todo: deque[Read]) -> None:
        while todo and not self.is_left:
            with suppress(IndexError):  # taken away just now: time is up
                read = todo.popleft()
                self.since_ns = self._clock.elapsed_ns()
                self.at = read
                with suppress(BaseException):  # not even KeyboardInterrupt is meant for us here
                    read()
                self.at = None

    def leave(self) -> None:
        """Let it end when it returns from where it is."""
        self.is_left = True
        self.asked.ring()


class Readers:
    """Calls functions, and waits for them within bounds. One thread may `ask` at a time."""

    def __init__(
        self,
        *,
        spawn: Callable[[Callable[[], None], str], None] = start_thread,
        clock: Clock = Clock(),  # noqa: B008 - a tuple of functions
    ) -> None:
        self._spawn = spawn
        self._clock = clock
        self._said: set[str] = set()
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Forget the parent's threads; what hung there hangs here no more."""
        self._worker: Worker | None = None
        self._hanging: dict[Worker, Read] = {}

    def begin(self) -> None:
        """Start the thread if there is none: at the end of a process it may be too late."""
        worker = self._worker
        if worker is not None and worker.where == where_threads_run():
            return
        if worker is not None:
            worker.leave()
        self._worker = None
        if len(self._hanging) >= HANGING_MAX:
            return
        worker = Worker(self._clock, self._returned)
        with suppress(RuntimeError):  # no thread to be had: what is not read is counted
            self._spawn(worker.run, "nilometer-reads")
            self._worker = worker

    def end(self) -> None:
        """Let the thread end."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.leave()

    def _returned(self, worker: Worker) -> None:
        self._hanging.pop(worker, None)

    def ask(self, reads: Iterable[Read], within_s: float) -> None:
        """Call each that does not hang already; those not called in time are told so."""
        todo: deque[Read] = deque()
        hanging = {read.key for read in list(self._hanging.values())}
        for read in reads:
            if read.key in hanging:
                read.missed()
            else:
                todo.append(read)
        for worker, read in list(self._hanging.items()):
            self._say_if_it_hangs(worker, read)
        deadline_ns = self._clock.elapsed_ns() + int(within_s * 1e9)
        tries = 0
        while todo and tries < TRIES_MAX and self._clock.elapsed_ns() < deadline_ns:
            self.begin()
            if self._worker is None:
                break
            tries += not self._call(self._worker, todo, deadline_ns)
        while todo:
            with suppress(IndexError):
                todo.popleft().missed()

    def _call(self, worker: Worker, todo: deque[Read], deadline_ns: int) -> bool:
        """Have one thread call what it can; whether it ever began."""
        done = Bell()
        worker.round = (todo, done)
        worker.asked.ring()
        while not done.wait(self._patience_s(worker, deadline_ns)):
            read, now_ns = worker.at, self._clock.elapsed_ns()
            if worker.has_begun and now_ns < deadline_ns:
                if read is None or now_ns - worker.since_ns < READ_S * 1e9:
                    continue
            elif worker.has_begun and read is None:
                break
            self._leave_behind(worker, read)
            break
        return worker.has_begun

    def _patience_s(self, worker: Worker, deadline_ns: int) -> float:
        """How long before it is looked at again: when what it is at has had its time."""
        now_ns = self._clock.elapsed_ns()
        since_ns = worker.since_ns if worker.at is not None else now_ns
        return max(0.001, (min(since_ns + int(READ_S * 1e9), deadline_ns) - now_ns) / 1e9)

    def _leave_behind(self, worker: Worker, read: Read | None) -> None:
        self._worker = None
        if read is not None:
            self._hanging[worker] = read
        worker.leave()
        if read is None:
            return
        if worker.at is not read:  # it returned this very moment
            self._hanging.pop(worker, None)
            return
        read.missed()
        self._say_if_it_hangs(worker, read)

    def _say_if_it_hangs(self, worker: Worker, read: Read) -> None:
        took_s = (self._clock.elapsed_ns() - worker.since_ns) / 1e9
        if took_s >= READ_S and read.name not in self._said:
            self._said.add(read.name)
            log.warning(
                "gauge %r: its read= has not returned for %.2f s; it has no value until it "
                "does, the others go on; said once [gauge-hangs]",
                read.name,
                took_s,
            )
