"""A trace drawn for the terminal: the tree, each span's time, own time, and a bar to scale.

Where the terminal is narrow the notes go first, then the bars, then columns by what they say
least; names are cut last. Times are never cut: half a number is a wrong number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from nilometer.cli.terminal import PIPE_COLUMNS, cell, one_line
from nilometer.model.units import counted, duration, moment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BAR_CELLS: Final = 28
BAR_CELLS_MIN: Final = 10  # shorter ones say nothing
NAME_CELLS_MAX: Final = 64  # statements can be long; the whole text is in --json
NAME_CELLS_MIN: Final = 20
NOTE_CELLS_MIN: Final = 12
SERVICE_CELLS_MAX: Final = 24
GUIDE_CELLS_MAX: Final = 30  # ten levels; below that a number says how deep it is
PADDING_CELLS: Final = 2  # one on either side of each column
SPANS_MAX: Final = (
    500  # more than anybody scrolls through; --json and the other formats have all
)
EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
HEADINGS: Final = ("span", "service", "at", "time", "self", "", "")
NAME, SERVICE, AT, TIME, SELF, BAR, NOTE = range(7)

# What says most about a span, in the order people look for it.
TELLING: Final = (
    "http.route",
    "url.path",
    "http.response.status_code",
    "server.address",
    "db.query.text",
    "error.type",
)


class Row(NamedTuple):
    """One span as it is drawn."""

    texts: tuple[Text, ...]
    node: dict[str, Any]
    style: str


def draw(trace: dict[str, Any], width: int) -> Table:
    """The whole trace as a table of `width` cells; `trace` is what REST answers."""
    rows, more = [], 0
    for number, (guide, node) in enumerate(walk(trace["roots"])):
        if number == SPANS_MAX:
            more = max(trace["spans"] - SPANS_MAX, 1)
            break
        rows.append(row_of(guide, node, trace))
    room = widths(rows, width)
    table = Table(box=None, padding=(0, 1))
    for heading, cells in zip(HEADINGS, room, strict=True):
        if cells:
            right = heading in ("at", "time", "self")
            table.add_column(
                heading,
                width=cells,
                no_wrap=True,
                overflow="ellipsis",
                justify="right" if right else "left",
            )
    for row in rows:
        bars = Text(bar(row.node, trace, room[BAR]), style=row.style or "green")
        texts = (*row.texts[:BAR], bars, row.texts[NOTE - 1])
        table.add_row(*(text for text, cells in zip(texts, room, strict=True) if cells))
    if more:
        table.add_row(Text(f"... {more:,} more; see --json", "yellow"))
    return table


def widths(rows: Sequence[Row], width: int) -> list[int]:
    """So many cells for each column, 0 for none; what says least is left out first.

    Of a row's texts the bar is missing: it takes what the others leave.
    """
    wanted = [
        max((cell_len(row.texts[at].plain) for row in rows), default=0) for at in range(BAR)
    ]
    wanted = [max(len(heading), one) for heading, one in zip(HEADINGS, wanted, strict=False)]
    if width < PIPE_COLUMNS:  # where nobody looks names are whole
        wanted[NAME] = min(wanted[NAME], NAME_CELLS_MAX)
        wanted[SERVICE] = min(wanted[SERVICE], SERVICE_CELLS_MAX)
    name = max(wanted[NAME], NAME_CELLS_MIN)
    notes = max((cell_len(row.texts[NOTE - 1].plain) for row in rows), default=0)
    room = [NAME_CELLS_MIN, *wanted[SERVICE:], 0, 0]
    for column in (SELF, AT, SERVICE, TIME):
        if free(room, width) < 0:
            room[column] = 0
    if free(room, width) < 0:
        room[NAME] = max(width - PADDING_CELLS, 1)
    if free(room, width) >= BAR_CELLS_MIN + PADDING_CELLS:
        room[BAR] = BAR_CELLS_MIN
    room[NAME] += min(name - room[NAME], free(room, width)) if name > room[NAME] else 0
    if room[BAR]:
        room[BAR] += min(BAR_CELLS - BAR_CELLS_MIN, free(room, width))
    if notes and free(room, width) >= NOTE_CELLS_MIN + PADDING_CELLS:
        room[NOTE] = min(notes, free(room, width) - PADDING_CELLS)
    return room


def free(room: Sequence[int], width: int) -> int:
    """Cells that no column has yet."""
    return width - sum(cells + PADDING_CELLS for cells in room if cells)


def headline(trace: dict[str, Any]) -> Text:
    """One line that says what the trace is."""
    errors = f", {trace['errors']:,} failed" if trace["errors"] else ""
    text = (
        f"trace {trace['id']}  {moment(trace['started_ns'])}  {duration(trace['duration_ns'])}"
        f"  {counted(trace['spans'], 'span')}{errors}"
    )
    return cell(text, "bold")


def walk(nodes: list[dict[str, Any]], indent: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node below with the lines that lead to it, parents first.

    Not recursive: a hostile trace may be as deep as it has spans.
    """
    waiting = [(indent, "", node) for node in reversed(nodes)]
    while waiting:
        before, elbow, node = waiting.pop()
        yield before + elbow, node
        below = before + {"├─ ": "│  ", "└─ ": "   ", "": ""}[elbow]
        children = node["children"]
        for child in reversed(children):
            waiting.append((below, "└─ " if child is children[-1] else "├─ ", child))


def row_of(guide: str, node: dict[str, Any], trace: dict[str, Any]) -> Row:
    """One row; a failed span is red and says what went wrong."""
    style = "red" if node["status"] == "error" else ""
    if len(guide) > GUIDE_CELLS_MAX:
        guide = f"{len(guide) // 3:>5} deep {guide[-3:]}"
    name = Text.assemble((guide, "dim"), (one_line(node["name"]), style or "bold"))
    if node["orphan"]:
        name.append(" (parent missing)", style="yellow")
    texts = (
        name,
        cell(node["service"], "cyan"),
        Text(duration(node["started_ns"] - trace["started_ns"])),
        Text(duration(node["duration_ns"]), style=style),
        Text(duration(node["self_ns"]), style="dim"),
        Text(note(node), style=style or "dim"),
    )
    return Row(texts, node, style)


def bar(node: dict[str, Any], trace: dict[str, Any], cells: int = BAR_CELLS) -> str:
    """The span's place in the trace, to an eighth of a cell; never invisible.

    >>> bar({"started_ns": 50, "duration_ns": 25}, {"started_ns": 0, "duration_ns": 100})
    '              ███████'
    """
    if not cells:
        return ""
    whole: int = max(trace["duration_ns"], 1)
    start: int = (node["started_ns"] - trace["started_ns"]) * cells * 8 // whole
    start = min(max(start, 0), cells * 8 - 1)
    length: int = max(node["duration_ns"] * cells * 8 // whole, 1)
    length = min(length, cells * 8 - start)
    # A cell is filled from its left: the start is to the cell, the length to an eighth.
    full, rest = divmod(length, 8)
    return " " * (start // 8) + "█" * full + (EIGHTHS[rest] if rest else "")


def note(node: dict[str, Any]) -> str:
    """What went wrong, or the attributes that tell most and do not stand in the name."""
    attributes = node["attributes"]
    said = [str(attributes[key]) for key in TELLING if key in attributes]
    said = [text for text in said if text not in node["name"]]
    if node["status_message"]:
        said.append(node["status_message"])
    return one_line(" ".join(said))
