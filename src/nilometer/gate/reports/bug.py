"""A verdict as a bug report: title, evidence, likely change, how to reproduce it."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Final

from nilometer.gate.reports.wording import FINDINGS_MAX, evidence, flat, headline, title, whence

if TYPE_CHECKING:
    from nilometer.gate.verdict import Verdict
    from nilometer.model.run import Run

COMMAND: Final = "command"  # the attribute in which `measure` tells what it ran
FLAGS: Final = "flags"  # the one with the flags that say what it read, and how
HISTORY: Final = "flags.history"  # and the one with where it was recorded, if a flag said so
DIRTY: Final = "vcs.dirty"  # and the one that says that files differed from the revision

_REVISION: Final = re.compile(r"\w[\w./+-]{0,200}")  # whatever else it is, no option


def bug(verdict: Verdict) -> str:
    """Plain text, its first line the title; empty without a finding."""
    if not verdict.findings:
        return ""
    sections = [
        ("Evidence", _evidence(verdict)),
        ("Likely change", _change(verdict)),
        ("How to reproduce", _again(verdict)),
        ("Not known", [f"- {flat(note)}" for note in verdict.notes]),
    ]
    lines = [title(verdict)]
    for heading, body in sections:
        if body:
            lines += ["", heading, "-" * len(heading), *body]
    return "\n".join(lines) + "\n"


def _evidence(verdict: Verdict) -> list[str]:
    lines = [flat(verdict.because), ""]
    for finding in verdict.findings[:FINDINGS_MAX]:
        lines.append(f"- {headline(finding)}: {evidence(finding)}")
        lines += [f"  - {whence(part)}" for part in finding.parts]
    more = len(verdict.findings) - FINDINGS_MAX
    return [*lines, f"- and further counters: {more}"] if more > 0 else lines


def _change(verdict: Verdict) -> list[str]:
    run, previous = verdict.run, verdict.previous
    places = dict.fromkeys(
        str(part.place)
        for finding in verdict.findings
        for part in finding.parts
        if part.place is not None
    )
    lines = [f"- code that the moved parts come from: {flat(place)}" for place in places]
    since, until = revision_of(previous), revision_of(run)
    if previous is not None and since and until and since != until:
        lines.append(f"- between {since} (run {flat(previous.id)}) and {until}:")
        lines.append(f"      git log {since}..{until}")
    elif since and since == until and (_is_dirty(previous) or not _is_dirty(run)):
        lines.append(f"- not committed, or not in the code: both runs are of {until}")
    if until and _is_dirty(run):
        lines.append(f"- in what this run's files had that {until} has not: not committed")
    return lines


def _again(verdict: Verdict) -> list[str]:
    run, previous = verdict.run, verdict.previous
    revision, base = revision_of(run), revision_of(previous)
    command = f"-- {_told(run, COMMAND) or 'COMMAND'}"
    reading, suite = _told(run, FLAGS), f"--suite {shlex.quote(flat(run.suite))}"
    history = _told(run, HISTORY)
    lines = [f"    git checkout {revision}"] if revision else []
    if revision and _is_dirty(run):
        lines = [
            f"With the files that the run measured, {revision} and what was not committed:"
        ]
    lines.append(_line("nilometer measure", reading, history, suite, command))
    lines.append(_line("nilometer gate check", history, suite))
    if base and (base != revision or (_is_dirty(run) and not _is_dirty(previous))):
        lines += ["", "Both versions by turns, on one machine:"]
        lines.append(_line("nilometer measure", reading, f"--against {base}", command))
    return lines


def _line(*words: str) -> str:
    return f"    {' '.join(filter(None, words))}"


def _is_dirty(run: Run | None) -> bool:
    """Whether a run measured files that its revision does not have."""
    return run is not None and run.attributes.get(DIRTY) is True


def revision_of(run: Run | None) -> str:
    """The version that was measured; empty if it is not known, or no name of one."""
    return run.revision if run is not None and _REVISION.fullmatch(run.revision) else ""


def _told(run: Run, attribute: str) -> str:
    """What `measure` told of the run in this attribute, as words of a shell; else empty."""
    told = run.attributes.get(attribute)
    return flat(told) if isinstance(told, str) else ""
