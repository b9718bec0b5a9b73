"""Runs that have begun and not ended, and runs that could not be recorded: none gets lost.

Before a command starts its run is written to the journal, beside the history's tables, and the
entry stays locked while `measure` lives. The kernel unlocks it when that dies, however it
dies, so whoever finds an unlocked entry knows that its run was never seen to end. A run that
the history did not take is kept whole in the user's own state directory, and recorded by the
next one that can.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.cli.run_json import as_json, run_of
from nilometer.model.run import Run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nilometer.store.runs import History

ENTRY_BYTES_MAX: Final = 1 << 30
FOREIGN_S: Final = 24 * 3600
"""Locks may not reach other machines: their entries are taken for dead only after a day."""

SLACK_NS: Final = 24 * 3600 * 10**9  # clocks of machines that share a history differ by less


class Entry(NamedTuple):
    """A run that goes on, locked as long as `lock` is open."""

    file: Path
    lock: int

    def end(self) -> None:
        """It has ended, and is recorded or kept."""
        self.file.unlink(missing_ok=True)
        os.close(self.lock)


class Journal:
    """The journal of the history at `location`; `state` is the user's own directory."""

    def __init__(self, location: str, state: Path) -> None:
        whole = location if "://" in location else str(Path(location).expanduser().absolute())
        mine = state / "histories" / blake2b(whole.encode(), digest_size=8).hexdigest()
        self.unrecorded = mine / "unrecorded"
        self.begun = mine / "journal" if "://" in location else Path(whole) / "journal"
        self._local = None if "://" in location else Path(whole)

    def begin(self, run: Run) -> Entry:
        """Write down that a run begins. Raises OSError."""
        if self._local is not None and not self._local.exists():
            self._local.mkdir(parents=True)
            (self._local / ".gitignore").write_text("*\n")  # nobody commits a history by chance
        self.begun.mkdir(parents=True, exist_ok=True)
        told = {"run": as_json(run), "pid": os.getpid(), "host": socket.gethostname()}
        file = self.begun / f"{run.id}.json"
        fresh = file.with_suffix(".new")
        lock = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        fcntl.flock(lock, fcntl.LOCK_EX)  # before it has its name: no entry is ever unlocked
        os.write(lock, json.dumps(told).encode())
        os.fsync(lock)
        fresh.rename(file)
        return Entry(file, lock)

    def keep(self, run: Run) -> Path:
        """Keep a run that the history did not take. Raises OSError."""
        self.unrecorded.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self.unrecorded / f"{run.id}.json"
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps({"run": as_json(run)}))
        fresh.rename(file)
        return file

    def has_left_over(self) -> bool:
        """Whether there is anything to recover; costs no more than a look."""
        return any(one.is_file() for folder in self._folders() for one in folder.glob("*.json"))

    def strange(self) -> list[str]:
        """What has an entry's name and is none, such as a directory: each with what to do."""
        found = [one for folder in self._folders() for one in sorted(folder.glob("*.json"))]
        return [
            f"{one} is no file, so no run: it is passed over; move it away"
            for one in found
            if one.exists() and not one.is_file()
        ]

    def recover(self, history: History) -> list[Run]:
        """Record what was left over, and return it. Raises StoreError."""
        recovered = []
        for folder in self._folders():
            for file, lock in _abandoned(folder):
                try:
                    run = _left_over(file, lock)
                    if run is not None:
                        if run.id not in _known(history, run):
                            history.append(run)
                            recovered.append(run)
                        file.unlink(missing_ok=True)
                finally:
                    os.close(lock)
        return recovered

    def _folders(self) -> tuple[Path, Path]:
        return self.unrecorded, self.begun


def _abandoned(folder: Path) -> Iterator[tuple[Path, int]]:
    """The files there that nobody holds, oldest first, each with our lock on it.

    A history is in the order of recording, and two ids of one second say nothing of theirs.
    """
    for file in sorted(folder.glob("*.json"), key=_written):
        if not file.is_file():  # a pipe would never be opened; `strange` tells of it
            continue
        with suppress(OSError):  # gone, not ours to read, or locked: somebody sees to it
            lock = os.open(file, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                raise
            if os.fstat(lock).st_nlink:  # else another has just recorded and removed it
                yield file, lock
            else:
                os.close(lock)


def _written(file: Path) -> tuple[int, str]:
    try:
        return file.stat().st_mtime_ns, file.name
    except OSError:  # gone meanwhile, or not ours to look at: opening it will tell
        return 0, file.name


def _left_over(file: Path, lock: int) -> Run | None:
    """The run in a file that was left over; None if its machine may still be at it."""
    about = os.fstat(lock)
    try:
        told = json.loads(os.pread(lock, ENTRY_BYTES_MAX, 0))
        run = run_of(told["run"])
        if "pid" not in told:
            return run
        host, pid = str(told["host"]), told["pid"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        at_ns = about.st_mtime_ns
        because = f"its entry in the journal cannot be read: {error!r}"
        return Run(file.stem, "", at_ns, at_ns, exit_status=None, because=because)
    if host != socket.gethostname() and _age_s(about) < FOREIGN_S:
        return None
    because = f"never seen to end: measure (pid {pid} on {host}) died"
    return run._replace(exit_status=None, because=because)


def _age_s(about: os.stat_result) -> float:
    from nilometer.clock import wall_ns

    return wall_ns() / 1e9 - about.st_mtime


def _known(history: History, run: Run) -> set[str]:
    """The runs of that time that the history has: `measure` may have died after recording."""
    since_ns: Any = min(run.started_ns, run.ended_ns) - SLACK_NS
    return {one.id for one in history.runs(since_ns=since_ns, parts=False)}
