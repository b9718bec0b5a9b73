"""The pump: takes what was measured at each interval and hands it to the exporters.

One daemon thread per process drains, and serves the exporters that never wait (statsd, file).
An exporter that may wait for somebody (OTLP, log) has a thread of its own, so that a receiver
which hangs delays nobody else. The service's own threads only ever ring a bell.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from functools import partial
from time import thread_time_ns
from typing import TYPE_CHECKING, Final

from nilometer.clock import Clock
from nilometer.export.backlog import joined
from nilometer.export.bell import Bell
from nilometer.export.readers import READS_S
from nilometer.export.threads import (
    SETTLE_S,
    is_in_hub,
    patched_by,
    start_thread,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from nilometer.export.outlet import Outlet
    from nilometer.model import Batch

    Seen = TypeVar("Seen")

log = logging.getLogger("nilometer")

INTERVAL_S: Final = 10.0
"""statsd's own flush interval: a shorter one would only be averaged away there."""


class Pump:
    """Drains a source at each interval into outlets.

    `drain` is called with True for everything, or with False for what cannot wait (spans, when
    their ring is half full); it must not be slow. Before everything is drained, `read` may ask
    the service's own functions; it is told how many seconds that may take. All methods may be
    called from any thread, and from whatever interrupts one: a signal handler, a finalizer.
    """

    def __init__(
        self,
        drain: Callable[[bool], Batch],
        outlets: Sequence[Outlet],
        *,
        interval_s: float = INTERVAL_S,
        clock: Clock = Clock(),  # noqa: B008 - a tuple of functions
        spawn: Callable[[Callable[[], None], str], None] = start_thread,
        spent: Callable[[int], None] = lambda _: None,
        read: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._drain = drain
        # A list: where eventlet makes locks green it looks into no tuple.
        self.outlets = [*outlets]
        self.interval_s = interval_s
        self._clock = clock
        self._spawn = spawn
        self._read = read
        self._spent = spent  # told the CPU time in ns that each piece of work took
        self._faulted = False
        self._reset()

    def _reset(self) -> None:
        self._ending = False  # nothing more is drained but by `stop` itself
        self._stopping = False
        self._draining = threading.Lock()
        self._at_work: set[int] = set()  # threads inside of a drain or a delivery of ours
        self._held: Batch | None = None  # readings that `look` drained, for the next interval
        self._forget_threads()

    def _forget_threads(self) -> None:
        """New bells: a thread that waits for an old one ends when it looks again."""
        self._kind = patched_by()
        self.pid = 0  # of the process whose threads run; 0 before there are any
        self._bell = Bell()
        self._bells = {outlet: Bell() for outlet in self.outlets if outlet.waits}
        self._asked: set[str] = set()  # threads that were to start
        self._running: set[str] = set()  # those that did, and have not ended

    @property
    def is_running(self) -> bool:
        """Whether its threads run in this very process."""
        return self.pid == os.getpid() and not self._stopping

    def start(self) -> None:
        """Start the threads; does nothing where they run already."""
        if self.is_running:
            return
        if self._kind != patched_by():  # bells of before are no green ones
            self._forget_threads()
        self.pid = os.getpid()
        self._begin(self._run, "nilometer-pump")
        for outlet, bell in self._bells.items():
            self._begin(partial(self._serve, outlet, bell), f"nilometer-{outlet.name}")

    def pause(self, timeout_s: float) -> None:
        """End the threads until `start`, and wait so long for that."""
        bells, running = [self._bell, *self._bells.values()], self._running
        if not self.is_running:
            return
        self._forget_threads()
        for bell in bells:
            bell.ring()
        elapsed_ns = self._clock.elapsed_ns
        wait_until(lambda: not running, elapsed_ns() + int(timeout_s * 1e9), elapsed_ns)

    def add(self, outlet: Outlet) -> None:
        """One more exporter, from now on; its thread starts if the others run."""
        self.outlets = [*self.outlets, outlet]
        if outlet.waits:
            bell = self._bells[outlet] = Bell()
            if self.is_running:
                self._begin(partial(self._serve, outlet, bell), f"nilometer-{outlet.name}")

    def _begin(self, loop: Callable[[], None], name: str) -> None:
        asked, running = self._asked, self._running

        def run() -> None:
            running.add(name)
            try:
                loop()
            finally:
                running.discard(name)
                asked.discard(name)

        asked.add(name)
        try:
            self._spawn(run, name)
        except RuntimeError as error:  # no more threads to be had, or the interpreter ends
            asked.discard(name)
            self._fault(f"thread {name} cannot be started: {error}")

    def _start_again_if_lost(self) -> None:
        """Start threads anew that did not survive what the service did to itself.

        eventlet's, when a forked child took a hub of its own: they were to start in the fork
        hook, on the hub of that moment. And native ones, when a worker patched itself after
        they began (gunicorn's gevent workers with --preload): green ones take their place.
        """
        if self.is_running and self._kind == patched_by() and not self._asked <= self._running:
            threading.Event().wait(SETTLE_S)  # who does not begin in this turn never will
        if self.is_running and self._kind == patched_by() and self._asked <= self._running:
            return
        for bell in (self._bell, *self._bells.values()):
            bell.ring()
        self._forget_threads()
        self.start()

    def reset_after_fork(self) -> None:
        """Forget the parent's threads and rows; `start` may follow."""
        self._reset()
        for outlet in self.outlets:
            outlet.reset_after_fork()

    def wake(self) -> None:
        """Ask for an early drain of what cannot wait. Never blocks, never raises."""
        self._bell.ring()

    def cycle(self, *, everything: bool = True, within_s: float = math.inf) -> bool:
        """Drain once and hand over; exporters that never wait deliver at once.

        Whether it was drained: not if another thread was draining all that time, nor if this
        one interrupted itself in the middle of that, where its own locks are held.
        """
        me = threading.get_ident()
        if me in self._at_work:
            return False
        self._at_work.add(me)
        began_ns = thread_time_ns()
        try:
            if not self._may_drain(within_s):
                return False
            try:
                self._hand_over(everything, min(READS_S, within_s / 2))
            finally:
                self._draining.release()
            for outlet in self.outlets:
                if outlet.waits:
                    self._bells[outlet].ring()
                else:
                    outlet.deliver()
        finally:
            self._at_work.discard(me)
            self._spent(thread_time_ns() - began_ns)
        return True

    def look(self, see: Callable[[], Seen], within_s: float) -> Seen | None:
        """What `see` returns just after everything was drained; None if that cannot be in time.

        Nothing is drained or looked at beside it. The exporters get the readings with those of
        their next interval, as one: who looks often costs their receivers nothing.
        """
        me = threading.get_ident()
        if me in self._at_work:
            return None
        self._at_work.add(me)
        began_ns = thread_time_ns()
        try:
            if not self._may_drain(within_s):
                return None
            try:
                if not self._ending:  # what was drained now would not be delivered any more
                    self._hold(min(READS_S, within_s / 2))
                return see()
            finally:
                self._draining.release()
        finally:
            self._at_work.discard(me)
            self._spent(thread_time_ns() - began_ns)

    def _hold(self, reads_s: float) -> None:
        """Drain, and keep the readings back; what is no reading goes on its way."""
        batch = self._drained(True, reads_s)
        if batch is None or not self.outlets:
            return
        readings = batch._replace(spans=(), events=())
        self._held = readings if self._held is None else joined(self._held, readings)
        for outlet in self.outlets:
            outlet.offer(batch._replace(readings=()))

    def _may_drain(self, within_s: float) -> bool:
        """Take the lock of draining; whether it was to be had in time.

        It is asked for again and again, never waited for: it may be a native one, from before
        the service patched itself, and held by a greenlet that waits for a gauge. Who waits
        for such a lock stops the hub, and with it the greenlet that would let go of it.
        """
        elapsed_ns = self._clock.elapsed_ns
        acquire = partial(self._draining.acquire, blocking=False)
        return wait_until(acquire, elapsed_ns() + within_s * 1e9, elapsed_ns)

    def _hand_over(self, everything: bool, reads_s: float) -> None:
        """Under the lock: two drains at once would hand intervals over in the wrong order."""
        batch = self._drained(everything, reads_s)
        if batch is None:
            return
        if everything and self._held is not None:
            batch, self._held = joined(self._held, batch), None
        for outlet in self.outlets:
            outlet.offer(batch)

    def _drained(self, everything: bool, reads_s: float) -> Batch | None:
        try:
            if everything:
                self._read(reads_s)
            return self._drain(everything)
        except Exception as error:  # noqa: BLE001 - a fault of ours stays ours
            self._fault(f"draining failed: {type(error).__name__}: {error}")
            return None

    def _run(self) -> None:
        """The pump's thread."""
        interval_ns = int(self.interval_s * 1e9)
        bell, next_ns = self._bell, self._clock.elapsed_ns() + interval_ns
        while not self._ending and bell is self._bell:
            rung = bell.wait((next_ns - self._clock.elapsed_ns()) / 1e9)
            if self._ending:
                return
            is_time = self._clock.elapsed_ns() >= next_ns
            if is_time:  # after a suspended machine: one interval, not all that were missed
                next_ns = max(next_ns, self._clock.elapsed_ns() - interval_ns) + interval_ns
            if rung or is_time:
                self.cycle(everything=is_time)

    def _serve(self, outlet: Outlet, bell: Bell) -> None:
        """The thread of an exporter that may wait."""
        while not self._stopping and self._bells.get(outlet) is bell:
            wait_s = outlet.wait_s()
            if wait_s != 0.0:
                bell.wait(self.interval_s if wait_s is None else wait_s)
            if not self._stopping:
                began_ns = thread_time_ns()
                outlet.deliver()
                self._spent(thread_time_ns() - began_ns)

    def flush(self, timeout_s: float) -> bool:
        """Drain now and wait for the exporters; whether all of it was taken in time.

        What a receiver refused, and what else is lost meanwhile, was not taken. What is
        measured meanwhile is not waited for: there is always more of it. An exporter that is
        backing off is asked once, now. From inside of a drain of the same thread (a signal came
        meanwhile), or of a hub of greenlets (likewise), it returns False at once.
        """
        if is_in_hub():
            self.wake()
            return False
        deadline_ns = self._clock.elapsed_ns() + int(timeout_s * 1e9)
        if self.pid:
            self._start_again_if_lost()
        lost_before = [(outlet, outlet.lost_rows) for outlet in self.outlets]
        if not self.cycle(within_s=max(0.0, timeout_s)):
            return False
        marks = [(outlet, outlet.offered, lost) for outlet, lost in lost_before]
        self._hurry()
        pause = threading.Event()
        took_all = True
        while marks:
            is_late = self._clock.elapsed_ns() >= deadline_ns
            for mark in marks.copy():
                outlet, offered, lost = mark
                if is_late or outlet.has_settled(offered):  # what it loses later is not of this
                    took_all &= outlet.took_all(offered, lost)
                    marks.remove(mark)
            if marks:
                pause.wait(SETTLE_S)
        return took_all

    def _hurry(self) -> None:
        """Have each exporter try now: by its thread, or if there is none, by this one."""
        me = threading.get_ident()
        self._at_work.add(me)
        try:
            for outlet in self.outlets:
                outlet.hurry()
                if outlet.waits and self._has_thread(outlet):
                    self._bells[outlet].ring()
                else:
                    outlet.deliver()
        finally:
            self._at_work.discard(me)

    def _has_thread(self, outlet: Outlet) -> bool:
        return self.is_running and f"nilometer-{outlet.name}" in self._running

    def stop(self, timeout_s: float) -> bool:
        """Flush, end the threads, close the exporters; whether all was taken, see `flush`."""
        deadline_ns = self._clock.elapsed_ns() + int(timeout_s * 1e9)
        self._ending = True  # first: what was drained after the last flush would be written off
        self._bell.ring()
        took_all = self.flush(timeout_s)
        self._stopping = True
        self._bell.ring()
        for bell in self._bells.values():
            bell.ring()
        lost = sum(outlet.close() for outlet in self.outlets)
        if lost:
            self._say_lost(lost, sum(outlet.unanswered for outlet in self.outlets))
        wait_until(
            lambda: not self._running or self.pid != os.getpid(),
            deadline_ns,
            self._clock.elapsed_ns,
        )
        return took_all and not lost

    @staticmethod
    def _say_lost(lost: int, unanswered: int) -> None:
        doubt = (
            f", or not for certain: of {unanswered} the answer has not come yet, they may have "
            "arrived"
            if unanswered
            else ""
        )
        log.warning(
            "%d rows were not delivered before the end%s [rows-not-delivered]", lost, doubt
        )

    def _fault(self, what: str) -> None:
        """Say once that the pump itself is broken."""
        if not self._faulted:
            self._faulted = True
            log.error("the pump: %s; said once [pump-fault]", what)
