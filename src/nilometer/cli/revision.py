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


def ask_git(
    directory: Path, *words: str, timeout_s: float
) -> subprocess.CompletedProcess[bytes]:
    """What git says there, in its own language. Raises OSError and TimeoutExpired."""
    return subprocess.run(
        ["git", *words],  # noqa: S607 - the user's own git, from PATH
        cwd=directory,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout_s,
        check=False,
    )


def revision_of(directory: Path) -> Revision:
    """The revision that is checked out there; an empty one if it is no repository."""
    words = ("status", "--porcelain=v2", "--branch", "--untracked-files=no")
    try:
        answer = ask_git(directory, *words, timeout_s=GIT_S_MAX)
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
