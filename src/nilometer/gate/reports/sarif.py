"""A verdict as SARIF 2.1.0, which code scanning shows at the line of code.

OASIS Standard: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from nilometer.gate.reports.wording import evidence, flat, headline, whence
from nilometer.gate.verdict import Outcome

if TYPE_CHECKING:
    from nilometer.gate.finding import Finding
    from nilometer.gate.verdict import Verdict

SCHEMA: Final = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
LEVELS: Final = {Outcome.FAIL: "error", Outcome.WARN: "warning"}
RULE: Final = "costs-more"
SUITE: Final = "suite"  # where it has no name


def sarif(verdict: Verdict) -> str:
    """One run of the tool; without results if nothing is wrong, so that old ones are closed."""
    told = [{"level": "note", "message": {"text": flat(note)}} for note in verdict.notes]
    if verdict.outcome is Outcome.UNKNOWN:
        told.insert(0, {"level": "warning", "message": {"text": flat(verdict.because)}})
    whole = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": _driver()},
                "invocations": [
                    {"executionSuccessful": True, "toolExecutionNotifications": told}
                ],
                "results": [_result(finding, verdict) for finding in verdict.findings],
            }
        ],
    }
    return json.dumps(whole, indent=2) + "\n"


def _driver() -> dict[str, Any]:
    text = "A counter of a backend moved by more than its history explains."
    return {"name": "nilometer", "rules": [{"id": RULE, "shortDescription": {"text": text}}]}


def _result(finding: Finding, verdict: Verdict) -> dict[str, Any]:
    lines = [f"{headline(finding)}: {evidence(finding)}", *map(whence, finding.parts)]
    # Alike for the same counter of the same suite, so that it is one alert from run to run.
    same = f"{verdict.run.suite}\0{finding.key}".encode(errors="replace")
    found: dict[str, Any] = {
        "ruleId": RULE,
        "ruleIndex": 0,
        "level": LEVELS.get(verdict.outcome, "note"),
        "message": {"text": "\n".join(lines)},
        "partialFingerprints": {"counter/v1": blake2b(same, digest_size=16).hexdigest()},
    }
    places = dict.fromkeys(
        (part.place.file, part.place.line or 1) for part in finding.parts if part.place
    )
    # GitHub refuses the whole file for one result without a place, or for a place without a
    # line. Where no code is known the suite stands for it, as an image's name does in the
    # reports of other scanners; and the first line for a file of which no line is known.
    locations = [_location(file, line) for file, line in places] or [
        _location(verdict.run.suite.strip("/") or SUITE, 1)
    ]
    found["locations"] = locations[:1]
    if locations[1:]:
        found["relatedLocations"] = locations[1:]  # no two alike, or GitHub refuses them all
    return found


def _location(file: str, line: int) -> dict[str, Any]:
    place = {"uri": quote(file, errors="replace")}
    return {"physicalLocation": {"artifactLocation": place, "region": {"startLine": line}}}
