"""`nilometer gate accept`: take a change for granted, and say why."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import click

from nilometer.cli.exits import Exit
from nilometer.cli.gate_past import LAST, NAMED_MAX, Past, history_options
from nilometer.cli.terminal import one_line, stop, write
from nilometer.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Collection

    from nilometer.cli.gate_past import Chosen

NEAR_MAX: Final = 3  # names that may be meant, as many as a sentence bears


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
    from nilometer.model.run import Accepted

    if not reason.strip():
        stop("--reason: say why, so that others can follow", Exit.USAGE)
    if counters and everything:
        stop("--all and --counter: one of them", Exit.USAGE)
    with Past(history, suite) as past:
        chosen = past.choose(run_id, branches=branches)
        if counters:
            _check(counters, chosen)
        elif not everything:
            counters = _moved(chosen, branches)
        who = by if by is not None else os.environ.get("USER", "")
        run, now_ns = chosen.run, Clock().wall_ns()
        past.accept(Accepted(run.suite, run.id, now_ns, reason.strip(), who, counters))
    which = ", ".join(counters) or "all counters"
    write(one_line(f"accepted from run {run.id} on: {which}") + "\n")


def _check(counters: tuple[str, ...], chosen: Chosen) -> None:
    """That the run, or one before it, has these; one that moves no more is in those only."""
    known = {
        f"{count.backend}:{count.counter}"
        for run in (*chosen.earlier, chosen.run)
        for count in run.counts
    }
    for name in counters:
        if name not in known:
            stop(f"--counter {name}: there is none{_near(name, known)}", Exit.USAGE)


def _near(name: str, known: Collection[str]) -> str:
    """Those that may be meant; else a few of them, and where all are."""
    from difflib import get_close_matches

    if near := get_close_matches(name, sorted(known), n=NEAR_MAX):
        return f"; did you mean {' or '.join(near)}?"
    some = ", ".join(sorted(known)[:NAMED_MAX])
    more = f" and {len(known) - NAMED_MAX} more" if len(known) > NAMED_MAX else ""
    return f"; `nilometer gate learn` shows them: {some}{more}"


def _moved(chosen: Chosen, branches: tuple[str, ...]) -> tuple[str, ...]:
    """The counters that the verdict on the run names."""
    from nilometer.gate.verdict import judge

    verdict = judge(chosen.run, chosen.earlier, chosen.accepted, branches=branches)
    found = tuple(str(one.key) for one in (*verdict.findings, *verdict.improved))
    if not found:
        stop(
            f"nothing moved in run {chosen.run.id} ({verdict.because}); "
            "name it with --counter, or say --all",
            Exit.NOT_FOUND,
        )
    return found
