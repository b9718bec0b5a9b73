"""One exporter with what is kept for it: a bounded buffer, patience, and exact accounts.

For every row ever offered: produced = delivered + lost + still buffered + merged into another.
Merging keeps sums: of each counter, produced = delivered + lost + still buffered. Nothing here
raises, and a fault is said once, when it begins, and once more when it is over; one that comes
and goes is said every ten minutes at most.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.clock import Clock
from nilometer.export.backlog import Backlog
from nilometer.export.exporter import Undelivered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from nilometer.export.exporter import Exporter
    from nilometer.model import Batch

    Lost = Callable[[str, str, str, int], None]

log = logging.getLogger("nilometer")

ROWS_MAX: Final = 32_768
"""A span with three attributes is about 1 KiB of Python objects: 32 MiB per exporter at worst.
A service of 300 series fills it in 18 minutes at one interval each 10 s; then it merges."""

SHARE_MAX: Final = 2
"""One attempt takes half of the buffer at most: what was attempted cannot be merged any more,
and must not keep out what is measured meanwhile."""

BACKOFF_S_MIN: Final = 1.0
BACKOFF_S_MAX: Final = 60.0
"""1, 2, 4 ... 60 s: a receiver that restarts is found within a minute; one that is gone for a
day costs 1,440 attempts."""

RETRY_AFTER_S_MAX: Final = 300.0
"""What a receiver may ask for; a longer wait would overflow the buffer of any busy service."""

SAY_NS_MIN: Final = 600 * 10**9
"""From one warning of a fault to the next: a receiver that refuses every other batch would fill
the log with 8,640 lines a day, two for each 20 s; so it is 288."""

BECAUSE_CHARS_MAX: Final = 500  # two lines of a log: what a receiver says is not trusted

KINDS: Final = ("readings", "spans", "events")


class OutletState(NamedTuple):
    """What `nilometer doctor` shows of an exporter; numbers are rows since `configure`."""

    name: str
    healthy: bool
    because: str
    delivered: int
    buffered: int
    lost: Mapping[tuple[str, str], int]
    merged: int


class Outlet:
    """An exporter, its buffer and its accounts.

    `offer` may be called by one thread while `deliver` runs in another. `lost` is told what,
    why, whose and how much for every loss; it must not raise.
    """

    def __init__(
        self,
        name: str,
        exporter: Exporter,
        *,
        lost: Lost = lambda *_: None,
        clock: Clock = Clock(),  # noqa: B008 - a tuple of functions
        rows_max: int = ROWS_MAX,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self.exporter = exporter
        self.waits: bool = getattr(exporter, "waits", True)
        takes: tuple[str, ...] = getattr(exporter, "takes", KINDS)
        self._without: dict[str, tuple[()]] = {kind: () for kind in KINDS if kind not in takes}
        self.rows_max = rows_max
        self._tell_lost = lost
        self._clock = clock
        self._jitter = jitter
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.RLock()  # a signal handler may close what it interrupts
        self._delivering = threading.Lock()
        self._untried = Backlog()
        self._tried: Batch | None = None  # never changed: its receiver may have it already
        self._tried_since = 0  # see Backlog.oldest
        self._is_flying = False
        self._closed = False
        self._failures = 0
        self._said_ns: int | None = None  # when a fault was said the last time
        self._is_said = False  # of the fault that lasts
        self._unsaid = 0  # faults that began and ended since one was said
        self._because = ""
        self._not_before_ns = 0
        self.delivered = 0
        self.merged = 0
        self.unanswered = 0
        self.lost: Counter[tuple[str, str]] = Counter()

    def reset_after_fork(self) -> None:
        """Begin again in a forked child: what is buffered is the parent's to send."""
        self._reset()
        self._contained(getattr(self.exporter, "abandon", self.exporter.close))

    def offer(self, batch: Batch) -> None:
        """Keep a batch until it is delivered; without room for it readings are merged, and
        what does not fit even so is lost, the oldest first."""
        if self._without:  # statsd has no place for spans: they are not meant for it, not lost
            batch = batch._replace(**self._without)  # type: ignore[arg-type]
        if not batch.rows:
            return
        with self._lock:
            if self._closed:
                lost = _counted([batch], "shutdown")
            else:
                lost = _counted(self._append(batch), "buffer_full")
            self.lost += lost
        self._tell(lost)

    def _append(self, batch: Batch) -> list[Batch]:
        """Under the lock: put a batch last, return what had to go for it."""
        self._untried.append(batch)
        room = self.rows_max - self._tried_rows
        self.merged += self._untried.merge(room)
        return self._untried.drop(self._untried.rows - room)

    def wait_s(self) -> float | None:
        """How long until there is something to do: 0 now, None nothing at all."""
        if not self._untried.rows and (self._tried is None or self._is_flying):
            return None
        return max(0.0, (self._not_before_ns - self._clock.elapsed_ns()) / 1e9)

    @property
    def rows(self) -> int:
        """How many rows are kept, those under way included."""
        return self._untried.rows + self._tried_rows

    @property
    def _tried_rows(self) -> int:
        tried = self._tried
        return tried.rows if tried is not None else 0

    @property
    def offered(self) -> int:
        """How many batches were offered so far; what `has_settled` and `took_all` ask for."""
        return self._untried.appended

    def is_through(self, offered: int) -> bool:
        """Whether all of the first so many batches were delivered or are lost."""
        with self._lock:
            if self._tried is not None and self._tried_since <= offered:
                return False
            return self._untried.oldest > offered

    @property
    def lost_rows(self) -> int:
        """How many rows are lost so far; what `took_all` compares with."""
        with self._lock:
            return self.lost.total()

    def took_all(self, offered: int, lost_rows: int) -> bool:
        """Whether the first so many batches were delivered, and no more than that was lost."""
        with self._lock:
            return self.is_through(offered) and self.lost_rows == lost_rows

    def has_settled(self, offered: int) -> bool:
        """Whether it is through with so many batches, or nothing can be done just now."""
        is_at_it = self._delivering.locked() or self.wait_s() == 0.0
        return not is_at_it or self.is_through(offered)

    @property
    def is_empty(self) -> bool:
        """Whether everything offered was delivered or is lost."""
        return not self.rows

    def hurry(self) -> None:
        """Make the next attempt now, whoever asked to wait."""
        self._not_before_ns = 0

    def deliver(self) -> None:
        """Hand over what is buffered until nothing is left or the exporter fails."""
        if not self._delivering.acquire(blocking=False):
            return  # somebody is at it
        try:
            while self.wait_s() == 0.0 and (batch := self._taken()) is not None:
                self._attempt(batch)
        finally:
            self._delivering.release()

    def _taken(self) -> Batch | None:
        with self._lock:
            if self._tried is None:
                self._tried_since = self._untried.oldest
                self._tried = self._untried.take(max(1, self.rows_max // SHARE_MAX))
            self._is_flying = self._tried is not None
            return self._tried

    def _attempt(self, batch: Batch) -> None:
        try:
            self.exporter(batch)
        except Undelivered as state:
            self._settle(batch, state)
        except Exception as error:  # noqa: BLE001 - an exporter's fault stays its own
            because = f"{type(error).__name__}: {error}"
            self._settle(batch, Undelivered(because, left=batch))
        else:
            self._settle(batch, None)

    def _settle(self, batch: Batch, state: Undelivered | None) -> None:
        """Enter in the accounts what became of a batch."""
        left = state.left if state is not None else None
        lost = Counter(state.refused if state is not None else ())
        refused = lost.total()
        with self._lock:
            self._is_flying = False
            if self._closed:  # everything here was written off when it was closed
                return
            self.delivered += batch.rows - refused - (left.rows if left is not None else 0)
            self.lost += lost  # here: who sees that it is through sees at what loss
            self._tried = left if left is not None and left.rows else None
        if state is None:
            self._recovered()
            return
        self._tell(lost)
        if left is not None or refused:
            self._failed(state)

    def _failed(self, state: Undelivered) -> None:
        self._failures += 1
        wait_s = 0.0
        if state.left is not None:
            wait_s = min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2 ** min(self._failures - 1, 16))
            wait_s *= 0.5 + self._jitter() / 2  # a thousand services must not come back at once
            wait_s = max(wait_s, min(state.retry_after_s or 0.0, RETRY_AFTER_S_MAX))
            self._not_before_ns = self._clock.elapsed_ns() + int(wait_s * 1e9)
        self._because = _plain(state.because)
        self._say_failing()

    def _say_failing(self) -> None:
        """Say the fault that lasts, unless it was said, or another one not long ago."""
        now_ns = self._clock.elapsed_ns()
        is_early = self._said_ns is not None and now_ns - self._said_ns < SAY_NS_MIN
        if self._is_said or is_early:
            return
        again = f"; {self._unsaid} more faults came and went meanwhile" if self._unsaid else ""
        log.warning(
            "exporter %s is failing: %s; measuring goes on, what cannot be kept is counted "
            "in nilometer.lost, and it is said when it works again%s [exporter-failing]",
            self.name,
            self._because,
            again,
        )
        self._is_said, self._said_ns, self._unsaid = True, now_ns, 0

    def _recovered(self) -> None:
        if self._failures and not self._is_said:
            self._unsaid += 1
        elif self._failures:
            log.warning(
                "exporter %s works again after %d failures; %d rows were lost [exporter-works]",
                self.name,
                self._failures,
                self.lost_rows,
            )
        self._failures = 0
        self._is_said = False
        self._because = ""
        self._not_before_ns = 0

    def _tell(self, lost: Counter[tuple[str, str]]) -> None:
        """Outside of the lock: whoever is told may have one of his own."""
        for (what, reason), count in lost.items():
            if count:
                self._tell_lost(what, reason, self.name, count)

    def close(self) -> int:
        """Write off what is left, close the exporter; how many rows went with it.

        `unanswered` tells how many of these the receiver was just being given.
        """
        with self._lock:
            self._closed = True
            tried = [self._tried] if self._tried is not None else []
            # Of what flies nobody will hear the fate.
            lost = _counted(tried, "unanswered" if self._is_flying else "shutdown")
            self.unanswered = lost.total() if self._is_flying else 0
            lost += _counted(self._untried.batches, "shutdown")
            self.lost += lost
            self._untried.clear()
            self._tried = None
        self._tell(lost)
        self._contained(self.exporter.close)
        return lost.total()

    def _contained(self, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - see _attempt
            log.debug("exporter %s did not close: %r", self.name, error)

    @property
    def state(self) -> OutletState:
        """What doctor shows."""
        return OutletState(
            self.name,
            not self._failures,
            self._because or ("the last delivery went well" if self.delivered else "unused"),
            self.delivered,
            self.rows,
            dict(self.lost),
            self.merged,
        )


def _plain(text: str) -> str:
    """Text from outside as part of one line: nothing in it is a control, and it ends."""
    cut = text if len(text) <= BECAUSE_CHARS_MAX else text[: BECAUSE_CHARS_MAX - 1] + "…"
    return "".join(c if c.isprintable() else " " for c in cut)


def _counted(batches: Iterable[Batch], reason: str) -> Counter[tuple[str, str]]:
    """How many rows of each kind are lost with these batches."""
    counted: Counter[tuple[str, str]] = Counter()
    for batch in batches:
        for kind in KINDS:
            counted[kind, reason] += len(getattr(batch, kind))
    return counted
