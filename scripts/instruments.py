"""Print docs/instruments.md: every instrument of ours, read from the source that makes it."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).parent.parent / "src" / "nilometer"
DEFAULT_UNITS = {"counter": "1", "gauge": "1", "timer": "ns", "event": ""}
NOT_OURS = {"cli", "measure/overhead.py"}  # a made-up shop; a calibration that sends nothing

HEAD = """\
# Instruments

What Nilometer measures by itself: the requests and calls that its integrations see, its own
cost and its losses. This page is made from the source (`make docs`), and a test compares them.
`nilometer metrics list` shows what a store really holds.

| name | kind | unit | what it says |
|---|---|---|---|
"""


class Instrument(NamedTuple):
    """One row. The same name may be made in several places; the first description counts."""

    name: str
    kind: str
    unit: str
    description: str


def made_in(tree: ast.Module) -> list[Instrument]:
    """The instruments whose name stands there literally."""
    found = []
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        kind, name = kind_and_name(call)
        if "." in name:
            words = {k.arg: text_of(k.value) for k in call.keywords}
            unit = words.get("unit") or DEFAULT_UNITS[kind]
            found.append(Instrument(name, kind, unit, words.get("description", "")))
    return found


def kind_and_name(call: ast.Call) -> tuple[str, str]:
    """What this call makes, and its name; no name if it makes no instrument.

    ``Calls(integration, name)`` is how integrations make a timer.
    """
    if isinstance(call.func, ast.Name) and call.func.id == "Calls" and len(call.args) > 1:
        return "timer", text_of(call.args[1])
    kind = (
        call.func.attr.removesuffix("_source") if isinstance(call.func, ast.Attribute) else ""
    )
    return kind, text_of(call.args[0]) if kind in DEFAULT_UNITS and call.args else ""


def text_of(node: ast.expr) -> str:
    """A literal text, also of pieces; what is put in while running shows as its name."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return f"<{ast.unparse(node.value)}>"
    return ""


def made() -> Iterator[Instrument]:
    """All of them, in every place that makes them."""
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE)
        if not NOT_OURS & {place.parts[0], place.as_posix()}:
            yield from made_in(ast.parse(path.read_text()))


def instruments() -> list[Instrument]:
    """All of them by name."""
    found: dict[str, Instrument] = {}
    for instrument in made():
        known = found.get(instrument.name)
        if known is None or not known.description:
            found[instrument.name] = instrument
    return [found[name] for name in sorted(found)]


def page() -> str:
    """The whole page."""
    rows = (
        f"| `{i.name}` | {i.kind} | `{i.unit}` | {i.description.replace('|', '/')} |\n"
        for i in instruments()
    )
    return HEAD + "".join(rows)


if __name__ == "__main__":
    sys.stdout.write(page())
