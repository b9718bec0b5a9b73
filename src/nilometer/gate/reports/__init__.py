"""Verdicts as people and machines read them: one module a format, each `Verdict -> str`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nilometer.gate.reports.bug import bug
from nilometer.gate.reports.github import github
from nilometer.gate.reports.json import as_json
from nilometer.gate.reports.junit import junit
from nilometer.gate.reports.markdown import markdown
from nilometer.gate.reports.sarif import sarif
from nilometer.gate.reports.text import text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nilometer.gate.verdict import Verdict

FORMATS: Final[Mapping[str, Callable[[Verdict], str]]] = {
    "text": text,
    "markdown": markdown,
    "junit": junit,
    "sarif": sarif,
    "github": github,
    "bug": bug,
    "json": as_json,
}
"""What a verdict can be written as. Those that people get unasked (`markdown`, `github`, `bug`)
are empty where there is nothing to look at."""
