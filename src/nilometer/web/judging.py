"""What the store's history of measured runs says, judged once for each state of it.

Verdicts are the gate's own. A long history of many counters takes seconds to judge, which no
page waits for: one thread judges, what it found is kept as long as nothing new is recorded, and
a page shows what is there by now. What is kept are documents; the runs themselves, which are
large, are let go once nobody has asked for a while.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.api.problems import Problem, Refusal
from nilometer.errors import NilometerError
from nilometer.gate.accepting import acceptance
from nilometer.gate.beside import beside_bounds
from nilometer.gate.chosen import (
    LAST,
    RUNS_MAX,
    NoSuchRunError,
    choose,
    enough_of,
    lost_of,
    not_the_last,
    verdict_on,
)
from nilometer.gate.course import course_of
from nilometer.gate.rank import learned_of, see
from nilometer.gate.reports.json import (
    course_document,
    document,
    finding_document,
    learned_document,
)
from nilometer.gate.reports.wording import headline, standing_of
from nilometer.gate.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from nilometer.clock import Clock
    from nilometer.gate.chosen import Chosen
    from nilometer.gate.rank import Seen
    from nilometer.gate.verdict import Verdict
    from nilometer.model.run import Accepted, Run
    from nilometer.store.query import Reader
    from nilometer.store.runs import SuiteSummary

    Told = dict[str, Any]

KEPT_MAX: Final = 400
"""Documents of runs and counters: a verdict with a note on each of 500 runs is some 60 kB."""

LET_GO_S: Final = 60.0
"""Runs nobody asked for so long are let go: 500 of 400 counters are some 40 MB."""

ROWS_MAX: Final = 200_000
"""Of the latest runs with the parts of their counters: some 140 MB. Where there are more, what
a change is put down to is left to the command line."""

ANSWER_S_MAX: Final = 60.0  # as `api.queries` has it


class Suite(NamedTuple):
    """A suite as it stands: whatever is told of it changes only with this."""

    summary: SuiteSummary
    accepted: tuple[Accepted, ...]

    @property
    def name(self) -> str:
        """Whose runs they are."""
        return self.summary.suite

    @property
    def is_too_large(self) -> bool:
        """Whether the latest runs have more parts than a collector should hold."""
        told = self.summary
        return told.row_count / max(1, told.runs) * min(told.runs, RUNS_MAX) > ROWS_MAX


class _Held:
    """The runs of one suite, each read once; used by the judging thread only."""

    def __init__(self, reader: Reader, suite: Suite) -> None:
        self.suite = suite
        self._history = reader.history()
        self._read: dict[int, list[Run]] = {}
        self._with_parts: dict[int, list[Run]] = {}
        self.judged: dict[tuple[str, tuple[str, ...]], tuple[Chosen, Verdict]] = {}
        self._seen: dict[tuple[str, ...], Seen | None] = {}

    def runs(self, branches: Collection[str], run_id: str = LAST) -> list[Run]:
        return enough_of(self._latest, branches=branches, run_id=run_id)

    def _latest(self, number: int) -> list[Run]:
        return self._once(self._read, number, parts=False)

    def _whole(self, number: int) -> list[Run]:
        return self._once(self._with_parts, number, parts=True)

    def _once(self, read: dict[int, list[Run]], number: int, *, parts: bool) -> list[Run]:
        for most, kept in read.items():
            if most == number or len(kept) < most:  # then there are no more
                return kept
        found = self._history.runs(self.suite.name, limit=number, parts=parts)
        read[number] = found
        return found

    def choice(self, run_id: str, branches: Collection[str], *, parts: bool) -> Chosen:
        read = self._whole if parts and not self.suite.is_too_large else self._latest
        runs = enough_of(read, branches=branches, run_id=run_id)
        return choose(runs, self.suite.accepted, run_id, self.suite.name)

    def seen(self, branches: tuple[str, ...]) -> Seen | None:
        if branches not in self._seen:
            found = see(self.runs(branches), self.suite.accepted, branches=branches)
            self._seen[branches] = found
        return self._seen[branches]


class Judging:
    """Judges in a thread of its own; asked by the event loop, `suites` by any thread."""

    def __init__(self, reader: Reader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="nilometer-judging")
        self._kept: OrderedDict[tuple[Any, ...], tuple[Suite, Future[Any]]] = OrderedDict()
        self._held: _Held | None = None
        self._letting_go: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Drop what waits; what is judged just now is let go."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    # ---- what there is -----------------------------------------------------------------------

    def suites(self) -> list[Suite]:
        """All suites as they stand, the one with the latest run first. Raises StoreError."""
        history = self._reader.history()
        accepted = history.accepted()
        lost = tuple(one for one in accepted if not one.run_id)
        return [
            Suite(one, lost + tuple(a for a in accepted if a.run_id and a.suite == one.suite))
            for one in history.suites()
        ]

    def unread(self) -> list[str]:
        """What `suites` could not read when it was asked last. Raises StoreError."""
        return self._reader.history().unread()

    def latest(self, suite: Suite, number: int) -> Future[list[Told]]:
        """The latest runs, newest first, each as a line of a list, without a verdict."""

        def make() -> list[Told]:
            found = self._hold(suite).runs(())
            return [_line(run) for run in reversed(found[-number:])]

        return self._later(suite, ("latest", number), make)

    # ---- what is said of it ------------------------------------------------------------------

    def brief(self, suite: Suite, run_id: str, branches: tuple[str, ...]) -> Future[Told]:
        """The verdict on a run in short."""

        def make() -> Told:
            try:
                return _brief(self._judged(suite, run_id, branches)[1])
            except NoSuchRunError as error:  # two of one id, say: a list shows all others
                return _not_judged(run_id, str(error))

        return self._later(suite, ("brief", run_id, branches), make)

    def verdict(self, suite: Suite, run_id: str, branches: tuple[str, ...]) -> Future[Told]:
        """All that the verdict on a run says, and the run beside all bounds."""

        def make() -> Told:
            chosen, verdict = self._judged(suite, run_id, branches)
            every = beside_bounds(chosen, branches=branches)
            return {
                **_brief(verdict),
                "verdict": document(verdict),
                "lacks_parts": bool(verdict.findings) and suite.is_too_large,
                "counters": [finding_document(one) for one in every],
                "wall_ns": chosen.run.wall_ns,
                "next": next((run.id for run in chosen.later if run.id), None),
                "before": next((run.id for run in reversed(chosen.earlier) if run.id), None),
            }

        return self._later(suite, ("verdict", run_id, branches), make)

    def learned(self, suite: Suite, branches: tuple[str, ...]) -> Future[Told | None]:
        """What the history says of each counter; None if no run can be used."""

        def make() -> Told | None:
            seen = self._hold(suite).seen(branches)
            return None if seen is None else learned_document(learned_of(seen))

        return self._later(suite, ("learned", branches), make)

    def course(
        self, suite: Suite, counter: str, branches: tuple[str, ...]
    ) -> Future[Told | None]:
        """One counter over all runs; None if there is none of that name."""

        def make() -> Told | None:
            seen = self._hold(suite).seen(branches)
            found = None if seen is None else course_of(seen, counter, suite.accepted)
            return None if found is None else course_document(found)

        return self._later(suite, ("course", counter, branches), make)

    def accept(
        self,
        suite: Suite,
        run_id: str,
        counters: Sequence[str],
        *,
        everything: bool,
        reason: str,
        by: str,
        branches: tuple[str, ...],
    ) -> Future[Accepted]:
        """Record that somebody takes a change for granted, as `nilometer gate accept` does.

        Fails with NoSuchRunError, UnacceptableError or StoreError.
        """

        def write() -> Accepted:
            chosen = self._hold(suite).choice(run_id, branches, parts=False)
            accepted = acceptance(
                chosen,
                counters,
                everything=everything,
                reason=reason,
                by=by,
                at_ns=self._clock.wall_ns(),
                branches=branches,
            )
            self._reader.history().accept(accepted)
            return accepted

        return self._pool.submit(write)

    # ---- the thread --------------------------------------------------------------------------

    def _later(
        self, suite: Suite, what: tuple[Any, ...], make: Callable[[], Any]
    ) -> Future[Any]:
        """What `make` gives, or gave in this state of the suite."""
        key = (suite.name, *what)
        state, future = self._kept.get(key, (None, None))
        if future is None or state != suite or _failed(future):
            if future is not None:
                future.cancel()
            future = self._pool.submit(make)
            self._kept[key] = (suite, future)
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT_MAX:
            _, (_, old) = self._kept.popitem(last=False)
            old.cancel()
        self._keep_a_while()
        return future

    def _judged(
        self, suite: Suite, run_id: str, branches: tuple[str, ...]
    ) -> tuple[Chosen, Verdict]:
        """In the thread: as `nilometer gate check` judges."""
        held = self._hold(suite)
        told = held.judged.get((run_id, branches))
        if told is not None:  # a list asked, and now the run's own page does
            return told
        chosen, verdict = verdict_on(
            lambda parts: held.choice(run_id, branches, parts=parts),
            branches=branches,
            now_ns=self._clock.wall_ns(),
        )
        lost = "" if any(run.id for run in chosen.later) else lost_of(chosen.later)
        told = chosen, not_the_last(verdict, lost) if lost else verdict
        held.judged[run_id, branches] = told
        return told

    def _hold(self, suite: Suite) -> _Held:
        """In the thread: the runs of a suite as it stands; those of another are let go."""
        held = self._held
        if held is None or held.suite != suite:
            held = self._held = _Held(self._reader, suite)
        return held

    def _keep_a_while(self) -> None:
        """In the event loop: let the runs go when nobody has asked for them for long."""
        if self._letting_go is not None:
            self._letting_go.cancel()
        self._letting_go = asyncio.get_running_loop().call_later(LET_GO_S, self._let_go)

    def _let_go(self) -> None:
        self._held = None  # whoever judges just now has its own hold of it


def _failed(future: Future[Any]) -> bool:
    if not future.done():
        return False
    return future.cancelled() or future.exception() is not None


def _line(run: Run) -> Told:
    return {
        "run": run.id,
        "ended_ns": run.ended_ns,
        "wall_ns": run.wall_ns,
        "revision": run.revision,
        "branch": run.branch,
        "work": run.work,
        "because": run.because,
    }


def _brief(verdict: Verdict) -> Told:
    return {
        "run": verdict.run.id,
        "outcome": verdict.outcome.value,
        "standing": standing_of(verdict),
        "moved": headline(verdict.findings[0]) if verdict.findings else "",
        "findings": len(verdict.findings),
        "because": verdict.because,
    }


def _not_judged(run_id: str, because: str) -> Told:
    told = dict.fromkeys(("outcome", "standing"), Outcome.UNKNOWN.value)
    return {**told, "run": run_id, "moved": "", "findings": 0, "because": because}


async def made(futures: Sequence[Future[Any]], patience_s: float) -> list[Any]:
    """What each of them gave by then, None where it is not done; Refusal 503 if a table fails.

    Other errors are raised as they are.
    """
    if futures:
        waiting = [asyncio.wrap_future(one) for one in futures]
        for one in waiting:
            one.add_done_callback(_seen_to)
        await asyncio.wait(waiting, timeout=patience_s)
    found = []
    for each in futures:
        try:
            found.append(each.result() if each.done() else None)
        except (NilometerError, OSError) as error:
            detail = f"the store cannot be read: {error}"
            problem = Problem(
                detail=detail, parameter=None, value=None, nearest=None, choices=None
            )
            raise Refusal(503, problem, retry_after_s=2) from None
    return found


def _seen_to(future: asyncio.Future[Any]) -> None:
    """An error is told by the future itself; nobody need tell that nobody asked."""
    if not future.cancelled():
        future.exception()
