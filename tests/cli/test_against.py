"""`nilometer measure --against REV`: two versions by turns, and nothing left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nilometer.cli.exits import Exit
from tests.cli.test_measure import BUMP, Place, place  # noqa: F401 - a fixture

SCRIPT = "import subprocess, sys; subprocess.run([*{bump}, sys.argv[1], 'calls', '{calls}'])\n"


def git(root: Path, *words: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *words], cwd=root, check=True, capture_output=True)


@pytest.fixture
def versions(place: Place) -> Place:  # noqa: F811
    """A repository whose ``base`` makes 40 calls; ``same`` and the files make 50."""
    git(place.root, "init", "-q")
    script = place.root / "work.py"
    script.write_text(SCRIPT.format(bump=BUMP, calls=40))
    git(place.root, "add", "work.py")
    git(place.root, "commit", "-qm", "base")
    git(place.root, "tag", "base")
    script.write_text(SCRIPT.format(bump=BUMP, calls=50) + "# said otherwise\n")
    git(place.root, "commit", "-qam", "same")
    git(place.root, "tag", "same")
    script.write_text(SCRIPT.format(bump=BUMP, calls=50))
    return place


def against(place: Place, revision: str, *flags: str):  # noqa: F811
    command = ["--", sys.executable, "work.py", place.server]
    return place.measure("--against", revision, "--pairs", "6", *flags, *command)


def test_what_costs_more_is_told_and_the_exit_code_says_so(versions) -> None:
    ended = against(versions, "base")

    assert ended.returncode == Exit.FAILED
    assert "fake:calls +10 (+25.0 %): 50 instead of 40" in ended.stdout
    assert "nobody checked" not in ended.stderr  # work.py itself is a file of the version
    assert not (versions.root / ".nilometer").exists()  # no history of such runs


def test_versions_that_cost_the_same_pass_and_leave_no_worktree(versions) -> None:
    ended = against(versions, "same")

    assert (ended.returncode, ended.stdout.splitlines()[0][:5]) == (0, "pass:")
    listed = subprocess.run(
        ["git", "worktree", "list"],
        cwd=versions.root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(listed.stdout.splitlines()) == 1


def test_a_revision_that_is_none_is_refused(versions) -> None:
    ended = against(versions, "nowhere")

    assert (ended.returncode, ended.stdout) == (Exit.USAGE, "")
    assert "--against: git rev-parse" in ended.stderr


def test_a_command_that_fails_ends_it_with_its_code(versions) -> None:
    (versions.root / "work.py").write_text("raise SystemExit(3)")

    ended = against(versions, "base")

    assert (ended.returncode, ended.stdout) == (3, "")
    assert "the command failed on this version; nothing is compared" in ended.stderr


def test_what_nobody_can_say_is_no_success(versions) -> None:
    """CI must not take it for one: the exit code is 1."""
    versions.server.write_text("broken")

    said = versions.measure("--against", "base", "--pairs", "6", "--", "true")

    assert (said.returncode, said.stdout.splitlines()[0][:8]) == (Exit.NOT_FOUND, "unknown:")
    assert "fake" in said.stdout.splitlines()[1]


def test_the_verdict_is_appended_as_json_and_pass_is_quiet_if_asked(versions) -> None:
    file = versions.root / "verdicts.json"
    flags = ("-q", "--json", str(file))

    same, more = against(versions, "same", *flags), against(versions, "base", *flags)

    assert (same.returncode, same.stdout) == (0, "")
    assert (more.returncode, more.stdout[:5]) == (Exit.FAILED, "warn:")
    told = [json.loads(line) for line in file.read_text().splitlines()]
    assert [one["outcome"] for one in told] == ["pass", "warn"]


@pytest.mark.parametrize("revision", ["HEAD", "again"])
def test_a_version_whose_files_are_the_same_is_refused(versions, revision) -> None:
    """It would pass, whatever the change: somebody named the wrong version."""
    git(versions.root, "commit", "-qam", "more")
    git(versions.root, "tag", "again")
    git(versions.root, "commit", "-qm", "nothing new", "--allow-empty")
    (versions.root / "notes").write_text("git does not know this file")

    ended = against(versions, revision)

    assert (ended.returncode, ended.stdout) == (Exit.USAGE, "")
    assert f"--against {revision}: no file here differs from it" in ended.stderr


def test_that_paths_have_other_lengths_is_no_difference(versions) -> None:
    """Programs print where they are; pytest does in each run."""
    (versions.root / "work.py").write_text(
        SCRIPT.format(bump=BUMP, calls=50) + "import os; print(os.getcwd() * 1000)\n"
    )
    git(versions.root, "commit", "-qam", "tell")
    git(versions.root, "tag", "told")
    (versions.root / "notes").write_text("new")
    git(versions.root, "add", "notes")

    ended = against(versions, "told")

    assert (ended.returncode, "\npass: " in ended.stdout) == (0, True)
