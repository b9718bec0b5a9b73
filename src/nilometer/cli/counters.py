"""`nilometer counters`: what databases, brokers and the kernel have counted."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from nilometer import clock
from nilometer.cli.collecting import backends, collected, read_document
from nilometer.cli.commands import InOrder
from nilometer.cli.counters_import import import_runs
from nilometer.cli.counters_list import list_backends
from nilometer.cli.counters_push import push
from nilometer.cli.exits import Exit
from nilometer.cli.terminal import one_line, say, show_json, stop, write
from nilometer.counters.document import DocumentError, parse
from nilometer.errors import ConfigError
from nilometer.wire.subunit import FILE_NAME, attached, attachments

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.counters.document import Document


NEEDS: Final = "subunit needs {}: pip install 'nilometer[subunit]'"


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
@click.option(
    "--delta", "since", metavar="FILE", help="How far they moved since this document."
)
@click.option("--output", metavar="FILE", help="Write the document there, too.")
@click.option("--meta-prefix", default="", metavar="TEXT", help="Kept for who sends it on.")
@click.option("--parts", is_flag=True, help="Also by statement, queue scope, process.")
@click.option(
    "--subunit",
    is_flag=False,
    flag_value=FILE_NAME,
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
        earlier = None if since is None else read_document(since, origin="--delta")
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
    try:
        stream = attached(text.encode(), wall_ns=clock.wall_ns(), file_name=file_name)
    except ModuleNotFoundError as error:
        stop(NEEDS.format(error.name), Exit.USAGE)
    sys.stdout.buffer.write(stream)
    sys.stdout.flush()


@counters.command("from-subunit")
@click.argument("file", default="-")
@click.option("--name", default=FILE_NAME, show_default=True, help="The attachment's name.")
def from_subunit(file: str, name: str) -> None:
    """Print the counters that are attached to a stream of subunit, version 2.

    One document is printed as it is, of several each on a line, in the order of the stream.
    What can be read of a damaged stream is printed, the rest told; the exit code is 4 then.

    \b
    Examples:
      nilometer counters from-subunit run.subunit
      stestr last --subunit | nilometer counters from-subunit
    """
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        stream = attachments(content, file_name=name)
    except OSError as error:
        stop(f"FILE {file}: {error.strerror or error}", Exit.USAGE)
    except ModuleNotFoundError as error:
        stop(NEEDS.format(error.name), Exit.USAGE)
    found = []
    for place, one in enumerate(stream.attachments, 1):
        try:
            value = json.loads(one.content)
            parse(value, origin=f"attachment {place} of {file}")
        except (ValueError, RecursionError) as error:
            say(f"nilometer: attachment {place} of {file}: {error}")
        else:
            found.append(value)
    for value in found:
        write(json.dumps(value, indent=1 if len(found) == 1 else None, sort_keys=True) + "\n")
    if stream.because:
        stop(f"{file}: the stream is damaged: {one_line(stream.because)}", Exit.REFUSED)
    if not found:
        stop(f"{file}: no attachment {name!r} with counters in it", Exit.NOT_FOUND)


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


for command in (push, import_runs, list_backends):
    counters.add_command(command)
