"""`nilometer counters`: what databases, brokers and the kernel have counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from nilometer.cli.commands import Later
from nilometer.errors import to_install

if TYPE_CHECKING:
    from collections.abc import Callable

SUBUNIT_MISSING: Final = "subunit needs {}: " + to_install("subunit")

COMMANDS: Final = {
    "collect": "nilometer.cli.counters_collect",
    "list": "nilometer.cli.counters_list:list_backends",
    "push": "nilometer.cli.counters_push",
    "import": "nilometer.cli.counters_import:import_runs",
    "from-subunit": "nilometer.cli.counters_subunit:from_subunit",
}
"""Each command and the module that has it: reading counters should load nothing else."""


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


@click.group(cls=Later, later=COMMANDS)
def counters() -> None:
    """What databases, brokers and the kernel have counted.

    \b
    Examples:
      nilometer counters collect > before.json
      nilometer counters collect --delta before.json
      nilometer counters list
    """
