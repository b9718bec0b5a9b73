"""Group commit: many senders' batches become one commit, and each is answered after it.

The tables take a commit of a hundred thousand rows about as fast as one of ten (a sync of the
disk dominates), so whoever comes while a commit runs waits for the next. One commit runs at a
time, in a thread of its own. Nothing is acknowledged that has not been committed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.clock import Clock
from nilometer.errors import NilometerError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nilometer.model import Batch

log = logging.getLogger("nilometer.collector")

GROUP_ROWS: Final = 50_000  # a commit this large is worth its sync at once; DESIGN's figure
# Four full groups: one being committed, three waiting. At some 2 kB a decoded row (a span with
# eight attributes) that is 400 MB at worst.
PENDING_ROWS_MAX: Final = 4 * GROUP_ROWS
WINDOW_S: Final = 1.0
# So many commits a quiet time saves up. A sender gives the spans, readings and events of an
# interval one after the other, each after the answer to the last, and at its end what is left:
# waiting a window out for each took longer than a process that ends is ready to wait.
SAVED_MAX: Final = 6
# A sender that gives a whole batch (OpenTelemetry's exporters cut at 512) has more behind it,
# and sends that only after its answer: waiting the window out would hold it to one batch a
# second. Ten commits a second take a fifth of the disk's time where a commit takes 20 ms.
WHOLE_BATCH_ROWS: Final = 512
WHOLE_BATCH_WINDOW_NS: Final = 100_000_000


KINDS: Final = ("spans", "readings", "events", "rejected")  # of rows: each has its table


class Overloaded(NilometerError):  # noqa: N818 - it is a state, and the answer says so
    """More rows wait than may; the sender is told to come again."""

    def __init__(self, pending_rows: int) -> None:
        super().__init__(
            f"{pending_rows} rows wait for their commit already", slug="collector-overloaded"
        )


class NotCommitted(NilometerError):  # noqa: N818 - as above
    """The tables refused the commit, nothing of it is visible; `may_retry` says what to do."""

    def __init__(self, because: str, *, may_retry: bool) -> None:
        super().__init__(f"not committed: {because}", slug="not-committed")
        self.may_retry = may_retry


class Submission(NamedTuple):
    """What one sender gave, and where its answer goes."""

    batches: Sequence[Batch]
    rows: int
    answer: asyncio.Future[None]
    quiet: bool


class Commit(NamedTuple):
    """How one commit ended; `kinds` of rows are some of KINDS.

    `quiet` if nobody but the collector itself had asked for it.
    """

    duration_ns: int
    rows: int
    kinds: frozenset[str]
    quiet: bool
    error: Exception | None


class GroupCommit:
    """Collects submissions and commits them in groups. Used from one event loop.

    A group is committed when its window is over, sooner when it holds a whole batch, and at
    once when it is full or windows were saved up: there is one commit a window in the long run.

    `append` is the tables' own, blocking; `observe` is told of each commit when it has ended.
    """

    def __init__(
        self,
        append: Callable[[Sequence[Batch]], None],
        *,
        window_s: float = WINDOW_S,
        group_rows: int = GROUP_ROWS,
        pending_rows_max: int = PENDING_ROWS_MAX,
        clock: Clock | None = None,
        observe: Callable[[Commit], None] = lambda _: None,
    ) -> None:
        self._append = append
        self._window_ns = int(window_s * 1e9)
        self._group_rows = group_rows
        self._pending_rows_max = pending_rows_max
        self._clock = clock or Clock()
        self._observe = observe
        self._waiting: list[Submission] = []
        self._waiting_rows = 0
        self._committing_rows = 0
        self._committed_ns = self._clock.elapsed_ns() - self._window_ns
        self._due_ns = self._committed_ns - SAVED_MAX * self._window_ns
        self._woken = asyncio.Event()
        self._closing = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="nilometer-commit")
        self._task: asyncio.Task[None] | None = None

    @property
    def pending_rows(self) -> int:
        """Rows that were taken and are not yet committed."""
        return self._waiting_rows + self._committing_rows

    async def submit(self, batches: Sequence[Batch], *, quiet: bool = False) -> None:
        """Return when the batches are committed; raise Overloaded or NotCommitted otherwise.

        `quiet` is for the collector's own measurements, whose commits are not measured again.
        """
        rows = sum(batch.rows for batch in batches)
        if rows == 0:
            return
        # A single submission may exceed the bound (one body can hold more rows than that) while
        # no more than a group waits: beside steady senders it could never be taken otherwise.
        a_group = min(self._group_rows, self._pending_rows_max // 4)
        is_too_much = self.pending_rows + rows > self._pending_rows_max
        if is_too_much and self.pending_rows > a_group:
            raise Overloaded(self.pending_rows)
        if self._closing:
            raise NotCommitted("the collector is closing", may_retry=True)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append(Submission(batches, rows, answer, quiet))
        self._waiting_rows += rows
        self._woken.set()
        # Shielded by nature: a sender that hangs up cancels its wait, not the commit.
        await answer

    def hasten(self) -> None:
        """Commit at once from now on: the collector is about to end, and senders wait."""
        self._window_ns = 0
        self._woken.set()

    async def close(self) -> None:
        """Commit what waits, take nothing more, end the thread."""
        self._closing = True
        self._woken.set()
        if self._task is not None:
            await self._task
        self._thread.shutdown(wait=True)

    async def _run(self) -> None:
        while not (self._closing and not self._waiting):
            await self._group_is_due()
            group, self._waiting = self._waiting, []
            self._committing_rows, self._waiting_rows = self._waiting_rows, 0
            if group:
                await self._commit(group)
            self._committing_rows = 0

    async def _group_is_due(self) -> None:
        """Wait for a first submission, then for the window's end or a full group."""
        while not self._waiting and not self._closing:
            self._woken.clear()
            await self._woken.wait()
        while self._waiting_rows < self._group_rows and not self._closing:
            due_ns = min(self._due_ns, self._committed_ns + self._window_ns)
            if self._waiting_rows >= WHOLE_BATCH_ROWS:
                due_ns = min(due_ns, self._committed_ns + WHOLE_BATCH_WINDOW_NS)
            left_s = (due_ns - self._clock.elapsed_ns()) / 1e9
            if left_s <= 0:
                return
            self._woken.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), left_s)

    async def _commit(self, group: list[Submission]) -> None:
        started_ns = self._clock.elapsed_ns()
        batches = [batch for one in group for batch in one.batches]
        error = await self._appended(batches)
        self._committed_ns = self._clock.elapsed_ns()
        saved_ns = (SAVED_MAX - 1) * self._window_ns
        self._due_ns = max(self._due_ns, self._committed_ns - saved_ns) + self._window_ns
        self._due_ns = min(self._due_ns, self._committed_ns + self._window_ns)
        self._observe(
            Commit(
                self._committed_ns - started_ns,
                sum(one.rows for one in group),
                frozenset(kind for batch in batches for kind in KINDS if getattr(batch, kind)),
                all(one.quiet for one in group),
                error,
            )
        )
        if error is not None and len(group) > 1 and not is_of_the_store(error):
            # Something in one submission cannot be stored: it must not take the others along.
            for one in group:
                _answer(one, await self._appended(one.batches))
        else:
            for one in group:
                _answer(one, error)

    async def _appended(self, batches: Sequence[Batch]) -> Exception | None:
        """Commit in the thread; the error, if any, is a value: it belongs to the senders."""
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, self._append, batches)
        except Exception as error:  # noqa: BLE001 - whatever it is, the senders are told
            return error
        return None


def is_of_the_store(error: Exception) -> bool:
    """Whether disk or table failed, rather than something wrong with the rows."""
    return isinstance(error, OSError | StoreError | MemoryError)


def _answer(one: Submission, error: Exception | None) -> None:
    if one.answer.done():  # the sender hung up
        return
    if error is None:
        one.answer.set_result(None)
    else:
        one.answer.set_exception(
            NotCommitted(str(error) or type(error).__name__, may_retry=is_of_the_store(error))
        )
