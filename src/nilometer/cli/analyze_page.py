"""An answer of `nilometer analyze` as one HTML page: its chart, and its table.

The page is all there is: it has no script and asks no host for anything, and its policy has the
browser refuse both. Whatever a name says is text on it.
"""

from __future__ import annotations

from html import escape
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pyarrow as pa

from nilometer.cli.analyze_shown import asked_line, heading, written

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.analyze.question import Chart, Column
    from nilometer.cli.analyze_shown import Shown

WIDTH: Final = 960
HEIGHT: Final = 360
MARGIN: Final = 60
BAR: Final = 22
BARS_MAX: Final = 30
LINES_MAX: Final = 12
LABEL: Final = 360
LABEL_CHARS_MAX: Final = 44  # even capitals have room
TEXT_CHARS_MAX: Final = 2000  # of a cell: a statement that one can still read
COLOURS: Final = (
    "#3b6fb6", "#c2571a", "#2e8540", "#8a4fa3", "#b3932d", "#3a9aa0",
    "#a3324a", "#5c6b73", "#6d8a2a", "#d08770", "#7587c9", "#404040",
)  # fmt: skip

_HEAD: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 14px/1.5 sans-serif; margin: 1.5em }}
svg {{ max-width: 100%; font: 12px sans-serif }}
svg text {{ fill: CanvasText }}
.wide {{ overflow-x: auto }}
table {{ border-collapse: collapse }}
th, td {{ padding: 2px .8em; text-align: left; vertical-align: top; overflow-wrap: break-word }}
th {{ border-bottom: 1px solid #8888; white-space: nowrap }}
td {{ max-width: 40em }}
.n {{ text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{summary}</p>
<p>{asked}</p>
"""


class Mark(NamedTuple):
    """A value to draw: under which label, of which line, how high, and as what it is read."""

    label: str
    line: str
    value: float
    text: str


def page(shown: Shown) -> str:
    """The page."""
    question = shown.question
    head = _HEAD.format(
        title=escape(question.name),
        summary=escape(question.summary),
        asked=_safe(asked_line(shown.asked)),
    )
    parts = [head]
    if question.chart is not None and shown.rows.num_rows:
        parts.append(drawn(question.chart, shown))
    parts.append(_table(shown))
    if shown.total > shown.rows.num_rows:
        parts.append(f"<p>The first {shown.rows.num_rows:,} of {shown.total:,} rows.</p>\n")
    for kind, count in shown.skipped.items():
        parts.append(f"<p>Passed over: {count:,} {escape(kind)}.</p>\n")
    return "".join([*parts, "</body>\n</html>\n"])


def _table(shown: Shown) -> str:
    columns = shown.question.columns
    heads = "".join(
        f"<th{_look(c)} title={_quoted(c.meaning)}>{escape(heading(c))}</th>" for c in columns
    )
    rows = [
        "".join(f"<td{_look(c)}>{_safe(written(c, row[c.name]))}</td>" for c in columns)
        for row in shown.rows.to_pylist()
    ]
    body = "".join(f"<tr>{cells}</tr>\n" for cells in rows)
    return f'<div class="wide"><table>\n<tr>{heads}</tr>\n{body}</table></div>\n'


def _look(column: Column) -> str:
    return "" if pa.types.is_string(column.type) else ' class="n"'


def _quoted(text: str) -> str:
    return f'"{escape(text)}"'


def _safe(text: str) -> str:
    """The text as HTML shows it: nothing in it is a tag, nothing turns its letters round."""
    if len(text) > TEXT_CHARS_MAX:
        text = text[: TEXT_CHARS_MAX - 3] + "..."
    return escape("".join(c if c.isprintable() or c == "\n" else "?" for c in text))


# --- The chart -------------------------------------------------------------------------------


def drawn(chart: Chart, shown: Shown) -> str:
    """The chart as SVG; its rows are those of the table, its lines and bars the first ones."""
    marks = _marks(chart, shown)
    if not marks:
        return ""
    return _bars(marks) if chart.kind == "bars" else _lines(marks, chart.kind)


def _marks(chart: Chart, shown: Shown) -> list[Mark]:
    columns = {column.name: column for column in shown.question.columns}
    found = []
    for row in shown.rows.to_pylist():
        label = " ".join(_said(row[name]) for name in chart.x if row[name] not in (None, ""))
        by = " ".join(_said(row[name]) for name in chart.by if row[name] not in (None, ""))
        for name in chart.y:
            value = row[name]
            if isinstance(value, int | float) and isfinite(value):
                what = heading(columns[name]) if len(chart.y) > 1 or not by else ""
                line = f"{by} {what}".strip()
                found.append(Mark(label, line, value, written(columns[name], value)))
    return found


def _said(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _bars(marks: Sequence[Mark]) -> str:
    marks = marks[:BARS_MAX]
    top = max(abs(mark.value) for mark in marks) or 1
    height = BAR * len(marks)
    lines = list(dict.fromkeys(mark.line for mark in marks))
    parts = [_svg(WIDTH, height)]
    for at, mark in enumerate(marks):
        wide = abs(mark.value) / top * (WIDTH - LABEL - 100)
        y = BAR * at
        colour = COLOURS[lines.index(mark.line) % len(COLOURS)]
        parts.append(_text(LABEL - 8, y + 15, _cut(mark.label), "end"))
        parts.append(
            f'<rect x="{LABEL}" y="{y + 3}" width="{wide:.1f}" height="{BAR - 6}"'
            f' fill="{colour}"/>'
        )
        parts.append(_text(LABEL + wide + 6, y + 15, mark.text))
    return "\n".join([*parts, "</svg>\n"])


def _lines(marks: Sequence[Mark], kind: str) -> str:
    labels = _in_order(list(dict.fromkeys(mark.label for mark in marks)))
    place = _places(labels)
    lines = list(dict.fromkeys(mark.line for mark in marks))[:LINES_MAX]
    top = max(mark.value for mark in marks if mark.line in lines) or 1
    parts = [_svg(WIDTH, HEIGHT + 18 * len(lines))]
    highest = max(marks, key=lambda mark: mark.value)
    parts.append(_text(MARGIN, 14, f"up to {highest.text}"))
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        points = sorted(
            (
                MARGIN + place[mark.label] * (WIDTH - 2 * MARGIN),
                HEIGHT - MARGIN - max(0.0, mark.value) / top * (HEIGHT - 2 * MARGIN),
            )
            for mark in marks
            if mark.line == line
        )
        if kind == "lines":
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            parts.append(f'<polyline fill="none" stroke="{colour}" points="{path}"/>')
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in points
        ]
        parts.append(_text(MARGIN, HEIGHT + 18 * number + 12, f"● {line}", colour=colour))
    parts.append(_text(MARGIN, HEIGHT - MARGIN + 18, _cut(labels[0])))
    parts.append(_text(WIDTH - MARGIN, HEIGHT - MARGIN + 18, _cut(labels[-1]), "end"))
    return "\n".join([*parts, "</svg>\n"])


def _in_order(labels: list[str]) -> list[str]:
    """Numbers, and pairs of numbers, by their size; others as they come."""
    try:
        return sorted(labels, key=lambda label: tuple(map(float, label.split())))
    except ValueError:
        return labels


def _places(labels: Sequence[str]) -> dict[str, float]:
    """Where each stands from left (0) to right (1): numbers by their size, others in a row."""
    try:
        sizes = [float(label) for label in labels]
    except ValueError:
        sizes = [float(number) for number in range(len(labels))]
    least, wide = min(sizes), max(sizes) - min(sizes)
    places = ((size - least) / wide if wide else 0.5 for size in sizes)
    return dict(zip(labels, places, strict=True))


def _svg(width: int, height: int) -> str:
    box = f'viewBox="0 0 {width} {height}" width="{width}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box}>'


def _cut(text: str) -> str:
    return text if len(text) <= LABEL_CHARS_MAX else text[: LABEL_CHARS_MAX - 1] + "…"


def _text(x: float, y: float, text: str, anchor: str = "start", colour: str = "") -> str:
    style = f' style="fill: {colour}"' if colour else ""
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}"{style}>{_safe(text)}</text>'
