"""The tokens of ``--token-file``, read again when it changes: rotation needs no restart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from nilometer.collect.settings import read_tokens
from nilometer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.collect.settings import Tokens

ORIGIN: Final = "--token-file"

Stamp = tuple[int, int, int]


class TokenFile:
    """Looks at the file when it is asked to. `say` is told once of each content that is bad."""

    def __init__(self, path: str, say: Callable[[str], None]) -> None:
        self._path = path
        self._say = say
        self._stamp: Stamp | None = None  # the first look reads: it may have changed since

    def changed(self) -> Tokens | None:
        """The tokens if the file is another than at the last look; None if it is the same.

        None too where it is bad or gone: the tokens from before go on to hold, so that a slip
        of the pen locks nobody out.
        """
        try:
            told = Path(self._path).stat()
            stamp = (told.st_mtime_ns, told.st_size, told.st_ino)
        except OSError:
            stamp = (0, 0, 0)
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        try:
            return read_tokens(self._path, origin=ORIGIN)
        except ConfigError as error:
            self._say(f"{error}; the tokens from before go on to hold")
            return None
