"""A verdict for a terminal or a log: always something, and a line if all is well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nilometer.gate.reports.wording import (
    FINDINGS_MAX,
    evidence,
    flat,
    headline,
    standing_of,
    whence,
)

if TYPE_CHECKING:
    from nilometer.gate.verdict import Verdict


def text(verdict: Verdict) -> str:
    """Outcome and reason, then each counter with what it is put down to."""
    run = verdict.run
    lines = [f"{standing_of(verdict)}: run {flat(run.id)} of {flat(run.suite)}"]
    lines.append(f"  because {flat(verdict.because)}")
    for finding in verdict.findings[:FINDINGS_MAX]:
        lines.append(f"  {headline(finding)}: {evidence(finding)}")
        lines += [f"    {whence(part)}" for part in finding.parts]
    lines += _more(len(verdict.findings))
    lines += [f"  less: {headline(one)}" for one in verdict.improved[:FINDINGS_MAX]]
    lines += [f"  note: {flat(note)}" for note in verdict.notes]
    return "\n".join(lines) + "\n"


def _more(findings: int) -> list[str]:
    more = findings - FINDINGS_MAX
    return [f"  and further counters: {more}; the JSON report has all"] if more > 0 else []
