"""What the gate's commands have in common: the history, one run of it, and those around it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import click

from nilometer.cli.exits import Exit
from nilometer.cli.terminal import say, stop
from nilometer.config import load_for_commands
from nilometer.errors import ConfigError, NilometerError, to_install

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from nilometer.model.run import Accepted, Run
    from nilometer.store.runs import History

RUNS_MAX: Final = 500
"""The latest that take part: four times what the joint statistic looks at."""

READ_MAX: Final = 4 * RUNS_MAX
"""The latest of a suite, where those of other branches and test sets are among them."""

ENOUGH: Final = RUNS_MAX * 4 // 5
"""So many of them take part, and the others are few: those that failed, and the run itself."""

LAST: Final = "last"
NAMED_MAX: Final = 10


class Chosen(NamedTuple):
    """A run, and what its suite's history has around it; `accepted` is of this suite."""

    run: Run
    earlier: list[Run]
    later: list[Run]
    accepted: list[Accepted]


def history_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags of every command that reads the history."""
    command = click.option(
        "--branch",
        "branches",
        multiple=True,
        metavar="NAME",
        help="Compare with runs of this branch only. Repeatable. [default: all]",
    )(command)
    command = click.option(
        "--history",
        metavar="DIR",
        help="Where runs are kept. [NILOMETER_HISTORY; else .nilometer]",
    )(command)
    return click.option(
        "--suite",
        metavar="NAME",
        help="Whose runs. [NILOMETER_SUITE; else the suite of the latest run]",
    )(command)


class Past:
    """The history that the flags and settings name; use with `with`.

    Whatever is wrong with it ends the command with one sentence; but `unrecorded` says why it
    lacks the latest runs, if so.
    """

    def __init__(self, history: str | None, suite: str | None) -> None:
        try:
            settings = load_for_commands()
        except ConfigError as error:
            stop(str(error), Exit.USAGE)
        self.location = history or settings.history
        self._suite = suite or settings.suite or None
        self._opened: History | None = None
        self.unrecorded = ""

    def __enter__(self) -> Self:
        """Open it, and record what a `measure` that died has left over."""
        if "://" not in self.location and not Path(self.location).exists():
            stop(
                f"there is no history in {self.location}; `nilometer measure` makes one",
                Exit.NOT_FOUND,
            )
        try:
            from nilometer.store.runs import History

            self._opened = History(self.location)
        except ImportError as error:
            stop(f"a history needs {error.name}: {to_install('store')}", Exit.USAGE)
        except (NilometerError, OSError) as error:
            stop(str(error), Exit.USAGE)
        self._recover(self._opened)
        return self

    def _recover(self, history: History) -> None:
        """A run that died is told by the next who looks; judging goes on if it cannot be."""
        from nilometer.cli.journal import Journal
        from nilometer.cli.measuring import state_directory

        journal = Journal(self.location, state_directory())
        for told in journal.strange():
            say(f"nilometer: {told}")
        if not journal.has_left_over():
            return
        try:
            for run in journal.recover(history):
                why = f": {run.because}" if run.because else ""
                say(f"nilometer: recorded, too: run {run.id} of {run.suite}{why}")
        except (NilometerError, OSError) as error:
            self.unrecorded = f"runs were left over, and cannot be recorded: {error}"
            say(f"nilometer: {self.unrecorded}")

    def __exit__(self, *_: object) -> None:
        if self._opened is not None:
            self._opened.close()

    def runs(
        self,
        suite: str | None = None,
        *,
        parts: bool = False,
        branches: Collection[str] = (),
        run_id: str = LAST,
    ) -> list[Run]:
        """The latest runs of a suite, or of all, oldest first; of a suite as many as it takes.

        That is until there are enough that this run is compared with, or no more.
        """
        found = self._read(suite, RUNS_MAX, parts=parts)
        if suite is None or len(found) < RUNS_MAX or _take_part(found, run_id, branches):
            return found
        return self._read(suite, READ_MAX, parts=parts)

    def _read(self, suite: str | None, limit: int, *, parts: bool) -> list[Run]:
        assert self._opened is not None
        try:
            return self._opened.runs(suite, limit=limit, parts=parts)
        except NilometerError as error:
            stop(str(error), Exit.USAGE)

    def suite(self) -> str:
        """The suite that was asked for, else that of the latest run, readable or not."""
        if self._suite is not None:
            return self._suite
        runs = self.runs()
        if not any(run.id for run in runs):
            _stop_if_lost(f"no run of the history in {self.location} can be read", runs)
            stop(f"the history in {self.location} has no run yet", Exit.NOT_FOUND)
        return [run.suite for run in runs if run.id or run.suite][-1]

    def suite_of(self, run_id: str) -> str:
        """The suite that was asked for, else that of this run."""
        if self._suite is None and run_id != LAST:
            found = [run.suite for run in self.runs() if run.id.startswith(run_id)]
            if found:
                return found[-1]
        return self.suite()

    def accepted(self, suite: str) -> list[Accepted]:
        """What was accepted in a suite."""
        assert self._opened is not None
        try:
            return self._opened.accepted(suite)
        except NilometerError as error:
            stop(str(error), Exit.USAGE)

    def accept(self, accepted: Accepted) -> None:
        """Record that somebody accepted a step."""
        assert self._opened is not None
        try:
            self._opened.accept(accepted)
        except (NilometerError, OSError) as error:
            stop(str(error), Exit.USAGE)
        if self._opened.lost:
            say(f"nilometer: {self._opened.lost}")

    def choose(
        self, run_id: str, *, parts: bool = False, branches: Collection[str] = ()
    ) -> Chosen:
        """The run of this id, or whose id begins so, or the last, with those around it."""
        suite = self.suite_of(run_id)
        runs = self.runs(suite, parts=parts, branches=branches, run_id=run_id)
        at = _place(runs, run_id, suite)
        return Chosen(runs[at], runs[:at], runs[at + 1 :], self.accepted(suite))

    def missing_after(self, last: Chosen) -> str:
        """Why the last run of those that are known may not be the last; empty if it is."""
        return "; ".join(filter(None, (_lost(last.later), self.unrecorded)))


def _take_part(runs: Sequence[Run], run_id: str, branches: Collection[str]) -> bool:
    """Whether enough of the runs before this one are compared with it."""
    from nilometer.gate.history import past_of

    named = [at for at, run in enumerate(runs) if run.id and run_id in {LAST, run.id}]
    if not named:
        return False
    at = named[-1]
    return len(past_of(runs[at], runs[:at], branches=branches).runs) >= ENOUGH


def _place(runs: Sequence[Run], run_id: str, suite: str) -> int:
    """Where in the runs it is; ends the command if it is nowhere, or in two places."""
    named = [at for at, run in enumerate(runs) if run.id]
    if not named:
        _stop_if_lost(f"no run of {suite!r} in what can be read of the history", runs)
        stop(f"the history has no run of {suite!r}", Exit.NOT_FOUND)
    if run_id == LAST:
        return named[-1]
    exact = [at for at in named if runs[at].id == run_id]
    found = exact or [at for at in named if runs[at].id.startswith(run_id)]
    if len(found) > 1:
        ids = ", ".join(runs[at].id for at in found[-NAMED_MAX:])
        stop(f"{len(found)} runs of {suite!r} begin with {run_id!r}: {ids}", Exit.USAGE)
    if not found:
        latest = ", ".join(runs[at].id for at in named[-3:])
        missing = f"no run {run_id!r} of {suite!r} in what can be read of the history"
        _stop_if_lost(missing, runs, f"; the latest are {latest}")
        stop(f"no run {run_id!r} of {suite!r}; the latest are {latest}", Exit.NOT_FOUND)
    return found[0]


def _stop_if_lost(missing: str, runs: Sequence[Run], after: str = "") -> None:
    """End the command if the run may be in what cannot be read of the history."""
    if lost := _lost(runs):
        stop(f"{missing}; it may be in what cannot: {lost}{after}", Exit.NOT_FOUND)


def _lost(runs: Sequence[Run]) -> str:
    """What of these runs cannot be read, and why; empty if all can."""
    lost = [run.because for run in runs if not run.id]
    more = f", and {len(lost) - 1} parts more" if len(lost) > 1 else ""
    return lost[0] + more if lost else ""
