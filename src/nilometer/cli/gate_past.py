"""What the gate's commands have in common: the history, one run of it, and those around it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from nilometer.cli.exits import Exit
from nilometer.cli.terminal import one_line, say, stop
from nilometer.config import load_for_commands
from nilometer.errors import ConfigError, NilometerError, to_install
from nilometer.gate import chosen

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from nilometer.gate.chosen import Chosen
    from nilometer.model.run import Accepted, Run
    from nilometer.store.runs import History


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
            say(one_line(f"nilometer: {told}"))
        if not journal.has_left_over():
            return
        try:
            for run in journal.recover(history):
                why = f": {run.because}" if run.because else ""
                say(one_line(f"nilometer: recorded, too: run {run.id} of {run.suite}{why}"))
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
        run_id: str = chosen.LAST,
    ) -> list[Run]:
        """The latest of a suite, or of all, oldest first; of a suite as many as it takes."""
        if suite is None:
            return self._read(None, chosen.RUNS_MAX, parts=parts)
        return chosen.enough_of(
            partial(self._read, suite, parts=parts), branches=branches, run_id=run_id
        )

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
            if lost := chosen.lost_of(runs):
                missing = f"no run of the history in {self.location} can be read"
                stop(f"{missing}; it may be in what cannot: {lost}", Exit.NOT_FOUND)
            stop(f"the history in {self.location} has no run yet", Exit.NOT_FOUND)
        return [run.suite for run in runs if run.id or run.suite][-1]

    def suite_of(self, run_id: str) -> str:
        """The suite that was asked for, else that of this run."""
        if self._suite is None and run_id != chosen.LAST:
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
        try:
            return chosen.choose(runs, self.accepted(suite), run_id, suite)
        except chosen.NoSuchRunError as error:
            stop(str(error), Exit.USAGE if error.is_ambiguous else Exit.NOT_FOUND)

    def missing_after(self, last: Chosen) -> str:
        """Why the last run of those that are known may not be the last; empty if it is."""
        return "; ".join(filter(None, (chosen.lost_of(last.later), self.unrecorded)))
