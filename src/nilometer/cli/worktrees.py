"""Worktrees of git for a while, also those that a killed command left behind."""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PREFIX: Final = "nilometer-"
NAME: Final = "base"
LOCK: Final = "in-use"
"""Locked while its command lives: the kernel lets go of it when that is killed."""


@contextmanager
def worktree(top: Path, commit: str, git: Callable[..., str]) -> Iterator[Path]:
    """The files of that commit in a directory of their own, which is gone after.

    What commands that were killed have left behind goes first. ``git(top, "worktree", ...)``
    answers, or ends the command.
    """
    _remove_left_over(top, git)
    with TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as private:
        lock = os.open(Path(private) / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        place = Path(private) / NAME
        try:
            git(top, "worktree", "add", "--quiet", "--detach", str(place), commit)
            try:
                yield place
            finally:
                git(top, "worktree", "remove", "--force", str(place))
        finally:
            os.close(lock)


def _remove_left_over(top: Path, git: Callable[..., str]) -> None:
    """Those worktrees of ours whose command lives no more; whatever else there is stays."""
    for line in git(top, "worktree", "list", "--porcelain").splitlines():
        place = Path(line.removeprefix("worktree "))
        is_ours = place.name == NAME and place.parent.name.startswith(PREFIX)
        if not line.startswith("worktree ") or not is_ours:
            continue
        if not place.exists():
            git(top, "worktree", "prune")
        elif _is_abandoned(place.parent / LOCK):
            git(top, "worktree", "remove", "--force", str(place))
            shutil.rmtree(place.parent, ignore_errors=True)


def _is_abandoned(lock: Path) -> bool:
    """Whether there is such a lock, and nobody holds it."""
    with suppress(OSError):
        held = os.open(lock, os.O_RDWR)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(held)
        return True
    return False
