"""Charts by Bokeh, as JSON that its library in the browser draws; nothing here reads tables.

Texts that senders chose stand in columns and in plain texts only, never in what Bokeh would
take for mathematics or markup. Bokeh is loaded when the first chart is drawn: half a second.
"""

from __future__ import annotations

from math import isfinite, nan
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.model.units import quantity
from nilometer.web import heat
from nilometer.web.panels import Panel, panels, scaled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nilometer.web.explorer import Asked, Explored
    from nilometer.web.panels import Line

NS_PER_MS: Final = 10**6
HEIGHT: Final = 260
HEIGHT_OVERVIEW: Final = 78
LEGEND_COLUMNS: Final = 4
LEGEND_ROW: Final = 22  # dots, by which a figure grows, so that its lines keep their room
DASHES: Final = ("solid", "dashed", "dotted", "dotdash", "dashdot")
MARKERS: Final = ("circle", "square", "triangle", "diamond", "cross")
TIMES: Final = ("@at", "@left")  # the columns that hold some
SHADES: Final = 32  # of the heat map; more cannot be told apart


class Colours(NamedTuple):
    """What charts are drawn with: the same as in the style sheet."""

    paper: str
    ink: str
    muted: str
    line: str
    bars: tuple[str, ...]
    few: str
    many: str


COLOURS: Final = {
    "light": Colours(
        "#ffffff",
        "#17212b",
        "#55626f",
        "#c9d1d9",
        ("#2f7fb0", "#b0641f", "#4d8b3d", "#8a5bb5", "#b04a68", "#5f7a86"),
        "#cfe3ef",
        "#06344a",
    ),
    "dark": Colours(
        "#12181e",
        "#e3e9ee",
        "#9dabb8",
        "#3a4753",
        ("#4c9fd4", "#d98a45", "#74b563", "#ae83d6", "#d6748f", "#87a3b0"),
        "#21394a",
        "#bfe9ff",
    ),
}
"""By theme."""


class Look(NamedTuple):
    """How it is drawn: which theme, whether the page is as narrow as a telephone, and whether a
    finger is what points at it."""

    theme: str
    narrow: bool
    touched: bool = False

    @property
    def colours(self) -> Colours:
        """Those of the theme."""
        return COLOURS[self.theme]


class Figures(NamedTuple):
    """What is drawn, as columns by the name of their source; where the columns of one answer
    fit into the charts of another, the `fit` of both is the same. `heat_axis` says what the
    heat map's sizes are in."""

    columns: dict[str, dict[str, list[Any]]]
    panels: list[Panel]
    heat_axis: str
    since_ms: float
    until_ms: float
    fit: str


def figures(told: Explored, asked: Asked) -> Figures:
    """The columns of all charts."""
    found = panels(told)
    columns = {
        f"line-{at}-{number}": _line_columns(line, panel)
        for at, panel in enumerate(found)
        for number, line in enumerate(panel.lines)
    }
    if told.spread:
        columns["cells"] = _cell_columns(told, asked)
    labels = [(p.title, _axis(p), [line.label for line in p.lines]) for p in found]
    window = asked.window
    _, word = _cell_axis(told)
    return Figures(
        columns,
        found,
        f"{'duration' if told.unit == 'ns' else 'values'} ({word})" if word else "values",
        window.since_ns / NS_PER_MS,
        window.ended_ns / NS_PER_MS,
        repr((labels, _cell_axis(told), told.period_ns)),
    )


def _axis(panel: Panel) -> tuple[float, str]:
    greatest = (abs(v) for line in panel.lines for _, v in line.points if v is not None)
    return scaled(panel.unit, max(greatest, default=0))


def _line_columns(line: Line, panel: Panel) -> dict[str, list[Any]]:
    size, _ = _axis(panel)
    values = [nan if value is None else value / size for _, value in line.points]
    return {
        "at": [at / NS_PER_MS for at, _ in line.points],
        "value": values,
        "text": [quantity(value, panel.unit) for _, value in line.points],
        "label": [line.label] * len(values),
    }


