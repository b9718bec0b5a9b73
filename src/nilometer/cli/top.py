"""`nilometer top`: the live instruments of every process on this host, read beside them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import click

from nilometer.cli.arena_folder import arena_option, folder_of, processes
from nilometer.cli.collector import json_option
from nilometer.cli.commands import OneOf
from nilometer.cli.exits import Exit
from nilometer.cli.terminal import cell, console, plain, say, show, show_json, stop
from nilometer.cli.top_rows import ORDERS, QUANTILES, Looks, Row, as_json
from nilometer.clock import Clock
from nilometer.errors import ConfigError
from nilometer.model.units import counted, quantity

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rich.console import RenderableType

    from nilometer.measure.living import Living

EVERY_S_MIN: Final = 0.1
ROWS_BESIDE: Final = 4  # of a terminal: heading, footing, a line of its own


@click.command()
@arena_option
@click.option("--once", is_flag=True, help="Look once, and end.")
@click.option("--every", default="2s", show_default=True, help="How often it looks.")
@click.option(
    "--sort",
    type=OneOf(list(ORDERS)),
    default="time",
    show_default=True,
    help="What comes first: where most time goes, the highest rate, or by name or process.",
)
@click.option("--prefix", default="", help="Only names that begin so.")
@click.option("--service", default="", help="Only this service's processes.")
@click.option("--limit", type=click.IntRange(1), help="At most so many rows.")
@json_option
def top(
    arena: str | None,
    every: str,
    sort: str,
    prefix: str,
    service: str,
    limit: int | None,
    *,
    once: bool,
    as_json: bool,
) -> None:
    """Show what every process of this user and host measures just now.

    Reads the files that services keep with NILOMETER_ARENA; no process is asked, or stopped.
    Values are those since a process last sent any: `over` tells how long that is. A process
    that was killed is marked with a dagger until its values are collected. --json looks once.

    \b
    Examples:
      nilometer top --arena /run/user/1000/nilometer
      nilometer top --once --sort rate --limit 20
      nilometer top --json --prefix http.
    """
    folder = folder_of(arena)
    looks = Looks()

    def look() -> tuple[list[Living], list[Row]]:
        found = seen(folder)
        rows = looks.rows(found, Clock().wall_ns())
        rows = [
            row for row in rows if row.name.startswith(prefix) and service in ("", row.service)
        ]
        return found, sorted(rows, key=ORDERS[sort])

    if as_json:
        found, rows = look()
        show_json(answer(found, rows[:limit]))
    elif once:
        found, rows = look()
        tell_unreadable(found)
        if not rows:
            stop(f"{folder}: nothing is measured there just now", Exit.NOT_FOUND)
        show(table(rows[:limit]))
    else:
        watch(look, interval_s(every), limit)


def interval_s(every: str) -> float:
    """What --every says. Ends the command where it says nothing."""
    from nilometer.config import parse_duration_s

    try:
        return max(EVERY_S_MIN, parse_duration_s(every, origin="--every"))
    except ConfigError as error:
        stop(str(error), Exit.USAGE)


def seen(folder: Path) -> list[Living]:
    """The files of a folder. Ends the command where it cannot be read."""
    from nilometer.measure.living import living

    try:
        return living(folder)
    except OSError as error:
        stop(f"--arena: {folder}: {error.strerror}", Exit.USAGE)


def tell_unreadable(found: list[Living]) -> None:
    """Say which files tell nothing, beside the output."""
    for one in found:
        if one.because:
            say(f"{one.path}: {one.because}")


def answer(found: list[Living], rows: list[Row]) -> dict[str, Any]:
    """All of one look, for programs."""
    return {
        "series": [as_json(row) for row in rows],
        "unreadable": [
            {"file": str(one.path), "because": one.because} for one in found if one.because
        ],
    }


def watch(
    look: Callable[[], tuple[list[Living], list[Row]]], every_s: float, limit: int | None
) -> None:
    """Look again and again, until Ctrl-C; without a screen one table after another."""
    from rich.live import Live

    screen = console()
    while not screen.is_terminal:
        found, rows = look()
        show(page(found, rows, rows[:limit]))
        time.sleep(every_s)
    with Live(console=screen, screen=True, auto_refresh=False) as live:
        while True:
            found, rows = look()
            fitting = max(1, screen.height - ROWS_BESIDE)
            shown = rows[: min(limit or fitting, fitting)]
            live.update(page(found, rows, shown), refresh=True)
            time.sleep(every_s)


def page(found: list[Living], rows: list[Row], shown: list[Row]) -> RenderableType:
    """The table with a line on all that there is."""
    from rich.console import Group

    living = processes(sum(one.lives for one in found))
    unreadable = sum(bool(one.because) for one in found)
    line = f"{living}, {len(shown)} of {len(rows)} series"
    line += f", {counted(unreadable, 'file')} not readable" if unreadable else ""
    return Group(table(shown), plain(line, "dim"))


def table(rows: list[Row]) -> RenderableType:
    """One row for each series."""
    from rich.table import Table

    made = Table(box=None, padding=(0, 1))
    made.add_column("process", no_wrap=True)
    made.add_column("series", overflow="fold")
    quantiles = [f"p{100 * q:g}" for q in QUANTILES]
    for heading in ("value", "per s", "average", *quantiles, "max", "over"):
        made.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        pairs = " ".join(f"{key}={value}" for key, value in row.dimensions.items())
        ended = "" if row.lives else " †"
        times = (row.average, *row.quantiles, row.maximum)
        value = row.samples if row.value is None else row.value
        made.add_row(
            cell(f"{row.service} {row.pid}{ended}", "" if row.lives else "red"),
            cell(f"{row.name} {pairs}".strip(), "cyan"),
            quantity(value, "1" if row.kind == "timer" else row.unit),
            "-" if row.rate is None else f"{row.rate:,.1f}",
            *(quantity(each, row.unit) for each in times),
            f"{row.seconds:.1f} s",
        )
    return made
