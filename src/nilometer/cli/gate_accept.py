"""`nilometer gate accept`: take a change for granted, and say why."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

import click

from nilometer.cli.exits import Exit
from nilometer.cli.gate_past import Past, history_options
from nilometer.cli.terminal import one_line, stop, write
from nilometer.clock import Clock
from nilometer.gate.chosen import LAST

if TYPE_CHECKING:
    from nilometer.gate.accepting import UnacceptableError


@click.command()
@history_options
@click.option("--run", "run_id", default=LAST, show_default=True, metavar="ID", help="Which.")
@click.option(
    "--counter",
    "counters",
    multiple=True,
    metavar="BACKEND:COUNTER",
    help="Only this one. Repeatable. [default: those that the verdict on the run names]",
)
@click.option(
    "--all", "everything", is_flag=True, help="All counters, whether they moved or not."
)
@click.option("--reason", required=True, metavar="TEXT", help="Why; told with later reports.")
@click.option("--by", metavar="NAME", help="Who. [default: the user who runs this]")
def accept(
    suite: str | None,
    history: str | None,
    branches: tuple[str, ...],
    *,
    run_id: str,
    counters: tuple[str, ...],
    everything: bool,
    reason: str,
    by: str | None,
) -> None:
    """Take a change for granted: from this run on its counters have a new level.

    What came before still says how much they vary, so the gate is not blind meanwhile.

    \b
    Examples:
      nilometer gate accept --reason "the audit log writes one row more"
      nilometer gate accept --counter mysql:Com_select --reason "cache removed"
    """
    from nilometer.gate.accepting import UnacceptableError, acceptance

    if not reason.strip():  # before a history is opened
        stop("--reason: say why, so that others can follow", Exit.USAGE)
    with Past(history, suite) as past:
        chosen = past.choose(run_id, branches=branches)
        try:
            accepted = acceptance(
                chosen,
                counters,
                everything=everything,
                reason=reason,
                by=by if by is not None else os.environ.get("USER", ""),
                at_ns=Clock().wall_ns(),
                branches=branches,
            )
        except UnacceptableError as error:
            _refuse(error)
        past.accept(accepted)
    which = ", ".join(accepted.counters) or "all counters"
    write(one_line(f"accepted from run {accepted.run_id} on: {which}") + "\n")


def _refuse(error: UnacceptableError) -> NoReturn:
    """In terms of the flags."""
    if error.is_missing:
        stop(f"{error}; name it with --counter, or say --all", Exit.NOT_FOUND)
    if error.parameter == "all":
        stop(f"--all {error}", Exit.USAGE)
    value = f" {error.value}" if error.parameter == "counter" else ""
    stop(f"--{error.parameter}{value}: {error}", Exit.USAGE)
