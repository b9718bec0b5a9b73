"""`nilometer counters from-subunit`: documents out of a stream of test results."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from nilometer.cli.collecting import loads
from nilometer.cli.counters import SUBUNIT_MISSING
from nilometer.cli.exits import Exit
from nilometer.cli.terminal import one_line, say, stop, write
from nilometer.counters.document import parse
from nilometer.wire.subunit import FILE_NAME, attachments


@click.command("from-subunit")
@click.argument("file", default="-")
@click.option("--name", default=FILE_NAME, show_default=True, help="The attachment's name.")
@click.option("--last", is_flag=True, help="Of several print the last one only.")
def from_subunit(file: str, name: str, *, last: bool) -> None:
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
        stop(SUBUNIT_MISSING.format(error.name), Exit.USAGE)
    found = []
    for place, one in enumerate(stream.attachments, 1):
        try:
            value = loads(one.content)
            parse(value, origin=f"attachment {place} of {file}")
        except (ValueError, RecursionError) as error:
            say(f"nilometer: attachment {place} of {file}: {error}")
        else:
            found.append(value)
    if last:
        found = found[-1:]
    for value in found:
        write(
            json.dumps(
                value, indent=1 if len(found) == 1 else None, sort_keys=True, allow_nan=False
            )
            + "\n"
        )
    if stream.because:
        stop(f"{file}: the stream is damaged: {one_line(stream.because)}", Exit.REFUSED)
    if not found:
        stop(f"{file}: no attachment {name!r} with counters in it", Exit.NOT_FOUND)
