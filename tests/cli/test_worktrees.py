"""A killed `measure --against` leaves a worktree; the next one removes it, and no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nilometer.cli.worktrees import worktree

HOLDER = """
import sys, time, subprocess
from pathlib import Path
from nilometer.cli.worktrees import worktree
def git(top, *words):
    return subprocess.check_output(["git", *words], cwd=top, text=True)
with worktree(Path(sys.argv[1]), "HEAD", git) as place:
    print(place, flush=True)
    time.sleep(60)
"""


def git(top: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", *who, *words], cwd=top, check=True, capture_output=True, text=True
    ).stdout


def listed(top: Path) -> list[str]:
    lines = git(top, "worktree", "list", "--porcelain").splitlines()
    return [line.removeprefix("worktree ") for line in lines if line.startswith("worktree ")]


@pytest.fixture
def repository(tmp_path) -> Path:
    top = tmp_path / "repository"
    top.mkdir()
    git(top, "init", "-q")
    git(top, "commit", "-q", "--allow-empty", "-m", "first")
    return top.resolve()


@pytest.fixture
def holder(repository):
    """A process that has a worktree, and where that is."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(repository)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    yield process, Path(process.stdout.readline().strip())
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_worktree_is_gone_after(repository) -> None:
    with worktree(repository, "HEAD", git) as place:
        assert listed(repository) == [str(repository), str(place)]

    assert (listed(repository), place.parent.exists()) == ([str(repository)], False)


def test_what_a_killed_command_left_is_removed_by_the_next(repository, holder) -> None:
    process, left = holder
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert str(left) in listed(repository)

    with worktree(repository, "HEAD", git):
        pass

    assert (listed(repository), left.parent.exists()) == ([str(repository)], False)


def test_one_whose_files_are_gone_is_forgotten_by_git(repository, holder) -> None:
    process, left = holder
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    subprocess.run(["rm", "-r", str(left.parent)], check=True)

    with worktree(repository, "HEAD", git):
        pass

    assert listed(repository) == [str(repository)]


def test_one_in_use_and_one_of_somebody_else_stay(repository, holder, tmp_path) -> None:
    _, in_use = holder
    own = tmp_path / "nilometer-mine" / "base"
    git(repository, "worktree", "add", "-q", "--detach", str(own))

    with worktree(repository, "HEAD", git):
        pass

    assert set(listed(repository)) == {str(repository), str(in_use), str(own.resolve())}
