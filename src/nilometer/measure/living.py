"""What the processes of a host have measured just now, read from their files beside them.

Nothing is asked of a process, and nothing of it waits: a reader takes a copy of a file's blocks
while they may change. A counter's two words, and a gauge's, are read at once; a timer's blocks
are read again until nothing was recorded in between (see `arena_layout`).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from nilometer.errors import ArenaError
from nilometer.measure.arena_layout import Contents, read
from nilometer.measure.remains import files_of, is_locked, opened

if TYPE_CHECKING:
    from pathlib import Path


class Living(NamedTuple):
    """One process's file: what it held, or why it cannot be read."""

    path: Path
    lives: bool
    contents: Contents | None
    because: str = ""


def living(folder: Path) -> list[Living]:
    """Every process of this user that keeps, or left, values there. Raises OSError."""
    return [found for path in files_of(folder) if (found := _look(path)) is not None]


def _look(path: Path) -> Living | None:
    file = opened(path, os.O_RDONLY)
    if file is None:
        return None
    try:
        contents = read(file)
        lives = is_locked(file)  # closed at once: who collects finds it free the next time
    except (ArenaError, OSError) as error:
        return Living(path, False, None, str(error))
    finally:
        os.close(file)
    return None if contents is None else Living(path, lives, contents)
