"""The root of the command line: every command, in the order a newcomer meets them."""

from __future__ import annotations

from typing import Final

import click

from nilometer.cli.commands import Later


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # 20 ms that few ask for

    try:
        return version("nilometer")
    except PackageNotFoundError:
        return "not installed, run from source"


def _show_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(f"nilometer, version {_version()}")
        ctx.exit()


COMMANDS: Final = {
    "demo": "nilometer.cli.demo",
    "serve": "nilometer.cli.serve",
    "run": "nilometer.cli.run",
    "patch": "nilometer.cli.patch",
    "trace": "nilometer.cli.trace",
    "requests": "nilometer.cli.requests",
    "resource": "nilometer.cli.requests",
    "timings": "nilometer.cli.requests",
    "metrics": "nilometer.cli.metrics",
    "analyze": "nilometer.cli.analyze",
    "top": "nilometer.cli.top",
    "agent": "nilometer.cli.agent",
    "counters": "nilometer.cli.counters",
    "measure": "nilometer.cli.measure",
    "gate": "nilometer.cli.gate",
    "bench": "nilometer.cli.bench",
    "doctor": "nilometer.cli.doctor",
}
"""Each command and the module that has it."""


@click.group(
    cls=Later, later=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def app() -> None:
    """Measure what happens deep inside Python services at next to nil cost.

    \b
    Examples:
      nilometer demo                                  see it work, in ten seconds
      nilometer serve                                 start a collector here
      nilometer run --export otlp://127.0.0.1:4318 -- gunicorn shop:app
                                                      measure a program as it is
      nilometer trace new --key-file trace.key        ask for one request to be traced
      nilometer metrics top                           the timers that cost most

    Exit codes: 0 done, 1 not found, 2 wrong flag or setting, 3 a collector or backend does
    not answer, 4 it refused, 5 `doctor` found something, 6 `gate check --fail` did, 7 a run
    could not be recorded, 130 Ctrl-C, 141 nobody read on.
    """
