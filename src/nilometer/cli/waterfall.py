"""A trace drawn for the terminal: the tree, each span's time, own time, and a bar to scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from nilometer.cli.units import duration, moment

if TYPE_CHECKING:
    from collections.abc import Iterator

BAR_CELLS = 28
NAME_CELLS_MAX = 64  # statements can be long; the whole text is in --json
SPANS_MAX = 500  # more than anybody scrolls through; --json and the other formats have all
EIGHTHS = " ▏▎▍▌▋▊▉█"

# What says most about a span, in the order people look for it.
TELLING = (
    "http.route",
    "url.path",
    "http.response.status_code",
    "server.address",
    "error.type",
)


def draw(trace: dict[str, Any]) -> Table:
    """The whole trace as a table; `trace` is what REST answers at ``/traces/ID``."""
    table = Table(box=None, padding=(0, 1), title=headline(trace), title_justify="left")
    table.add_column("span", no_wrap=True, overflow="ellipsis", max_width=NAME_CELLS_MAX)
    table.add_column("service", style="cyan", no_wrap=True)
    table.add_column("at", justify="right", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("self", justify="right", no_wrap=True, style="dim")
    table.add_column("", no_wrap=True)
    table.add_column("", no_wrap=True, overflow="ellipsis", style="dim")
    for number, (guide, node) in enumerate(walk(trace["roots"])):
        if number == SPANS_MAX:
            table.add_row(Text(f"... {trace['spans'] - SPANS_MAX} more; see --json", "yellow"))
            break
        table.add_row(*cells(guide, node, trace))
    return table


def headline(trace: dict[str, Any]) -> Text:
    """One line that says what the trace is."""
    errors = f", {trace['errors']} failed" if trace["errors"] else ""
    text = (
        f"trace {trace['id']}  {moment(trace['started_ns'])}  {duration(trace['duration_ns'])}"
    )
    return Text(f"{text}  {trace['spans']} spans{errors}", style="bold")


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


def cells(guide: str, node: dict[str, Any], trace: dict[str, Any]) -> tuple[Text, ...]:
    """One row; a failed span is red and says what went wrong."""
    failed = node["status"] == "error"
    style = "red" if failed else ""
    name = Text.assemble((guide, "dim"), (node["name"], style or "bold"))
    if node.get("orphan"):
        name.append(" (parent missing)", style="yellow")
    return (
        name,
        Text(node["service"]),
        Text(duration(node["started_ns"] - trace["started_ns"])),
        Text(duration(node["duration_ns"]), style=style),
        Text(duration(node["self_ns"])),
        Text(bar(node, trace), style=style or "green"),
        Text(note(node), style=style),
    )


def bar(node: dict[str, Any], trace: dict[str, Any]) -> str:
    """The span's place in the trace, to an eighth of a cell; never invisible.

    >>> bar({"started_ns": 50, "duration_ns": 25}, {"started_ns": 0, "duration_ns": 100})
    '              ███████'
    """
    whole: int = max(trace["duration_ns"], 1)
    start: int = (node["started_ns"] - trace["started_ns"]) * BAR_CELLS * 8 // whole
    start = min(max(start, 0), BAR_CELLS * 8 - 1)
    length: int = max(node["duration_ns"] * BAR_CELLS * 8 // whole, 1)
    length = min(length, BAR_CELLS * 8 - start)
    # A cell is filled from its left: the start is to the cell, the length to an eighth.
    full, rest = divmod(length, 8)
    return " " * (start // 8) + "█" * full + (EIGHTHS[rest] if rest else "")


def note(node: dict[str, Any]) -> str:
    """What went wrong, or the attributes that tell most."""
    attributes = node["attributes"]
    said = [str(attributes[key]) for key in TELLING if key in attributes]
    if node["status_message"]:
        said.append(node["status_message"])
    return one_line(" ".join(said))


def one_line(text: str) -> str:
    """Text from outside, made safe for a terminal: no line breaks, no control characters."""
    return "".join(c if c.isprintable() else "·" for c in text)
