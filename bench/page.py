"""The tables of docs/performance.md, from the figures of one run of the benchmark.

    python -m bench.run --json FILE && python -m bench.page FILE [--write]

Prints Markdown; what follows the mark in docs/performance.md is this output. ``--write`` puts
it there, and into docs/measuring.md the rows that are shown there.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from bench import integrations

MARK = "<!-- figures: python -m bench.page FILE -->\n"
TWINS = ("nilometer C", "nilometer pure")


def table(headings: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    marks = ["---", *["---:"] * (len(headings) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [headings, marks, *rows])


def number(ns: float) -> str:
    """Three figures are all that is reproducible."""
    return f"{ns:,.0f}" if ns >= 10 else f"{ns:.1f}"


def with_spread(ns: float, spread: float) -> str:
    return f"{number(ns)} ± {number(spread)}"


def said(verdict: str) -> str:
    return f"**{verdict}**" if verdict == "missed" else verdict


def targets(document: dict[str, Any]) -> str:
    rows = [
        [
            f"{t['case']}, {t['peer'].removeprefix('nilometer ')}",
            number(t["target_ns"]),
            with_spread(t["floor_ns"], t["floor_spread"]),
            number(t["allowed_ns_here"]),
            "failed"
            if t["measured_ns"] is None
            else with_spread(t["measured_ns"], t["spread"]),
            said(t["verdict"]),
        ]
        for t in document["targets"]
    ]
    imported = document["import"]
    rows.append(
        [
            "import with timers and spans, ms",
            f"{imported['target_ms']:g}",
            "",
            "",
            f"{imported['import_ms']} ± {imported['spread']}",
            said(imported["verdict"]),
        ]
    )
    return table(["what", "target ns", "floor here", "allowed here", "measured ns", ""], rows)


def peers(document: dict[str, Any]) -> str:
    """A row a case; each peer's figure, and how many times ours that is.

    Cases run one after the other, at whatever speed the machine then has: each figure is
    brought to the floor of the whole run by the floor of its own process.
    """
    names = [p for p in dict.fromkeys(c["peer"] for c in document["cases"]) if p not in TWINS]
    figures = {
        (c["case"], c["peer"]): c["thread_ns"] * document["floor_ns"] / c["floor_ns"]
        for c in document["cases"]
        if not c["failure"]
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


def integrated(document: dict[str, Any]) -> str:
    """A row an integration, beside OpenTelemetry's and ddtrace's of the same library."""
    rows = [
        [*cells[:-1], said(cells[-1])]
        for cells in map(integrations.cells_of, document["integrations"])
    ]
    return table(list(integrations.HEADINGS), rows)


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

### Integrations

{integrated(document)}

### Next to others

{peers(document)}

### The collector

{collector(document)}
"""


def write(document: dict[str, Any], docs: Path) -> None:
    """Put the figures of this run in place of those that the docs show."""
    performance, measuring = docs / "performance.md", docs / "measuring.md"
    before, mark, _ = performance.read_text(encoding="utf-8").partition(MARK)
    performance.write_text(f"{before}{mark}\n{page(document)}", encoding="utf-8")
    rows = {row[1]: row[2:4] for row in cells_of(peers(document))}
    text = measuring.read_text(encoding="utf-8")
    text = re.sub(r"took \d+ ns for", f"took {document['floor_ns']:.0f} ns for", text)
    told, heading, rest = text.partition("| ns per call | C | pure |\n")
    shown, _, after = rest.partition("\n\n")
    lines = [
        f"| {cells[1]} | {' | '.join(rows[cells[1]])} |" for cells in cells_of(heading + shown)
    ]
    table_text = "\n".join([f"{heading}|---|---:|---:|", *lines])
    measuring.write_text(f"{told}{table_text}\n\n{after}", encoding="utf-8")


def cells_of(markdown: str) -> list[list[str]]:
    """The cells of a table's rows, without its heading."""
    return [[cell.strip() for cell in line.split("|")] for line in markdown.splitlines()[2:]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", type=Path, metavar="FILE")
    parser.add_argument("--write", action="store_true", help="write them into the docs, too")
    chosen = parser.parse_args()
    document = json.loads(chosen.figures.read_text(encoding="utf-8"))
    sys.stdout.write(page(document))
    if chosen.write:
        write(document, Path(__file__).parent.parent / "docs")


if __name__ == "__main__":
    main()
