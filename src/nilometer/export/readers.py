"""Calls the service's own functions (the `read=` of gauges) where nobody has to wait for them.

They may wait for a lock that the thread which flushes is holding, or for ever. So they run in
a thread of their own: what is slow there is left to it, and the rest goes on in another. What
came too late counts the next time; who came not even then has no value, and is named once.
"""

from __future__ import annotations

import logging
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from nilometer.clock import Clock
from nilometer.export.bell import Bell
from nilometer.export.threads import (
    forks_later,
    join_threads,
    start_thread,
    wait_until,
    where_threads_run,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

log = logging.getLogger("nilometer")

READ_S: Final = 0.25
"""How long the others wait for one function: a length takes 50 ns, 1,000 system calls 1 ms.
Then they go on beside it. It is a matter of the machine too: each system call beside 40 busy
threads waits for 40 turns of 5 ms."""

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
        """Told when there is no value: it has returned neither in time nor since last time."""


class Worker:
    """One thread that calls what it is given until it is left behind."""

    def __init__(self, clock: Clock, came: Callable[[Hashable], None]) -> None:
        self.where = where_threads_run()
        self.has_begun = self.is_left = self.has_ended = False
        self.at: Read | None = None
        self.since_ns = clock.elapsed_ns()
        self.round: tuple[deque[Read], Bell] = (deque(), Bell())  # to do, and rung when done
        self.asked = Bell()
        self._clock = clock
        self._came = came

    def run(self) -> None:
        """The thread: the service's own faults are counted by what it calls."""
        self.has_begun = True
        while not self.is_left:
            if self.asked.wait(REST_S):
                todo, done = self.round
                self._work(todo)
                done.ring()
        self.has_ended = True

    def _work(self, todo: deque[Read]) -> None:
        while todo and not self.is_left:
            with suppress(IndexError):  # another took it just now
                read = todo.popleft()
                self.since_ns = self._clock.elapsed_ns()
                self.at = read
                with suppress(BaseException):  # not even KeyboardInterrupt is meant for us here
                    read()
                self._came(read.key)
                self.at = None

    def begin(self, todo: deque[Read], done: Bell) -> None:
        """Have it call these, which others may take from too."""
        if self.at is None:
            self.since_ns = self._clock.elapsed_ns()
        self.round = todo, done
        self.asked.ring()

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
        self._left: list[Worker] = []  # behind, in something slow
        self._todo: deque[Read] = deque()
        self._came: deque[Hashable] = deque()  # keys of what returned, until they are looked at

    def begin(self) -> None:
        """Start the thread if there is none: at the end of a process it may be too late."""
        worker = self._worker
        if worker is not None and worker.where == where_threads_run():
            return
        if worker is not None:
            self._leave_behind(worker)
        if sum(not one.has_ended for one in self._left) >= HANGING_MAX:
            return
        worker = Worker(self._clock, self._came.append)
        with suppress(RuntimeError):  # no thread to be had: what is not read is counted
            self._spawn(worker.run, "nilometer-reads")
            self._worker = worker

    def end(self) -> None:
        """Let the thread end."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.leave()

    def pause(self, timeout_s: float) -> None:
        """Let the thread end, and wait so long for that; `begin` makes another."""
        worker = self._worker
        if worker is None:
            return
        self._leave_behind(worker)
        elapsed_ns = self._clock.elapsed_ns
        wait_until(lambda: worker.has_ended, elapsed_ns() + int(timeout_s * 1e9), elapsed_ns)

    def ask(self, reads: Iterable[Read], within_s: float) -> None:
        """Call each that is not at work already; those without a value are told so."""
        asked = list(reads)
        for one in [one for one in self._left if one.has_ended]:
            self._left.remove(one)
        unreached = {read.key for read in self._todo.copy()}
        self._todo.clear()
        asked.sort(key=lambda read: read.key not in unreached)  # these first now
        came = self._came_meanwhile()  # late: their values are those of now
        busy = self._at_work()
        self._todo = deque(read for read in asked if read.key not in busy)
        done = Bell()
        came |= self._call(self._todo, done, self._clock.elapsed_ns() + int(within_s * 1e9))
        busy = self._at_work()
        came |= self._came_meanwhile()
        for read in asked:
            if read.key not in came:
                read.missed()
                if read.key in busy:
                    self._say_that_it_hangs(read, busy[read.key])
        if not forks_later():
            self._go_on(done)
            return
        self.pause(within_s)
        join_threads(within_s)

    def _go_on(self, done: Bell) -> None:
        """Have the rest called while nobody waits; what that brings counts the next time."""
        if self._worker is not None and self._worker.at is not None:
            self._leave_behind(self._worker)
            self.begin()
            if self._worker is not None:
                self._worker.begin(self._todo, done)

    def _came_meanwhile(self) -> set[Hashable]:
        """What returned since this was called last."""
        came: set[Hashable] = set()
        while self._came:
            came.add(self._came.popleft())
        return came

    def _at_work(self) -> dict[Hashable, Worker]:
        """What has not returned yet, and who is in it."""
        workers = self._left if self._worker is None else [*self._left, self._worker]
        return {read.key: one for one in workers if (read := one.at) is not None}

    def _call(self, todo: deque[Read], done: Bell, deadline_ns: int) -> set[Hashable]:
        """Have them called until all returned or time is up; which returned."""
        missing = {read.key for read in todo}
        came: set[Hashable] = set()
        worker, tries = None, 0
        while not missing <= came and self._clock.elapsed_ns() < deadline_ns:
            if todo and worker is None and tries < TRIES_MAX:
                self.begin()
                worker = self._worker
                if worker is not None:
                    worker.begin(todo, done)
            if worker is None and not any(one.round[1] is done for one in self._left):
                break  # nobody would ever ring
            done.wait(self._patience_s(worker, todo, deadline_ns))
            if worker is not None and self._is_late(worker, todo):
                tries += not worker.has_begun
                self._leave_behind(worker)
                worker = None
            came |= self._came_meanwhile()
        return came

    def _is_late(self, worker: Worker, todo: deque[Read]) -> bool:
        """Whether others wait for it too long, or it never began."""
        took_ns = self._clock.elapsed_ns() - worker.since_ns
        is_busy = not worker.has_begun or (bool(todo) and worker.at is not None)
        return is_busy and took_ns >= READ_S * 1e9

    def _patience_s(self, worker: Worker | None, todo: deque[Read], deadline_ns: int) -> float:
        """How long before it is looked at again: when what it is at has had its time."""
        until_ns = deadline_ns
        if worker is not None and (todo or not worker.has_begun):
            until_ns = min(until_ns, worker.since_ns + int(READ_S * 1e9))
        return max(0.001, (until_ns - self._clock.elapsed_ns()) / 1e9)

    def _leave_behind(self, worker: Worker) -> None:
        self._worker = None
        worker.leave()
        if worker.has_begun:
            self._left.append(worker)

    def _say_that_it_hangs(self, read: Read, worker: Worker) -> None:
        took_s = (self._clock.elapsed_ns() - worker.since_ns) / 1e9
        if took_s >= READ_S and read.name not in self._said:
            self._said.add(read.name)
            log.warning(
                "gauge %r: its read= has not returned for %.2f s; it has no value until it "
                "does, the others go on; said once [gauge-hangs]",
                read.name,
                took_s,
            )
