"""A verdict as JUnit XML: a test case per counter that moved, failed only if the verdict is."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from nilometer.gate.reports.wording import evidence, flat, headline, name, standing_of, whence
from nilometer.gate.verdict import Outcome

if TYPE_CHECKING:
    from nilometer.gate.finding import Finding
    from nilometer.gate.verdict import Verdict


def junit(verdict: Verdict) -> str:
    """One test suite. A warning is the output of a case that passes: JUnit knows none."""
    failed = verdict.outcome is Outcome.FAIL
    unknown = verdict.outcome is Outcome.UNKNOWN
    numbers = {
        "tests": str(max(1, len(verdict.findings))),
        "failures": str(len(verdict.findings) if failed else 0),
        "errors": "0",
        "skipped": str(int(unknown)),
    }
    whole = ET.Element("testsuites", numbers)
    suite = ET.SubElement(whole, "testsuite", {"name": "nilometer gate", **numbers})
    if not verdict.findings:
        case = _case(suite, verdict, "verdict")
        if unknown:
            ET.SubElement(case, "skipped", {"message": _legal(verdict.because)})
    for finding in verdict.findings:
        _add(_case(suite, verdict, name(finding)), finding, verdict)
    lines = [f"{standing_of(verdict)}: {flat(verdict.because)}"]
    lines += [f"note: {flat(note)}" for note in verdict.notes]
    ET.SubElement(suite, "system-out").text = _legal("\n".join(lines))
    ET.indent(whole)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(whole, "unicode") + "\n"


def _case(suite: ET.Element, verdict: Verdict, called: str) -> ET.Element:
    of = f"nilometer.gate.{flat(verdict.run.suite)}"
    return ET.SubElement(suite, "testcase", {"classname": _legal(of), "name": _legal(called)})


def _add(case: ET.Element, finding: Finding, verdict: Verdict) -> None:
    lines = [evidence(finding), *(whence(part) for part in finding.parts)]
    told = _legal("\n".join(lines))
    if verdict.outcome is Outcome.FAIL:
        message = {"message": _legal(headline(finding)), "type": "nilometer.gate"}
        ET.SubElement(case, "failure", message).text = told
    else:
        ET.SubElement(case, "system-out").text = _legal(f"{headline(finding)}\n{told}")


def _legal(text: str) -> str:
    """Text that XML can hold, which is all that can be printed, and line breaks."""
    return "".join(c if c.isprintable() or c == "\n" else "·" for c in text)
