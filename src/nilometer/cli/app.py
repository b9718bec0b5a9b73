"""The root of the command line: every command, in the order a newcomer meets them."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import click

from nilometer.cli.commands import InOrder
from nilometer.cli.demo import demo
from nilometer.cli.doctor import doctor
from nilometer.cli.metrics import metrics
from nilometer.cli.run import run
from nilometer.cli.serve import serve
from nilometer.cli.trace import trace


def _version() -> str:
    try:
        return version("nilometer")
    except PackageNotFoundError:
        return "not installed, run from source"


@click.group(cls=InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(_version(), prog_name="nilometer")
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

    Exit codes: 0 done, 1 not found, 2 wrong flag or setting, 3 no collector answers,
    4 the collector refused, 5 `doctor` found something, 130 Ctrl-C, 141 nobody read on.
    """


for command in (demo, serve, run, trace, metrics, doctor):
    app.add_command(command)
