"""Traces and requests in a list: a line each, with the whole id that one goes on with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rich.table import Table

from nilometer.cli.terminal import cell
from nilometer.model.units import duration, moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Listing(NamedTuple):
    """What is listed: how long its ids are, and by which headings which keys are shown."""

    id_characters: int
    who: tuple[str, str]
    what: tuple[str, str]
    size: tuple[str, str]


TRACES: Final = Listing(32, ("service", "service"), ("root", "root"), ("spans", "spans"))
REQUESTS: Final = Listing(
    40, ("project", "project_id"), ("last", "last"), ("told", "notifications")
)


def listed(rows: Iterable[Mapping[str, Any]], kind: Listing) -> Table:
    """One line a row; ids are never cut."""
    table = Table(box=None, padding=(0, 1))
    table.add_column("id", no_wrap=True, min_width=kind.id_characters)
    for heading in ("started", kind.who[0], kind.what[0]):
        table.add_column(heading, overflow="fold")
    for heading in ("time", kind.size[0], "failed"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            cell(row["id"]),
            moment(row["started_ns"]),
            cell(row[kind.who[1]], "cyan"),
            cell(row[kind.what[1]], "bold"),
            duration(row["duration_ns"]),
            f"{row[kind.size[1]]:,}",
            cell(str(row["errors"] or ""), "red"),
        )
    return table
