"""Rates over time as one line of text, or as a drawing that loads nothing from elsewhere."""

from __future__ import annotations

from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BARS: Final = "▁▂▃▄▅▆▇█"
WIDTH: Final = 60  # characters of a line
DRAWN: Final = (800, 240)  # pixels
MARGIN: Final = 40
COLOURS: Final = {"produced": "#888888", "received": "#1f77b4", "persisted": "#d62728"}


def sparkline(values: Sequence[float], width: int = WIDTH) -> str:
    """The values from left to right, the highest one full; many are averaged.

    >>> sparkline([0, 1, 2, 4])
    '▁▂▄█'
    """
    if len(values) > width:
        edges = [n * len(values) // width for n in range(width + 1)]
        values = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    top = max(values, default=0.0)
    if top <= 0:
        return BARS[0] * len(values)
    return "".join(BARS[int(max(0.0, v) / top * (len(BARS) - 1))] for v in values)


def svg(told: Mapping[str, Any]) -> str:
    """The rates of a report as SVG."""
    samples = told["samples"]
    width, height = DRAWN
    lines = {name: _rates(samples, name) for name in COLOURS}
    top = max((rate for line in lines.values() for _, rate in line), default=0.0) or 1.0
    last_s = samples[-1]["s"] or 1.0
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"',
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        _text(MARGIN, 16, f"messages a second, up to {top:,.0f}"),
        _text(width - MARGIN, height - 8, f"{last_s:,.0f} s", "end"),
    ]
    for at, (name, line) in enumerate(lines.items()):
        points = " ".join(
            f"{MARGIN + s / last_s * (width - 2 * MARGIN):.1f},"
            f"{height - MARGIN - rate / top * (height - 2 * MARGIN):.1f}"
            for s, rate in line
        )
        colour = COLOURS[name]
        parts.append(f'<polyline fill="none" stroke="{colour}" points="{points}"/>')
        parts.append(_text(MARGIN + 110 * at, height - 8, name, colour=colour))
    return "\n".join([*parts, "</svg>\n"])


def html(told: Mapping[str, Any], title: str) -> str:
    """The drawing as a page."""
    return (
        f'<!doctype html><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f"<h1>{escape(title)}</h1>\n{svg(told)}"
    )


def _text(x: int, y: int, text: str, anchor: str = "start", colour: str = "#333333") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _rates(samples: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    return [
        (new["s"], max(0.0, (new[name] - old[name]) / max(1e-9, new["s"] - old["s"])))
        for old, new in pairwise(samples)
    ]
