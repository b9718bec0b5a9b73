"""The folder of values that `top` and `agent` are given, checked as a service checks it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nilometer.cli.exits import Exit
from nilometer.cli.terminal import stop
from nilometer.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


arena_option = click.option(
    "--arena",
    metavar="DIR",
    envvar="NILOMETER_ARENA",
    help="Where services keep their values. [NILOMETER_ARENA]",
)
"""What every command on such a folder has."""


def processes(number: int) -> str:
    """So many processes.

    >>> processes(1), processes(0)
    ('1 process', '0 processes')
    """
    return f"{number:,} process{'' if number == 1 else 'es'}"


def folder_of(arena: str | None) -> Path:
    """The folder, made if it is missing. Ends the command where it cannot be used."""
    if not arena:
        stop("--arena: which folder? or set NILOMETER_ARENA [no-arena]", Exit.USAGE)
    from nilometer.measure.catalogue import checked_folder

    try:
        return checked_folder(arena, "--arena")
    except ConfigError as error:
        stop(str(error), Exit.USAGE)
