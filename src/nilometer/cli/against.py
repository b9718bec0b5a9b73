"""`nilometer measure --against REV`: this version and another by turns, on this machine."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.cli.exits import Exit
from nilometer.cli.imports import is_python, not_in_git, sides, why_not_apart, why_not_built
from nilometer.cli.measuring import Watch, measure_once, state_directory
from nilometer.cli.places import Places, spellings
from nilometer.cli.revision import ask_git
from nilometer.cli.terminal import lines, say, stop, write
from nilometer.cli.worktrees import worktree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.cli.imports import Side, Told
    from nilometer.cli.measuring import Job
    from nilometer.clock import Clock
    from nilometer.counters.gather import Gatherer
    from nilometer.model.run import Run

GIT_S_MAX: Final = 600.0  # a worktree of a very large repository on a slow disk
REVISION_CHARS: Final = 12
BASE, HEAD = 0, 1
STDERR: Final = 2


class Against(NamedTuple):
    """What to compare with, how often, what to run first in its worktree, and what to tell.

    `json_file` gets the verdict as a line of JSON; `shared` names modules that both may import
    from the same place.
    """

    revision: str
    pairs: int
    prepare: tuple[str, ...] = ()
    json_file: str | None = None
    quiet: bool = False
    shared: tuple[str, ...] = ()


def measure_against(against: Against, job: Job, gatherer: Gatherer, clock: Clock) -> int:
    """Measure both versions by turns and tell what differs; the exit code.

    That is 0 only if they were compared and nothing costs more. None of these runs is added to
    the history. Raises OSError if the command cannot start.
    """
    top = Path(_git(job.directory, "rev-parse", "--show-toplevel"))
    words = "rev-parse", "--verify", "--end-of-options", f"{against.revision}^{{commit}}"
    commit = _git(job.directory, *words)
    _refuse_the_same(against.revision, commit, top)
    inside = job.directory.resolve().relative_to(top.resolve())
    tops = spellings(top, job.directory, job.environment)
    with worktree(top, commit, _git) as elsewhere, sides(tops, elsewhere, inside) as told:
        directory = elsewhere / inside
        if not directory.is_dir():
            stop(f"--against {against.revision}: it has no directory {inside}", Exit.USAGE)
        base = _moved(job, Places(tops, str(elsewhere)), directory, against.revision)
        base = base._replace(revision=commit, branch="")
        if against.prepare:
            _prepare(against.prepare, base)
        pair = _Pair(against, (base, job), told, top)
        found = []
        for at in range(against.pairs):
            say(
                f"nilometer: pair {at + 1} of {against.pairs}, "
                f"{commit[:REVISION_CHARS]} and this one"
            )
            # By turns who is first, so that neither always meets what the other left behind.
            # This one at the very first: what it imports tells what a worktree would lack.
            for side in (HEAD, BASE) if at % 2 == 0 else (BASE, HEAD):
                if code := pair.measure(side, gatherer, clock):
                    return code
            found.append(pair.runs())
    pair.say_unseen()
    return _told(found, against)


class _Pair:
    """Both versions as they are measured, and whether each has imported its own files."""

    def __init__(
        self, against: Against, jobs: tuple[Job, Job], told: tuple[Side, Side], top: Path
    ) -> None:
        self._against = against
        self._jobs = jobs
        self._told = told
        self._top = top
        self._runs: dict[int, Run] = {}
        self._unseen = False
        self._checked = False

    def runs(self) -> tuple[Run, Run]:
        """The latest of each, that of the base first."""
        return self._runs[BASE], self._runs[HEAD]

    def say_unseen(self) -> None:
        """Say that it is not known whose files the base's runs imported, if so."""
        if self._unseen:
            say(
                f"nilometer: no Python process told that it ran or imported a file of "
                f"{self._against.revision}, so nobody checked that its own files ran (there is "
                "no such process, or it has an environment of its own, as tox makes)"
            )

    def measure(self, side: int, gatherer: Gatherer, clock: Clock) -> int:
        """Measure one of them; the exit code if it failed. Ends the command if in vain."""
        job, told = self._jobs[side], self._told[side]
        job = job._replace(environment=told.environment(job.environment))
        run = _measured(job, gatherer, clock)
        name = "this version" if side == HEAD else self._against.revision
        imports = told.told()
        because = why_not_apart(imports, self._ignored, self._against.shared)
        if because:
            stop(f"--against: of {name} {because}; nothing is compared", Exit.NOT_FOUND)
        if run.exit_status or run.because:
            say(f"nilometer: the command failed on {name}; nothing is compared")
            if side == BASE and not self._against.prepare:
                say("nilometer: if it needs files that git ignores, --prepare makes them there")
            status = run.exit_status or 1
            return status if status > 0 else 128 - status
        if not imports.is_first and is_python(job.command[0], job.environment.get("PATH")):
            stop(
                f"--against: {job.command[0]} is Python, but did not tell what it imports: "
                "without -I, -E, -S and os._exit it does; nothing is compared",
                Exit.NOT_FOUND,
            )
        if side == HEAD and not self._checked:
            self._check_built(imports)
        self._unseen = self._unseen or (side == BASE and not (imports.own or imports.ran))
        self._runs[side] = run
        return 0

    def _check_built(self, imports: Told) -> None:
        self._checked = True
        base, top = self._jobs[BASE], str(self._top.resolve())
        root = Path(os.path.relpath(top, self._jobs[HEAD].directory.resolve()))
        lacking = not_in_git(imports, base.directory / root, top, self._ignored)
        if lacking and self._against.prepare:
            say(f"nilometer: {self._against.revision} lacks {', '.join(lacking)}")
        elif lacking:
            stop(f"--against: {why_not_built(lacking)}; nothing is compared", Exit.NOT_FOUND)

    def _ignored(self, files: Sequence[str]) -> set[str]:
        return {
            file
            for file in files
            if not _answer(self._top, "check-ignore", "--quiet", "--", file).returncode
        }


