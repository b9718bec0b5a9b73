"""`nilometer counters push`: counters to statsd, graphite or OTLP."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import click

from nilometer import clock
from nilometer.cli.collecting import read_document
from nilometer.cli.counters_history import run_named, settings_or_stop
from nilometer.cli.exits import Exit
from nilometer.cli.terminal import one_line, say, stop
from nilometer.counters.batch import batch_of, batch_of_run
from nilometer.counters.document import DocumentError
from nilometer.errors import ConfigError
from nilometer.export.address import Address, with_token
from nilometer.export.exporter import Undelivered, open_exporter

if TYPE_CHECKING:
    from nilometer.export.exporter import Exporter
    from nilometer.model import Batch

LEFT_OUT_SHOWN: Final = 10
RUN_AND_FILE: Final = "--run takes the counters from the history, FILE from a file: choose one"


@click.command()
@click.argument("file", required=False)
@click.option(
    "--to",
    "url",
    required=True,
    metavar="URL",
    help="Where: statsd://, dogstatsd://, graphite://, graphite+pickle://, otlp://, otlps://.",
)
@click.option("--run", "run_id", metavar="ID|last", help="Push a measured run of the history.")
@click.option("--suite", metavar="NAME", help="Look for the run in this suite only.")
@click.option(
    "--history", metavar="DIR", help="Where runs are kept. [NILOMETER_HISTORY; else .nilometer]"
)
@click.option("--parts", is_flag=True, help="Also by statement, queue scope, process.")
def push(
    file: str | None,
    *,
    url: str,
    run_id: str | None,
    suite: str | None,
    history: str | None,
    parts: bool,
) -> None:
    """Send counters to statsd, graphite or an OTLP receiver.

    FILE is a document of `counters collect`, or - for standard input, which is the default. Of
    a difference goes out how far the counters moved, of a snapshot what they count since their
    server started. `docs/exporters.md` has the options of each URL.

    \b
    Examples:
      nilometer counters collect --delta before.json | nilometer counters push --to statsd://c1
      nilometer counters push --run last --parts --to graphite://c1:2003?prefix=gate
    """
    if run_id is not None and file is not None:
        stop(RUN_AND_FILE, Exit.USAGE)
    if token_file := os.environ.get("NILOMETER_TOKEN_FILE"):
        url = with_token(url, token_file)
    try:
        exporter = open_exporter(url, origin="--to")
    except ConfigError as error:
        stop(str(error), Exit.USAGE)
    if run_id is None:
        try:
            document = read_document(file or "-", origin="FILE")
        except DocumentError as error:
            stop(str(error), Exit.USAGE)
        batch, left_out = batch_of(document, wall_ns=clock.wall_ns(), parts=parts)
    else:
        location = history or settings_or_stop().history
        run = run_named(run_id, location=location, suite=suite)
        batch, left_out = batch_of_run(run, parts=parts)
    for because in left_out[:LEFT_OUT_SHOWN]:
        say(one_line(f"nilometer: left out: {because}"))
    if len(left_out) > LEFT_OUT_SHOWN:
        say(f"nilometer: and {len(left_out) - LEFT_OUT_SHOWN} more")
    if not batch.readings:
        stop("there are no counters in it", Exit.NOT_FOUND)
    _send(exporter, batch, Address.parse(url, origin="--to").shown)


def _send(exporter: Exporter, batch: Batch, shown: str) -> None:
    """Send, and say what became of it."""
    try:
        exporter(batch)
    except Undelivered as state:
        if state.left is not None:
            stop(f"{shown}: {state.because}", Exit.UNREACHABLE)
        lost = ", ".join(f"{n} {what} {why}" for (what, why), n in state.refused.items())
        stop(f"{shown}: {state.because} ({lost})", Exit.REFUSED)
    except Exception as error:  # noqa: BLE001 - somebody else's exporter may raise anything
        stop(f"{shown}: {error}", Exit.UNREACHABLE)
    finally:
        exporter.close()
    say(f"nilometer: sent {len(batch.readings)} readings to {shown}")
