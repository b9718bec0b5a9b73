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
"""A reading tells of what ended in the interval before it, which is so long unless set; so long
at least, as it may have been longer before."""

UNIT_NS: Final = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
"""The units of timers whose cells lead to traces."""

WHOLE_REQUESTS: Final = frozenset({"http.server.request", "http.server.request.duration"})
"""Timers of whole requests: a span takes as long as they say, and its trace longer where others
called or work goes on. Of any other it is known that a trace takes at least so long."""

OF_REQUESTS: Final = ("http.request.method", "http.route")
"""What both the timer and the span of a request say; both together are the span's name."""

LONGEST_NS: Final = 2**53  # 104 days; a browser counts no further

APART_NS: Final = 100_000
"""A request's timer and its span begin and end some steps of the program apart: what lies at
the edge of a cell by one may lie behind it by the other."""


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


def among(told: Explored, asked: Asked) -> dict[str, str]:
    """What is known of the traces whatever the cell: of which service a span is in them, and of
    a whole request what it asked for."""
    known = {"service": told.services[0]} if len(told.services) == 1 else {}
    if asked.name not in WHOLE_REQUESTS:
        return known
    known["kind"] = "server"
    chosen = {key: asked.where[key] for key in OF_REQUESTS if asked.where.get(key)}
    if len(chosen) == len(OF_REQUESTS):
        return {**known, "name": " ".join(chosen.values())}
    for key, value in chosen.items():
        known["attribute"] = f"{key}={value}"
    return known


def traces_of(
    started_ns: int, low: float, high: float, told: Explored, asked: Asked, period_ns: int
) -> str:
    """The traces that may hold what took so long and ended in that period."""
    if not leads(told):
        return ""
    least_ns, most_ns = ends(low, high, told, asked)
    least, most = keys(asked)
    begun_ns = started_ns - looks_back_ns(told) - most_ns
    return link(
        "traces",
        **among(told, asked),
        since=_second(max(0, floor(begun_ns / NS_PER_S))),
        until=_second(ceil((started_ns + period_ns) / NS_PER_S)),
        **{least: f"{least_ns}ns", **({most: f"{most_ns}ns"} if most else {})},
    )


def looks_back_ns(told: Explored) -> int:
    """How long before a cell's time that may have ended which its readings tell of."""
    return max(INTERVAL_NS, told.interval_ns)


def leads(told: Explored) -> bool:
    """Whether the cells lead to traces: those of times do."""
    return told.unit in UNIT_NS


def keys(asked: Asked) -> tuple[str, str]:
    """What the ends of a cell are called where traces are asked for; "" is no such end."""
    return ("min_span", "max_span") if asked.name in WHOLE_REQUESTS else ("min_duration", "")


def ends(low: float, high: float, told: Explored, asked: Asked) -> tuple[int, int]:
    """The least that took as long as a cell says, and what took less, in nanoseconds."""
    size = UNIT_NS[told.unit]
    apart_ns = APART_NS if asked.name in WHOLE_REQUESTS else 0
    least = max(0, floor(min(low * size, LONGEST_NS - 1)) - apart_ns)
    return least, min(floor(min(high * size, LONGEST_NS)) + 1 + apart_ns, LONGEST_NS)


def _second(seconds: int) -> str:
    return iso_8601(seconds * NS_PER_S)[:19] + "Z"
