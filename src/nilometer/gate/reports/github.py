"""A verdict as one annotation of a GitHub workflow, at the line of code if it is known.

The commands: https://docs.github.com/actions/reference/workflow-commands-for-github-actions.
One annotation, as one change moves a dozen counters, and ten annotations of a step are all
that is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nilometer.gate.reports.wording import (
    FINDINGS_MAX,
    evidence,
    flat,
    headline,
    standing_of,
    title,
    whence,
)
from nilometer.gate.verdict import Outcome

if TYPE_CHECKING:
    from nilometer.gate.attribution import Place
    from nilometer.gate.verdict import Verdict


def github(verdict: Verdict) -> str:
    """``::warning file=shop/orders.py,line=17,title=...::...``; empty if nothing is wrong."""
    if verdict.is_quiet:
        return ""
    level = {Outcome.FAIL: "error", Outcome.WARN: "warning"}.get(verdict.outcome, "notice")
    lines = [flat(verdict.because)]
    for finding in verdict.findings[:FINDINGS_MAX]:
        lines.append(f"{headline(finding)}: {evidence(finding)}")
        lines += [f"  {whence(part)}" for part in finding.parts]
    told = {"title": f"nilometer {standing_of(verdict)}: {title(verdict)}"}
    if place := place_in(verdict):
        told = {
            "file": flat(place.file),
            **({"line": str(place.line)} if place.line else {}),
            **told,
        }
    properties = ",".join(f"{key}={_property(value)}" for key, value in told.items())
    return f"::{level} {properties}::{_data(chr(10).join(lines))}\n"


def place_in(verdict: Verdict) -> Place | None:
    """The line of code that most is put down to; one with a number before one without."""
    places = [p.place for one in verdict.findings for p in one.parts if p.place is not None]
    return next((place for place in places if place.line), places[0] if places else None)


def _data(text: str) -> str:
    """As the runner decodes it: nothing in it can end the command, or begin another."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
