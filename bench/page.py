"""The tables of docs/performance.md, from the figures of one run of the benchmark.

    python -m bench.run --json FILE && python -m bench.page FILE

Prints Markdown; what follows the mark in docs/performance.md is this output.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

TWINS = ("nilometer C", "nilometer pure")


def table(headings: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    marks = ["---", *["---:"] * (len(headings) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [headings, marks, *rows])


def number(ns: float) -> str:
    """Three figures are all that is reproducible."""
    return f"{ns:,.0f}" if ns >= 10 else f"{ns:.1f}"


def targets(document: dict[str, Any]) -> str:
    rows = [
        [
            f"{t['case']}, {t['peer'].removeprefix('nilometer ')}",
            number(t["target_ns"]),
            number(t["floor_ns"]),
            number(t["allowed_ns_here"]),
            "failed" if t["measured_ns"] is None else number(t["measured_ns"]),
            "met" if t["met"] else "**missed**",
        ]
        for t in document["targets"]
    ]
    imported = document["import"]
    met = "met" if imported["met"] else "**missed**"
    rows.append(
        [
            "import with timers and spans, ms",
            f"{imported['target_ms']:g}",
            "",
            "",
            f"{imported['import_ms']}",
            met,
        ]
    )
    return table(["what", "target ns", "floor here", "allowed here", "measured ns", ""], rows)


def peers(document: dict[str, Any]) -> str:
    """A row a case; each peer's figure, and how many times ours that is."""
    names = [p for p in dict.fromkeys(c["peer"] for c in document["cases"]) if p not in TWINS]
    figures = {
        (c["case"], c["peer"]): c["thread_ns"] for c in document["cases"] if not c["failure"]
    }
    # A figure below its own spread is noise, and so is every ratio to it.
    noise = {
        c["case"]
        for c in document["cases"]
        if c["peer"] == TWINS[0] and c["thread_ns"] <= c["spread"]
    }
    cases = list(dict.fromkeys(case for case, peer in figures if peer in TWINS))
    rows = []
    for case in cases:
        ours = figures.get((case, TWINS[0]))
        row = [case, *(number(figures[case, t]) if (case, t) in figures else "" for t in TWINS)]
        for name in names:
            theirs = figures.get((case, name))
            times = f" ({theirs / ours:.0f}x)" if theirs and ours and case not in noise else ""
            row.append(f"{number(theirs)}{times}" if theirs is not None else "")
        rows.append(row)
    return table(["ns per call", "C", "pure", *names], rows)


def collector(document: dict[str, Any]) -> str:
    rows = [
        [f"{kind}: {name.replace('_', ' ')}", f"{value:,.5g}"]
        for kind, figures in document["collector"].items()
        for name, value in figures.items()
    ]
    return table(["figure", "value"], rows)


def page(document: dict[str, Any]) -> str:
    """All tables."""
    python, floor = document["python"], document["floor_ns"]
    return f"""CPython {python}; a wrapper that reads two clocks costs {floor:.0f} ns here.

### Targets

{targets(document)}

### Next to others

{peers(document)}

### The collector

{collector(document)}
"""


if __name__ == "__main__":
    sys.stdout.write(page(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
