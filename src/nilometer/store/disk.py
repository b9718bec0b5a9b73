"""What makes a commit survive a power cut: Delta's writer does not sync, so we do.

The rule: before version *v* is acknowledged, the log entries up to *v*, the files they add and
the directories that name them are on the disk. So only entries at the very end of a log can be
torn by a power cut, none of them was acknowledged, and an open sets them aside.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from nilometer.errors import StoreError
from nilometer.store.places import said

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

LOG: Final = "_delta_log"
LAST_CHECKPOINT: Final = "_last_checkpoint"
CHECKPOINT_EVERY: Final = 10
"""Commits between checkpoints. A commit reads the log from the last one on, which took 2 ms and
another 0.28 ms for every entry since; a checkpoint takes 15 ms, and shared by ten 1.5 ms."""


CUT_BYTES_MAX: Final = 500
"""The line before those that name files has 200 bytes, and each of these some 600."""

NONSENSE: Final[tuple[type[Exception], ...]] = (
    *(ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError),
)
"""What is raised where a log entry is not what Delta's writer writes."""


def sync(path: Path) -> bool:
    """Have the kernel put a file's content, or a directory's names, on the disk.

    One that is not there, or that another process has removed, needs no syncing: then False.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    return True


def sync_names(path: Path, *, up_to: Path) -> None:
    """Sync a directory and those above it, up to and with `up_to`."""
    sync(path)
    for parent in path.parents:
        if not parent.is_relative_to(up_to):
            return
        sync(parent)


def sync_versions(
    root: Path, first: int, last: int, *, synced: Collection[Path] = frozenset()
) -> None:
    """Sync what the log entries `first` to `last` of a table stand for, whoever wrote them.

    All but the files in `synced`: to sync one again has the disk flush its cache again.
    """
    log = root / LOG
    folders: set[Path] = set()
    checkpoints = False
    for version in range(first, last + 1):
        # One that a checkpoint stands in for may be damaged: nobody reads it any more.
        for path, _ in _added(entry_path(root, version)) or ():
            if root / path not in synced:
                sync(root / path)
            folders.add((root / path).parent)
        sync(entry_path(root, version))
        checkpoints |= sync(log / f"{version:020}.checkpoint.parquet")
    if checkpoints:
        sync(log / LAST_CHECKPOINT)
    for folder in sorted(folders):
        sync(folder)
    sync(root)
    sync(log)


def entry_path(root: Path, version: int) -> Path:
    """Where the log entry of that version lies."""
    return root / LOG / f"{version:020}.json"


def _added(entry: Path) -> list[tuple[str, int]] | None:
    """Path and size of each file that a log entry adds; None if it cannot be read.

    One that is gone adds none.
    """
    try:
        added = [action.get("add") for action in _actions(entry)]
        return [(unquote(add["path"]), int(add["size"])) for add in added if add]
    except FileNotFoundError:
        return []
    except NONSENSE:
        return None


def _actions(entry: Path) -> list[Any]:
    """The lines of a log entry. Raises FileNotFoundError, and `NONSENSE`.

    They end with a line feed and nothing else: names of instruments are in here, and they may
    hold whatever else Unicode takes for a line's end.
    """
    text = entry.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def is_cut(entry: Path) -> bool:
    """Whether of a commit of new rows nothing is left but the line that says it was one."""
    try:
        if entry.stat().st_size > CUT_BYTES_MAX:
            return False
        about = [action["commitInfo"] for action in _actions(entry)]
        return bool(about) and all(
            one["operationParameters"]["mode"] == "Append" for one in about
        )
    except FileNotFoundError:
        return False
    except NONSENSE:
        return False


def _is_torn(root: Path, entry: Path) -> bool:
    """Whether an entry, or a file that it adds, did not reach the disk whole."""
    if entry.stat().st_size == 0 or is_cut(entry):
        return True
    added = _added(entry)
    return added is None or any(_size(root / path) < size for path, size in added)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def set_torn_end_aside(root: Path) -> list[str]:
    """Rename the log's last entries if a power cut tore them; say which.

    Only an unbroken row of torn entries at the end can come from a power cut. A torn entry
    with a whole one after it is damage of another kind, and then nothing is touched. Nor is one
    that a checkpoint holds: the table is at that version by the checkpoint, and without its
    entry nothing could be committed any more. If one was set aside, it comes back.
    """
    held = _set_torn_checkpoint_aside(root)
    needed = entry_path(root, held)
    needless = needed.with_suffix(".json.torn")
    if needless.exists() and not needed.exists():
        needless.rename(needed)
    entries = sorted((root / LOG).glob("[0-9]*.json"))
    aside = []
    while len(entries) > 1 and _version(entries[-1]) > held and _is_torn(root, entries[-1]):
        torn = entries.pop()
        torn.rename(torn.with_suffix(".json.torn"))
        aside.append(torn.name)
    if aside:
        sync(root / LOG)
    return aside


def torn_end(root: Path) -> list[Path]:
    """The unbroken row of entries at the log's end that are empty or cannot be read.

    An empty one, or one cut before it names a file, a reader takes for a commit of nothing, at
    another it stops. One that a checkpoint holds is nobody's matter: what it committed is read
    from there.
    """
    found: list[Path] = []
    for entry in reversed(_entries_to_read(root)):
        if not (_is_empty(entry) or is_cut(entry) or _added(entry) is None):
            break
        found.insert(0, entry)
    return found


def empty_within(root: Path) -> str:
    """The first entry that commits nothing with a whole one after it, which no power cut
    leaves; else "".

    A reader takes it for a commit of nothing, and what it committed would be missing unsaid.
    """
    entries = _entries_to_read(root)
    inner = entries[: len(entries) - len(torn_end(root))]
    return next((entry.name for entry in inner if _is_empty(entry) or is_cut(entry)), "")


def _entries_to_read(root: Path) -> list[Path]:
    """The log's entries beyond its latest checkpoint, in their order."""
    log = root / LOG
    held = max(map(_version, log.glob("[0-9]*.checkpoint.parquet")), default=-1)
    return sorted(path for path in log.glob("[0-9]*.json") if _version(path) > held)


def _is_empty(entry: Path) -> bool:
    try:
        return not entry.stat().st_size
    except FileNotFoundError:  # a writer set it aside just now
        return False


def _set_torn_checkpoint_aside(root: Path) -> int:
    """Forget a checkpoint that ends before its last four bytes, which are always `PAR1`.

    The version of the latest that is whole; -1 if there is none.
    """
    for checkpoint in sorted((root / LOG).glob("[0-9]*.checkpoint.parquet"), reverse=True):
        with checkpoint.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4))
            whole = file.read() == b"PAR1"
        if whole:
            return _version(checkpoint)
        checkpoint.rename(checkpoint.with_suffix(".parquet.torn"))
        (root / LOG / LAST_CHECKPOINT).unlink(missing_ok=True)
    return -1


def _version(path: Path) -> int:
    """Of a file of the log: the number that its name begins with."""
    return int(path.name.partition(".")[0])


def damaged(root: Path | str, error: BaseException) -> StoreError:
    """The error for a table whose log cannot be read, with how to go on."""
    return StoreError(
        f"{root}: the table's log cannot be read: {said(error)}; put a copy of that directory "
        "back, or move it away: an empty table is begun then, without what it held",
        slug="store-damaged",
    )
