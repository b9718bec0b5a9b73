"""`nilometer gate check` and `report`: what is said of one run, and of the latest ones."""

from __future__ import annotations

import os
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import click

from nilometer.cli.collector import json_option
from nilometer.cli.commands import OneOf
from nilometer.cli.exits import Exit
from nilometer.cli.gate_past import Past, history_options
from nilometer.cli.gate_places import FROM_TOP, from_top
from nilometer.cli.terminal import Patience, cell, lines, one_line, show, show_json, stop, write
from nilometer.clock import Clock
from nilometer.gate.chosen import LAST

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from nilometer.gate.verdict import Verdict
    from nilometer.model.run import Accepted, Run

FORMATS: Final = ("text", "markdown", "junit", "sarif", "github", "bug", "json")
"""Those of `gate.reports`, so that ``--help`` need not load them; a test compares."""

REPORTED_MAX: Final = 100  # runs of one report: each is judged as if it were the latest
STYLES: Final = {"pass": "green", "warn": "yellow", "fail": "red", "unknown": "magenta"}


@click.command()
@history_options
@click.option("--run", "run_id", default=LAST, show_default=True, metavar="ID", help="Which.")
@click.option("--format", "shape", type=OneOf(FORMATS), default="text", show_default=True)
@click.option("--output", metavar="FILE", help="Write it there instead of printing it.")
@click.option("--fail", "may_fail", is_flag=True, help="Exit with 6 if it costs more.")
@click.option(
    "--only-confirmed", is_flag=True, help="Fail only once a second run has shown the same."
)
@click.option(
    "--nothing",
    "says_nothing",
    is_flag=True,
    help="Say in markdown that nothing is wrong, too.",
)
def check(
    suite: str | None,
    history: str | None,
    branches: tuple[str, ...],
    *,
    run_id: str,
    shape: str,
    output: str | None,
    may_fail: bool,
    only_confirmed: bool,
    says_nothing: bool,
) -> None:
    """Judge a run by those before it: pass, warn, fail or unknown, and why.

    All counters are judged at once. It advises from 5 earlier runs of the same tests, warns
    from 20, and fails only with --fail and from 59. markdown, github and bug are empty where
    nothing is wrong.

    \b
    Examples:
      nilometer gate check
      nilometer gate check --fail --format github
      nilometer gate check --format markdown --output comment.md
    """
    from nilometer.gate.reports import FORMATS as WRITERS
    from nilometer.gate.reports.markdown import nothing

    with Past(history, suite) as past:
        verdict = _judged(past, run_id, branches, may_fail=may_fail, confirmed=only_confirmed)
    if shape in FROM_TOP:
        verdict = from_top(verdict, Path.cwd(), os.environ)
    text = WRITERS[shape](verdict)
    if not text and says_nothing and shape == "markdown":
        text = nothing(verdict.run.suite)
    if output is None:
        write(lines(text))
    else:
        _write(output, text)
    raise SystemExit(int(Exit.FAILED if verdict.outcome.value == "fail" else Exit.OK))


def _judged(
    past: Past, run_id: str, branches: tuple[str, ...], *, may_fail: bool, confirmed: bool
) -> Verdict:
    from nilometer.gate.chosen import not_the_last, verdict_on

    chosen, verdict = verdict_on(
        lambda parts: past.choose(run_id, parts=parts, branches=branches),
        branches=branches,
        may_fail=may_fail,
        only_confirmed=confirmed,
        now_ns=Clock().wall_ns(),
    )
    missing = past.missing_after(chosen) if run_id == LAST else ""
    return not_the_last(verdict, missing) if missing else verdict


def _write(file: str, text: str) -> None:
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        stop(f"--output {file}: {error.strerror or error}", Exit.USAGE)


@click.command()
@history_options
@click.option(
    "--runs",
    default=10,
    show_default=True,
    type=click.IntRange(1, REPORTED_MAX),
    help="The latest.",
)
@json_option
def report(
    suite: str | None,
    history: str | None,
    branches: tuple[str, ...],
    *,
    runs: int,
    as_json: bool,
) -> None:
    """Judge the latest runs, each by those before it, and say what stayed and what went away.

    \b
    Examples:
      nilometer gate report
      nilometer gate report --runs 50 --json
    """
    from nilometer.gate.reports.json import document

    with Past(history, suite) as past:
        name = past.suite()
        accepted = past.accepted(name)
        verdicts = _verdicts(past.runs(name, branches=branches), accepted, branches, runs)
        if any(one.findings for one in verdicts):  # their parts are read only then
            quiet = {one.run.id: one for one in verdicts if not one.findings}
            whole = past.runs(name, parts=True, branches=branches)
            verdicts = _verdicts(whole, accepted, branches, runs, known=quiet)
    if as_json:
        show_json({"suite": name, "verdicts": [document(one) for one in verdicts]})
        return
    if not verdicts:
        stop(f"the history has no run of {name!r}", Exit.NOT_FOUND)
    _show(verdicts)
    for one in accepted:
        if not one.run_id:
            write(one_line(f"what was accepted is not known; {one.reason}") + "\n")
            continue
        which = ", ".join(one.counters) or "all counters"
        who = f" by {one.by}" if one.by else ""
        write(one_line(f"accepted{who} from run {one.run_id} on: {which}: {one.reason}") + "\n")


def _verdicts(
    found: Sequence[Run],
    accepted: Sequence[Accepted],
    branches: Collection[str],
    latest: int,
    *,
    known: Mapping[str, Verdict] = MappingProxyType({}),
) -> list[Verdict]:
    """As `verdicts_on`, telling whoever waits how far it is."""
    from nilometer.gate.chosen import verdicts_on

    number = min(latest, len(found))
    with Patience(f"judging {number} runs") as told:
        verdicts = []
        for one in verdicts_on(found, accepted, latest, branches=branches, known=known):
            verdicts.append(one)
            told.tell(f"judging {number} runs: {len(verdicts)} done")
        return verdicts


def _show(verdicts: list[Verdict]) -> None:
    from rich.table import Table

    from nilometer.gate.reports.wording import headline, standing_of

    table = Table(box=None, padding=(0, 1))
    for heading in ("run", "revision", "verdict", "moved", "because"):
        table.add_column(heading, no_wrap=heading == "run")
    for one in verdicts:
        told = standing_of(one)
        style = STYLES.get(one.outcome.value, "")
        most = headline(one.findings[0]) if one.findings else ""
        revision = one.run.revision[:12]
        table.add_row(
            cell(one.run.id or "?"),
            cell(revision),
            cell(told, style),
            cell(most, "bold"),
            cell(one.because, "dim"),
        )
    show(table)
