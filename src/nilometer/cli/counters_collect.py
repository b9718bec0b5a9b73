"""`nilometer counters collect`: all counters of all backends, as JSON or as subunit."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nilometer import clock
from nilometer.cli.collecting import backends, collected, read_earlier
from nilometer.cli.counters import SUBUNIT_MISSING, backend_options
from nilometer.cli.exits import Exit
from nilometer.cli.garbage import left_alone
from nilometer.cli.terminal import say, show_json, stop
from nilometer.counters.document import WENT_BACK, DocumentError
from nilometer.errors import ConfigError

if TYPE_CHECKING:
    from nilometer.counters.document import Document


@click.command()
@backend_options
@click.option(
    "--delta", "since", metavar="FILE", help="How far they moved since this document."
)
@click.option("--output", metavar="FILE", help="Write the document there, too.")
@click.option("--meta-prefix", default="", metavar="TEXT", help="Kept for who sends it on.")
@click.option("--parts", is_flag=True, help="Also by statement, queue scope, process.")
@click.option(
    "--subunit",
    is_flag=False,
    flag_value="counters.json",
    metavar="NAME",
    help="Print a subunit stream that has the document as a file of this name.",
)
def collect(
    named: tuple[str, ...],
    without: tuple[str, ...],
    *,
    since: str | None,
    output: str | None,
    meta_prefix: str,
    parts: bool,
    subunit: str | None,
) -> None:
    """Print all counters of all backends as JSON.

    A backend that cannot be read is named on standard error, and under "unread"; the others
    are printed all the same, and the exit code is 3.

    \b
    Examples:
      nilometer counters collect -b mysql -b redis://cache:6379
      nilometer counters collect --delta before.json --parts
    """
    try:
        earlier = None if since is None else read_earlier(since)
        with left_alone():
            found = collected(backends(named, without), prefix=meta_prefix, since=earlier)
    except (ConfigError, DocumentError) as error:
        stop(str(error), Exit.USAGE)
    whole = found.as_json(parts=parts)
    text = json.dumps(whole, indent=1, sort_keys=True) + "\n"
    if output is not None:
        _write(output, text)
    if subunit is None:
        show_json(whole)
    else:
        write_stream(text, subunit)
    _end(found)


def write_stream(text: str, file_name: str) -> None:
    """Print a document as an attachment."""
    from nilometer.wire.subunit import attached

    try:
        stream = attached(text.encode(), wall_ns=clock.wall_ns(), file_name=file_name)
    except ModuleNotFoundError as error:
        stop(SUBUNIT_MISSING.format(error.name), Exit.USAGE)
    sys.stdout.buffer.write(stream)
    sys.stdout.flush()


def _write(file: str, text: str) -> None:
    try:
        Path(file).write_text(text)
    except OSError as error:
        stop(f"--output {file}: {error.strerror or error}", Exit.USAGE)


def _end(found: Document) -> None:
    """Name what is missing; the exit code says whether anything is."""
    told = found.told
    missing = {**told.get("unread", {}), **told.get("invalid", {})}
    for because in told.get("unread", {}).values():
        say(f"nilometer: {because}")
    for key, because in told.get("invalid", {}).items():
        if key not in told.get("unread", {}):
            say(f"nilometer: {key} cannot be compared: {because}")
    if WENT_BACK in told:
        say(
            f"nilometer: the clock was set back by {told[WENT_BACK]:g} s or more meanwhile: "
            "how long it took is not known"
        )
    if not missing and not found.totals:
        if read := found.told.get("backends"):
            absent = ", ".join(read)
            stop(f"the document of --delta does not have {absent}", Exit.NOT_FOUND)
        stop("no backend was found here; name one with --backend", Exit.NOT_FOUND)
    if missing:
        raise SystemExit(int(Exit.UNREACHABLE))
