"""Which version of the source is measured, asked of git; nothing is known without it."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

GIT_S_MAX: Final = 10.0  # a status of a hundred thousand files takes a second


class Revision(NamedTuple):
    """A commit, its branch (empty if on none), and whether files differ from it."""

    commit: str = ""
    branch: str = ""
    dirty: bool = False


def revision_of(directory: Path) -> Revision:
    """The revision that is checked out there; an empty one if it is no repository."""
    command = ["git", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        answer = subprocess.run(
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_S_MAX,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return Revision()
    if answer.returncode:
        return Revision()
    lines = answer.stdout.decode("utf-8", "replace").splitlines()
    told = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# branch."))
    commit, branch = told.get("branch.oid", ""), told.get("branch.head", "")
    return Revision(
        "" if commit == "(initial)" else commit,
        "" if branch == "(detached)" else branch,
        dirty=any(not line.startswith("#") for line in lines),
    )