def _refuse_the_same(revision: str, commit: str, top: Path) -> None:
    """End the command if no file that git knows differs from that commit's."""
    if not _answer(top, "diff", "--quiet", "--no-ext-diff", commit, "--").returncode:
        stop(
            f"--against {revision}: no file here differs from it, so it would be compared with "
            "itself. Name an older version (HEAD~1, or where your branch began: git merge-base "
            "HEAD main), and `git add` new files",
            Exit.USAGE,
        )


def _moved(job: Job, places: Places, directory: Path, revision: str) -> Job:
    """The same job as it runs in the worktree: with the paths there."""
    program = job.command[0]
    if "/" in program and not (directory / program).exists():
        program = os.path.normpath(job.directory / program)
    command = (program, *job.command[1:])
    for word in command:
        for path in places.lacking(word):
            if _git(job.directory, "ls-files", "--", str(path)):
                stop(
                    f"--against {revision}: COMMAND names {path}, which it does not have. Name "
                    "what both versions have",
                    Exit.USAGE,
                )
    environment = places.environment(job.environment)
    if "PWD" in environment:
        environment["PWD"] = str(directory)
    moved = tuple(places.moved(word) for word in command)
    return job._replace(command=moved, directory=directory, environment=environment)


def _prepare(command: tuple[str, ...], base: Job) -> None:
    """Run what builds the base in its worktree; end the command if that fails."""
    say(f"nilometer: --prepare: {shlex.join(command)}")
    try:
        ended = subprocess.run(
            command,
            cwd=base.directory,
            env=dict(base.environment),
            stdin=subprocess.DEVNULL,
            stdout=STDERR,
            check=False,
        )
    except OSError as error:
        stop(f"--prepare: {command[0]}: {error.strerror or error}", Exit.USAGE)
    if ended.returncode:
        stop(f"--prepare: {command[0]} ended with {ended.returncode}", Exit.USAGE)


def _told(found: Sequence[tuple[Run, Run]], against: Against) -> int:
    """Say what differs in these pairs; the exit code."""
    from nilometer.gate.duet import duet
    from nilometer.gate.reports.json import document
    from nilometer.gate.reports.text import text

    verdict = duet(found)
    if not against.quiet or not verdict.is_quiet:
        write(lines(text(verdict)))
    if against.json_file is not None:
        try:
            with Path(against.json_file).open("a") as stream:
                stream.write(json.dumps(document(verdict), allow_nan=False) + "\n")
        except OSError as error:
            say(f"nilometer: --json {against.json_file}: {error.strerror or error}")
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
    answer = _answer(directory, *words)
    if answer.returncode:
        said = answer.stderr.decode("utf-8", "replace").strip()
        stop(f"--against: git {words[0]}: {said}", Exit.USAGE)
    return answer.stdout.decode("utf-8", "surrogateescape").strip()


def _answer(directory: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    """What git answers, a refusal too; where it cannot be asked, that ends the command."""
    try:
        return ask_git(directory, *words, timeout_s=GIT_S_MAX)
    except (OSError, subprocess.TimeoutExpired) as error:
        stop(f"--against: git {words[0]}: {error}", Exit.USAGE)
