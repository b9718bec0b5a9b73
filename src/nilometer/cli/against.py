"""`nilometer measure --against REV`: this version and another by turns, on this machine."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nilometer.cli.exits import Exit
from nilometer.cli.measuring import Watch, measure_once, state_directory
from nilometer.cli.terminal import lines, say, stop, write
from nilometer.cli.worktrees import worktree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.cli.measuring import Job
    from nilometer.clock import Clock
    from nilometer.counters.gather import Gatherer
    from nilometer.model.run import Run

GIT_S_MAX: Final = 600.0  # a worktree of a very large repository on a slow disk
REVISION_CHARS: Final = 12


def measure_against(
    revision: str,
    pairs: int,
    job: Job,
    gatherer: Gatherer,
    clock: Clock,
    told: tuple[str | None, bool] = (None, False),
) -> int:
    """Measure both versions `pairs` times by turns and tell what differs; the exit code.

    That is 0 only if they were compared and nothing costs more. `told` is the file that the
    verdict is appended to as a line of JSON, if any, and whether to be quiet. None of these
    runs is added to the history. Raises OSError if the command cannot start.
    """
    top = Path(_git(job.directory, "rev-parse", "--show-toplevel"))
    commit = _git(
        job.directory, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}"
    )
    inside = job.directory.resolve().relative_to(top.resolve())
    found: list[tuple[Run, Run]] = []
    with worktree(top, commit, _git) as elsewhere:
        base = job._replace(directory=elsewhere / inside, revision=commit, branch="")
        if not base.directory.is_dir():
            stop(f"--against {revision}: it has no directory {inside}", Exit.USAGE)
        for at in range(pairs):
            say(f"nilometer: pair {at + 1} of {pairs}, {commit[:REVISION_CHARS]} and this one")
            # By turns who is first, so that neither always meets what the other left behind.
            order = (base, job) if at % 2 == 0 else (job, base)
            runs = [_measured(side, gatherer, clock) for side in order]
            if ended := next((run for run in runs if run.exit_status or run.because), None):
                side = "this version" if order[runs.index(ended)] is job else revision
                say(f"nilometer: the command failed on {side}; nothing is compared")
                status = ended.exit_status or 1
                return status if status > 0 else 128 - status
            found.append((runs[0], runs[1]) if at % 2 == 0 else (runs[1], runs[0]))
    return _told(found, *told)


def _told(found: Sequence[tuple[Run, Run]], json_file: str | None, quiet: bool) -> int:
    """Say what differs in these pairs; the exit code."""
    from nilometer.gate.duet import duet
    from nilometer.gate.reports.json import document
    from nilometer.gate.reports.text import text

    verdict = duet(found)
    if not quiet or not verdict.is_quiet:
        write(lines(text(verdict)))
    if json_file is not None:
        try:
            with Path(json_file).open("a") as stream:
                stream.write(json.dumps(document(verdict), allow_nan=False) + "\n")
        except OSError as error:
            say(f"nilometer: --json {json_file}: {error.strerror or error}")
    if verdict.findings:
        return int(Exit.FAILED)
    return int(Exit.OK if verdict.outcome.value == "pass" else Exit.NOT_FOUND)


def _measured(job: Job, gatherer: Gatherer, clock: Clock) -> Run:
    brackets = state_directory() / "brackets"
    told: list[str] = []
    run = measure_once(job, gatherer, clock, watch=Watch(opened=told.extend), brackets=brackets)
    for because in told:
        say(f"nilometer: {because}")
    return run


def _git(directory: Path, *words: str) -> str:
    """What git answers; what it refuses ends the command."""
    environment = {**os.environ, "LC_ALL": "C"}
    command: Sequence[str] = ["git", *words]
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
    except (OSError, subprocess.TimeoutExpired) as error:
        stop(f"--against: git {words[0]}: {error}", Exit.USAGE)
    if answer.returncode:
        said = answer.stderr.decode("utf-8", "replace").strip()
        stop(f"--against: git {words[0]}: {said}", Exit.USAGE)
    return answer.stdout.decode("utf-8", "surrogateescape").strip()
