"""A verdict as one comment that is updated in place: its first line says which one it is.

What comes from outside stands in code spans, where Markdown, HTML and mentions are text.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import TYPE_CHECKING

from nilometer.gate.reports.wording import (
    FINDINGS_MAX,
    flat,
    moved,
    name,
    number,
    standing_of,
    which,
)

if TYPE_CHECKING:
    from nilometer.gate.attribution import Part
    from nilometer.gate.finding import Finding
    from nilometer.gate.verdict import Verdict


def marker(suite: str) -> str:
    """The hidden first line by which the comment of a suite is found again.

    >>> marker("shop")
    '<!-- nilometer-gate:c67504ea -->'
    """
    digest = blake2b(suite.encode(errors="replace"), digest_size=4).hexdigest()
    return f"<!-- nilometer-gate:{digest} -->"


def markdown(verdict: Verdict) -> str:
    """The comment; empty if nothing is wrong."""
    if verdict.is_quiet:
        return ""
    lines = [marker(verdict.run.suite), ""]
    lines += [f"**nilometer: {standing_of(verdict)}** in {code(verdict.run.suite)}", ""]
    if verdict.findings:
        lines += ["| counter | change | was | is | put down to |", "|---|---:|---:|---:|---|"]
        lines += [_row(finding) for finding in verdict.findings[:FINDINGS_MAX]]
        more = len(verdict.findings) - FINDINGS_MAX
        lines += ["", f"Further counters that moved: {more}."] if more > 0 else []
        lines.append("")
    lines += _details(verdict)
    return "\n".join(lines) + "\n"


def nothing(suite: str) -> str:
    """What the comment becomes when there is nothing any more; for who wants one at all."""
    return f"{marker(suite)}\n\n**nilometer: nothing** changed in {code(suite)}.\n"


def _row(finding: Finding) -> str:
    parts = "<br>".join(_part(part) for part in finding.parts) or "-"
    change = moved(finding.delta, finding.expected)
    if finding.went_away:
        change += "; went away"
    elif finding.since:
        change += f"; {code(finding.since)}"
    cells = [
        code(name(finding)),
        change,
        number(finding.expected),
        number(finding.now),
        parts,
    ]
    return f"| {' | '.join(cells)} |"


def _part(part: Part) -> str:
    place = f" at {code(str(part.place))}" if part.place else ""
    return f"{code(which(part))} {moved(part.delta, part.expected)}{place}"


def _details(verdict: Verdict) -> list[str]:
    run = verdict.run
    told = [("because", verdict.because), ("run", run.id)]
    told += [("revision", run.revision)] if run.revision else []
    told += [("less", f"{name(o)} {moved(o.delta, o.expected)}") for o in verdict.improved]
    told += [("note", note) for note in verdict.notes]
    lines = [f"- {word}: {code(text)}" for word, text in told]
    return ["<details><summary>Why</summary>", "", *lines, "", "</details>"]


def code(text: str) -> str:
    r"""Any text as a code span that nothing in it can end, also inside a table.

    >>> code("a`b|c"), code("")
    ('``a`b\\|c``', '` `')
    """
    text = flat(text).replace("|", "\\|")
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    # A backtick or blank at either end would be taken for a part of the fence.
    around = " " if not text.strip() or text[0] in "` " or text[-1] in "` " else ""
    return f"{fence}{around}{text}{around}{fence}" if text else "` `"
