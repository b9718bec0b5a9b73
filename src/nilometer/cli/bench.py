"""`nilometer bench`: put load on a service, and see what becomes of it."""

from __future__ import annotations

from typing import Final

import click

from nilometer.cli.commands import Later

COMMANDS: Final = {"persister": "nilometer.cli.bench_persister"}


@click.group(cls=Later, later=COMMANDS)
def bench() -> None:
    """Put load on a service, and see what becomes of it.

    \b
    Example:
      nilometer bench persister --at http://127.0.0.1:8091 --brokers 127.0.0.1:9092
    """
