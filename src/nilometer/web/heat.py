"""The heat map's cells as a table, and the way from a cell to the traces in it."""

from __future__ import annotations

from math import ceil, floor
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.api.moments import iso_8601
from nilometer.model.cells import rows_of, spread
from nilometer.web.addresses import link

if TYPE_CHECKING:
    from nilometer.web.explorer import Asked, Explored

COLUMNS: Final = 16
ROWS: Final = 16
"""Of the table: what one reads, and 256 links at most."""

NS_PER_S: Final = 10**9

INTERVAL_NS: Final = 10 * NS_PER_S
"""A reading tells of what ended in the interval before it, which is so long unless set."""

WHOLE_REQUESTS: Final = frozenset({"http.server.request"})
"""Timers of whole requests: a trace takes as long as they say. A trace with any other in it
takes at least so long."""


class Row(NamedTuple):
    """Values of one size; for each column how many, and where their traces are."""

    low: float
    high: float
    held: list[tuple[int, str]]


class Table(NamedTuple):
    """By size and time how many values there were; `left_out` are those of zero or less."""

    period_ns: int
    started_ns: list[int]
    rows: list[Row]
    left_out: int


def table_of(told: Explored, asked: Asked) -> Table:
    """The cells, so few that they can be read."""
    window = asked.window
    periods = max(1, -(-window.lasts_ns // told.period_ns))
    period_ns = told.period_ns * max(1, -(-periods // COLUMNS))
    coarse = [(at - at % period_ns, held) for at, held in told.spread]
    found = spread(coarse, rows_max=ROWS)
    started = sorted({one.started_ns for one in found.cells})
    rows = []
    for (low, high), counts in rows_of(found.cells).items():
        held = []
        for at in started:
            count = counts.get(at, 0)
            place = traces_of(at, low, high, told, asked, period_ns) if count else ""
            held.append((count, place))
        rows.append(Row(low, high, held))
    return Table(period_ns, started, rows, found.left_out)


def among(told: Explored, asked: Asked) -> dict[str, str | None]:
    """What is known of the traces whatever the cell: their service and operation."""
    method, route = asked.where.get("http.request.method"), asked.where.get("http.route")
    is_known = asked.name in WHOLE_REQUESTS and method and route
    return {
        "service": told.services[0] if len(told.services) == 1 else None,
        "name": f"{method} {route}" if is_known else None,
    }


def traces_of(
    started_ns: int, low: float, high: float, told: Explored, asked: Asked, period_ns: int
) -> str:
    """The traces that may hold what took so long and ended in that period."""
    if told.unit != "ns":
        return ""
    begun_ns = started_ns - INTERVAL_NS - ceil(high)
    return link(
        "traces",
        **among(told, asked),
        since=_second(max(0, floor(begun_ns / NS_PER_S))),
        until=_second(ceil((started_ns + period_ns) / NS_PER_S)),
        min_duration=f"{floor(low)}ns",
        max_duration=f"{ceil(high)}ns" if asked.name in WHOLE_REQUESTS else None,
    )


def _second(seconds: int) -> str:
    return iso_8601(seconds * NS_PER_S)[:19] + "Z"
