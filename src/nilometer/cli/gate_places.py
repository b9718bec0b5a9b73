"""Lines of code as their whole repository names them: who reads SARIF and annotations asks so.

A run tells files from where its tests were begun, which in a repository of many projects is
the folder of one of them.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nilometer.cli.revision import GIT_S_MAX, ask_git

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nilometer.gate.attribution import Part
    from nilometer.gate.finding import Finding
    from nilometer.gate.verdict import Verdict

WORKSPACE: Final = "GITHUB_WORKSPACE"
"""The variable in which GitHub's runners tell where the repository is checked out."""

FROM_TOP: Final = frozenset({"github", "sarif"})
"""The formats whose files are looked for from the top of the repository."""


def from_top(verdict: Verdict, here: Path, environment: Mapping[str, str]) -> Verdict:
    """The same verdict with its files told from the top of the repository that `here` is in.

    A file is looked for below `here`, then below each folder above it; one that is in none of
    them, and all of them where no repository is known, stay as they are.
    """
    top = top_of(here, environment) if verdict.findings or verdict.improved else None
    if top is None:
        return verdict

    def moved(finding: Finding) -> Finding:
        return replace(finding, parts=tuple(map(placed, finding.parts)))

    def placed(part: Part) -> Part:
        if part.place is None:
            return part
        return part._replace(place=part.place._replace(file=_told(part.place.file, here, top)))

    return replace(
        verdict,
        findings=tuple(map(moved, verdict.findings)),
        improved=tuple(map(moved, verdict.improved)),
    )


def top_of(here: Path, environment: Mapping[str, str]) -> Path | None:
    """Where the repository begins: as a runner of GitHub says, else as git says."""
    here = here.resolve()
    if said := environment.get(WORKSPACE, ""):
        workspace = Path(said).resolve()
        if workspace == here or workspace in here.parents:
            return workspace
    try:
        answer = ask_git(here, "rev-parse", "--show-toplevel", timeout_s=GIT_S_MAX)
    except (OSError, subprocess.TimeoutExpired):
        return None
    told = os.fsdecode(answer.stdout).rstrip("\n")
    return Path(told).resolve() if answer.returncode == 0 and told else None


def _told(file: str, here: Path, top: Path) -> str:
    here = here.resolve()
    for folder in (here, *here.parents):
        whole = Path(os.path.normpath(folder / file))
        if top in whole.parents and os.path.isfile(whole):  # noqa: PTH113 - raises nothing
            return whole.relative_to(top).as_posix()
        if folder == top:
            break
    return file
