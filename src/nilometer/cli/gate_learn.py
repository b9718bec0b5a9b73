"""`nilometer gate learn`: what the history says of each counter, the best predictors first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from nilometer.cli.collector import json_option
from nilometer.cli.exits import Exit
from nilometer.cli.gate_past import Past, history_options
from nilometer.cli.terminal import cell, one_line, show, show_json, stop, write

if TYPE_CHECKING:
    from nilometer.gate.rank import Predictor


@click.command()
@history_options
@click.option("--all", "everything", is_flag=True, help="Also those that take no part.")
@json_option
def learn(
    suite: str | None,
    history: str | None,
    branches: tuple[str, ...],
    *,
    everything: bool,
    as_json: bool,
) -> None:
    """Show what the history says of each counter: its class, its bound, what it can show.

    Nothing is stored: bounds follow from the history, and `check` learns them anew each time.
    Ranked by stability, by how often a counter moved with changes that were accepted, and by
    the smallest change that 95 % of single runs show.

    \b
    Examples:
      nilometer gate learn
      nilometer gate learn --all --json
    """
    from nilometer.gate.rank import learn as learned_of
    from nilometer.gate.reports.json import learned_document

    with Past(history, suite) as past:
        name = past.suite()
        accepted = past.accepted(name)
        learned = learned_of(past.runs(name, branches=branches), accepted, branches=branches)
    if learned is None:
        stop(f"the history has no run of {name!r} that can be used", Exit.NOT_FOUND)
    if as_json:
        show_json(learned_document(learned))
        return
    shown = [
        one
        for one in learned.predictors
        if everything or one.standing.is_admitted or one.is_creeping
    ]
    if shown:
        show(_table(shown))
    rest = len(learned.predictors) - len(shown)
    more = f"; {rest} others take no part, --all shows them" if rest else ""
    write(one_line(f"{len(shown)} counters of {learned.runs} runs of {name}{more}") + "\n")
    for one in accepted:
        if not one.run_id:
            write(one_line(f"what was accepted is not known; {one.reason}") + "\n")
    if learned.left_out:
        write(f"{len(learned.left_out)} runs are left out; `check` says why\n")


def _table(shown: list[Predictor]) -> Any:
    from rich.table import Table

    from nilometer.gate.reports.wording import number

    table = Table(box=None, padding=(0, 1))
    for heading in ("counter", "class", "median", "bound", "can show", "moved", "because"):
        left = heading in {"counter", "class", "because"}
        table.add_column(heading, justify="left" if left else "right")
    for one in shown:
        known = one.standing
        share = "" if one.share is None else f" ({one.share:.1%})"
        table.add_row(
            cell(str(one.key), "bold"),
            cell(known.stability.value + (" so far" if known.is_provisional else "")),
            cell(number(known.median)),
            cell("-" if one.bound is None else number(round(one.bound.upper, 3))),
            cell("-" if one.smallest is None else f"{one.smallest:,.3g}{share}"),
            cell(f"{one.moved} of {one.accepted}" if one.accepted else "-"),
            cell(known.because, "dim"),
        )
    return table
