"""`nilometer counters`: what databases, brokers and the kernel have counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nilometer.cli.collecting import backends, collected, read_document
from nilometer.cli.commands import InOrder
from nilometer.cli.exits import Exit
from nilometer.cli.terminal import say, show_json, stop
from nilometer.counters.document import DocumentError
from nilometer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.counters.document import Document


def backend_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags of every command that reads backends."""
    command = click.option(
        "--without", multiple=True, metavar="NAME", help="Leave this backend out. Repeatable."
    )(command)
    return click.option(
        "--backend",
        "-b",
        "named",
        multiple=True,
        metavar="NAME|URL",
        help="Read this one; a bare name is looked for. Repeatable. "
        "[default: those of the settings, else all that are found]",
    )(command)


@click.group(cls=InOrder)
def counters() -> None:
    """What databases, brokers and the kernel have counted.

    \b
    Examples:
      nilometer counters collect > before.json
      nilometer counters collect --delta before.json
      nilometer counters list
    """


@counters.command()
@backend_options
@click.option("--delta", "since", metavar="FILE", help="How far they moved since this document.")
@click.option("--output", metavar="FILE", help="Write the document there, too.")
@click.option("--meta-prefix", default="", metavar="TEXT", help="Kept for who sends it on.")
@click.option("--parts", is_flag=True, help="Also by statement, queue scope, process.")
def collect(
    named: tuple[str, ...],
    without: tuple[str, ...],
    *,
    since: str | None,
    output: str | None,
    meta_prefix: str,
    parts: bool,
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
        earlier = None if since is None else read_document(since, origin="--delta")
        found = collected(backends(named, without), prefix=meta_prefix, since=earlier)
    except (ConfigError, DocumentError) as error:
        stop(str(error), Exit.USAGE)
    whole = found.as_json(parts=parts)
    if output is not None:
        _write(output, json.dumps(whole, indent=1, sort_keys=True) + "\n")
    show_json(whole)
    _end(found)


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
    if not missing and not found.totals:
        stop("no backend was found here; name one with --backend", Exit.NOT_FOUND)
    if missing:
        raise SystemExit(int(Exit.UNREACHABLE))
