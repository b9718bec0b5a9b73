"""Sum up what nox and pytest reported: a line a session, then the total in pytest's words."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

REASONS_MAX = 20  # as many failures as fit a screen


class Run(NamedTuple):
    """What one report says."""

    name: str
    passed: int
    failed: int
    skipped: int
    seconds: float
    failures: tuple[str, ...]


def read(path: Path) -> Run:
    """One report; setup errors count as failures, as they must."""
    suite = ET.parse(path).getroot().find("testsuite")
    assert suite is not None, f"{path} is not pytest's"
    failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    skipped = int(suite.get("skipped", 0))
    failures = tuple(
        f"{case.get('classname')}::{case.get('name')}"
        for case in suite.iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    )
    passed = int(suite.get("tests", 0)) - failed - skipped
    return Run(path.stem, passed, failed, skipped, float(suite.get("time", 0)), failures)


def counts(run: Run) -> str:
    """In pytest's words: "2 failed, 311 passed, 1 skipped in 12.34s"."""
    words = [(run.failed, "failed"), (run.passed, "passed"), (run.skipped, "skipped")]
    said = ", ".join(f"{n} {word}" for n, word in words if n) or "no tests ran"
    return f"{said} in {run.seconds:.2f}s"


def main(folder: Path) -> None:
    """Print the summary of all sessions; one that crashed has no counts, and says so."""
    runs = {path.stem: read(path) for path in folder.glob("*.xml")}
    failures = [f"FAILED {run.name}: {test}" for run in runs.values() for test in run.failures]
    print("", *failures[:REASONS_MAX], sep="\n")
    if len(failures) > REASONS_MAX:
        print(f"... and {len(failures) - REASONS_MAX} more")
    sessions = json.loads((folder / "sessions.json").read_text())["sessions"]
    for session in sessions:
        said = "; ".join(
            counts(run)
            for name, run in sorted(runs.items())
            if name == session["name"] or name.startswith(f"{session['name']}-")
        )
        print(f"  {session['name']:12} {session['result']:8} {said}".rstrip())
    numbers = [[run[i] for run in runs.values()] for i in range(1, 5)]
    total = Run("all", *(sum(column) for column in numbers), ())  # type: ignore[arg-type]
    print(f"===== {counts(total)} =====")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
