"""`nilometer counters import`: what others recorded of a run, into the history."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nilometer import clock
from nilometer.cli.collecting import read_json
from nilometer.cli.counters_history import open_history, settings_or_stop
from nilometer.cli.exits import Exit
from nilometer.cli.terminal import say, stop
from nilometer.counters.document import DocumentError
from nilometer.counters.performance_json import run_of
from nilometer.errors import StoreError

if TYPE_CHECKING:
    from nilometer.model.run import Run


@click.command("import")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--suite", metavar="NAME", help="What was run. [NILOMETER_SUITE]")
@click.option("--revision", default="", metavar="REV", help="The version that was measured.")
@click.option("--branch", default="", metavar="NAME", help="Its branch.")
@click.option(
    "--work", default=0, type=click.IntRange(0), metavar="N", help="How many tests ran."
)
@click.option(
    "--history", metavar="DIR", help="Where runs are kept. [NILOMETER_HISTORY; else .nilometer]"
)
def import_runs(
    files: tuple[str, ...],
    *,
    suite: str | None,
    revision: str,
    branch: str,
    work: int,
    history: str | None,
) -> None:
    """Add what devstack's performance.json tells of a run to the history.

    A file that is imported twice is one run. Every file is read before any is added.

    \b
    Example:
      nilometer counters import --suite tempest-full */performance.json
    """
    settings = settings_or_stop()
    named = suite or settings.suite
    if not named:
        stop("--suite is missing: runs are compared within one suite only", Exit.USAGE)
    runs: list[tuple[str, Run]] = []
    for file in files:
        try:
            value, content = read_json(file, origin="FILE")
            run = run_of(
                value,
                content,
                origin=file,
                suite=named,
                wall_ns=clock.wall_ns(),
                revision=revision,
                branch=branch,
                work=work,
            )
        except DocumentError as error:
            stop(str(error), Exit.USAGE)
        runs.append((file, run))
    _add(runs, history or settings.history)


def _add(runs: list[tuple[str, Run]], location: str) -> None:
    history = open_history(location)
    try:
        for file, run in runs:
            history.append(run)
            for read in run.backends:
                for because in (*((read.because,) if read.because else ()), *read.notes):
                    say(f"nilometer: {file}: {read.name}: {because}")
            say(f"nilometer: {file}: run {run.id} with {len(run.counts)} counters")
    except (StoreError, OSError) as error:
        stop(f"the history in {location} did not take a run: {error}", Exit.UNRECORDED)
    finally:
        history.close()