def _cell_axis(told: Explored) -> tuple[float, str]:
    """By the middle of what there is: on an axis of logarithms the ends are far away."""
    sizes = sorted(one.high for one in told.cells.cells)
    return scaled(told.unit, sizes[len(sizes) // 2] if sizes else 0)


def _cell_columns(told: Explored, asked: Asked) -> dict[str, list[Any]]:
    """With `low` and `high`, in nanoseconds, where a cell leads to traces."""
    cells = told.cells.cells
    size, _ = _cell_axis(told)
    leads = heat.leads(told)
    words = {
        key: f"{quantity(key[0], told.unit)} to {quantity(key[1], told.unit)}"
        for key in {(one.low, one.high) for one in cells}
    }
    ends = [one.started_ns + told.period_ns for one in cells]
    places = [heat.ends(one.low, one.high, told, asked) for one in cells] if leads else []
    ways = {"low": [low for low, _ in places], "high": [high for _, high in places]}
    return {
        "left": [one.started_ns / NS_PER_MS for one in cells],
        "right": [end / NS_PER_MS for end in ends],
        "bottom": [(one.low or one.high / 2) / size for one in cells],
        "top": [one.high / size for one in cells],
        "count": [one.values for one in cells],
        "text": [words[one.low, one.high] for one in cells],
        **(ways if leads else {}),
    }


def plain(drawn: Figures) -> dict[str, Any]:
    """The columns alone, to renew charts that are drawn; what is no number is None."""
    return {
        "columns": {name: _finite(columns) for name, columns in drawn.columns.items()},
        "since_ms": drawn.since_ms,
        "until_ms": drawn.until_ms,
        "fit": drawn.fit,
    }


def _finite(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {
        key: [None if isinstance(v, float) and not isfinite(v) else v for v in values]
        for key, values in columns.items()
    }


# --- Drawn by Bokeh ---------------------------------------------------------------------------


def item(drawn: Figures, look: Look) -> dict[str, Any]:
    """All charts as one item, whose range of time they share; named `time`."""
    from bokeh.embed import json_item
    from bokeh.layouts import column
    from bokeh.models import Range1d
    from bokeh.themes import Theme

    time = Range1d(start=drawn.since_ms, end=drawn.until_ms, name="time", bounds=None)
    made = [_lines(panel, at, drawn, time, look) for at, panel in enumerate(drawn.panels)]
    if "cells" in drawn.columns:
        made.append(_heat(drawn, time, look))
    if drawn.panels:
        made.append(_overview(drawn, time, look))
    theme = Theme(json={"attrs": _theme(look.colours)})
    layout = column(*made, sizing_mode="stretch_width")
    return dict(json_item(layout, theme=theme))


def _theme(colours: Colours) -> dict[str, dict[str, Any]]:
    axis = {
        "axis_line_color": colours.muted,
        "major_tick_line_color": colours.muted,
        "minor_tick_line_color": None,
        "major_label_text_color": colours.ink,
        "axis_label_text_color": colours.muted,
        "axis_label_text_font_style": "normal",
    }
    return {
        "figure": {
            # Not transparent: what was drawn before would stay where nothing is drawn now.
            "background_fill_color": colours.paper,
            "border_fill_color": colours.paper,
            "outline_line_color": colours.line,
        },
        "Grid": {"grid_line_color": colours.line, "grid_line_alpha": 0.7},
        "Axis": axis,
        "Title": {"text_color": colours.muted, "text_font_style": "normal"},
        "Legend": {
            "background_fill_alpha": 0,
            "border_line_alpha": 0,
            "label_text_color": colours.ink,
            "padding": 0,
            "margin": 4,
        },
        "ColorBar": {
            "background_fill_alpha": 0,
            "major_label_text_color": colours.ink,
            "title_text_color": colours.muted,
        },
    }


def _figure(time: Any, look: Look, height: int, tools: Sequence[Any], **more: Any) -> Any:
    from bokeh.plotting import figure

    made = figure(
        height=height,
        sizing_mode="stretch_width",
        x_axis_type="datetime",
        x_range=time,
        tools=list(tools),
        min_border_left=10 if look.narrow else 64,  # so that axes stand under each other
        **more,
    )
    made.toolbar.logo = None
    made.toolbar_location = "above"
    if tools:  # a finger that scrolls draws no box, unless that is chosen above the chart
        made.toolbar.active_drag = None if look.narrow or look.touched else tools[0]
    return made


def _tools(tooltips: Sequence[tuple[str, str]]) -> list[Any]:
    from bokeh.models import (
        BoxZoomTool,
        HoverTool,
        PanTool,
        ResetTool,
        ZoomInTool,
        ZoomOutTool,
    )

    return [
        BoxZoomTool(dimensions="width"),
        PanTool(dimensions="width"),
        ZoomInTool(dimensions="width"),
        ZoomOutTool(dimensions="width"),
        ResetTool(),
        HoverTool(tooltips=list(tooltips), formatters=dict.fromkeys(TIMES, "datetime")),
    ]


def _labelled(made: Any, words: str, look: Look) -> None:
    """A y axis that says what it shows; plain, as a unit may be any text of a sender's."""
    from bokeh.models import PlainText

    if not look.narrow:
        made.yaxis.axis_label = PlainText(text=words)


def _lines(panel: Panel, at: int, drawn: Figures, time: Any, look: Look) -> Any:
    from bokeh.models import ColumnDataSource
    from bokeh.models.annotations import Legend, LegendItem

    tooltips = (("", "@label"), ("from", "@at{%F %T}"), ("", "@text"))
    columns = 1 if look.narrow else LEGEND_COLUMNS
    legend_rows = -(-len(panel.lines) // columns)
    made = _figure(time, look, HEIGHT + LEGEND_ROW * legend_rows, _tools(tooltips))
    _, word = _axis(panel)
    _labelled(made, f"{panel.title} ({word})" if word else panel.title, look)
    items = []
    bars = look.colours.bars
    styles = sorted({line.style for line in panel.lines})
    several = len({line.colour for line in panel.lines}) > 1
    for number, line in enumerate(panel.lines):
        name = f"line-{at}-{number}"
        source = ColumnDataSource(drawn.columns[name], name=name)
        style = styles.index(line.style)
        # The colours come again after the last; then the marks are others.
        mark = (style + line.colour // len(bars) * len(styles)) if several else 0
        told = {
            "line_color": bars[(line.colour if several else style) % len(bars)],
            "line_dash": DASHES[mark % len(DASHES)],
            "line_width": 1.2 if line.is_earlier else 2,
            "line_alpha": 0.55 if line.is_earlier else 1,
        }
        rendered = [made.line("at", "value", source=source, **told)]
        if len(line.points) < 40:  # alone, a point makes no line
            dots = {"color": told["line_color"], "alpha": told["line_alpha"], "size": 4}
            # A legend's line is short, and its mark large: by it statistics are told apart.
            dots["marker"] = MARKERS[mark % len(MARKERS)]
            rendered.append(made.scatter("at", "value", source=source, **dots))
        items.append(LegendItem(label={"value": line.label}, renderers=rendered))
    if _from_zero(panel):
        made.y_range.start = 0
    legend = Legend(items=items, ncols=columns, click_policy="hide", glyph_width=36)
    legend.location = "left"
    made.add_layout(legend, "below")
    return made


def _from_zero(panel: Panel) -> bool:
    values = [v for line in panel.lines for _, v in line.points if v is not None]
    return bool(values) and min(values) >= 0 and max(values) > 0


def _heat(drawn: Figures, time: Any, look: Look) -> Any:
    from bokeh.models import (
        ColumnDataSource,
        LogColorMapper,
        LogTicker,
        PrintfTickFormatter,
        TapTool,
    )
    from bokeh.models.annotations import ColorBar

    columns = drawn.columns["cells"]
    tooltips = (("", "@text"), ("from", "@left{%F %T}"), ("how many", "@count{0,0}"))
    tools = [*_tools(tooltips), TapTool()]
    made = _figure(time, look, HEIGHT + 110, tools, y_axis_type="log")
    if not look.narrow:
        way = "; a cell leads to its traces" if "low" in columns else ""
        made.title.text = f"How many were how large{way}"
    mapper = LogColorMapper(
        palette=shades(look.colours), low=0.9, high=max(columns["count"], default=1) + 1
    )
    made.quad(
        left="left",
        right="right",
        bottom="bottom",
        top="top",
        source=ColumnDataSource(columns, name="cells"),
        fill_color={"field": "count", "transform": mapper},
        line_color=None,
        nonselection_fill_alpha=1,
    )
    made.yaxis.formatter = PrintfTickFormatter(format="%g")
    made.grid.level = "overlay"
    _labelled(made, drawn.heat_axis, look)
    bar = ColorBar(color_mapper=mapper, ticker=LogTicker(), height=8, width=240)
    bar.location, bar.title, bar.orientation = "left", "values in a cell", "horizontal"
    made.add_layout(bar, "below")
    return made


def shades(colours: Colours) -> list[str]:
    """From the colour of few to that of many, in even steps."""
    few, many = (
        [int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in (colours.few, colours.many)
    )
    steps = [at / (SHADES - 1) for at in range(SHADES)]
    return [
        "#" + "".join(f"{round(a + (b - a) * s):02x}" for a, b in zip(few, many, strict=True))
        for s in steps
    ]


def _overview(drawn: Figures, time: Any, look: Look) -> Any:
    """All of the time, small; what is chosen in it is what the others show."""
    from bokeh.models import ColumnDataSource, Range1d, RangeTool

    whole = Range1d(start=drawn.since_ms, end=drawn.until_ms, name="whole")
    made = _figure(whole, look, HEIGHT_OVERVIEW, ())
    made.toolbar_location = None
    made.yaxis.visible = False
    made.ygrid.visible = False
    columns: Mapping[str, list[Any]] = drawn.columns["line-0-0"]
    kept = {key: columns[key] for key in ("at", "value")}
    source = ColumnDataSource(kept, name="overview")
    made.varea("at", 0, "value", source=source, fill_color=look.colours.muted, fill_alpha=0.35)
    brush = RangeTool(x_range=time, start_gesture="pan")
    brush.overlay.fill_color = look.colours.bars[0]
    brush.overlay.fill_alpha = 0.18
    brush.overlay.name = "brush"
    made.add_tools(brush)
    return made
