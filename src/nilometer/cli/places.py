"""Paths of this checkout as those of another version's: in words of commands, in variables."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ALWAYS_OURS: Final = frozenset({"HOME", "PWD"})
"""Variables that are not rewritten: whoever keeps a home in git still has one home."""

_BEFORE: Final = r"(?:(?<![\w./~-])|(?<=://)|(?<=^-)|(?<=^-\w))"
_TAIL: Final = r"(?![\w.~-])(?:/[^\s'\"`:;,|&<>()\[\]{}=]*)?"


class Places(NamedTuple):
    """Where this version's files are, in every spelling, and where those of the other.

    A path that the other has is moved there; what it lacks (a virtual environment, most often)
    stays, and both versions use it.
    """

    tops: tuple[str, ...]
    base: str

    def moved(self, text: str) -> str:
        """The same text with each path of this checkout that the other has, too, moved there.

        >>> Places(("/repo",), "/nowhere").moved("pytest tests")
        'pytest tests'
        """
        for top in self.tops:
            if _is_in(text, top) and os.path.lexists(self.base + text[len(top) :]):
                return self.base + text[len(top) :]  # whole, though it may hold blanks
        return self._pattern().sub(lambda found: self._there(found[0]), text)

    def lacking(self, text: str) -> Iterator[Path]:
        """Each path of this checkout in the text that is here and not there."""
        for found in self._pattern().finditer(text):
            if self._there(found[0]) == found[0] and os.path.lexists(found[0]):
                yield Path(found[0])

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """The variables as a command gets them that runs there."""
        return {
            name: value if name in ALWAYS_OURS else self.moved(value)
            for name, value in given.items()
        }

    def _pattern(self) -> re.Pattern[str]:
        tops = "|".join(re.escape(top) for top in self.tops)
        return re.compile(f"{_BEFORE}(?:{tops}){_TAIL}")

    def _there(self, path: str) -> str:
        top = next(top for top in self.tops if _is_in(path, top))
        other = self.base + path[len(top) :]
        return other if os.path.lexists(other) else path


def spellings(top: Path, directory: Path, given: Mapping[str, str]) -> tuple[str, ...]:
    """The names of a checkout: its own, and the one by which the shell came to `directory`.

    They differ where a link leads to it; the longest comes first.
    """
    names = {os.path.realpath(top)}
    came = given.get("PWD", "")
    inside = os.path.relpath(os.path.realpath(directory), os.path.realpath(top))
    if came.startswith("/") and os.path.realpath(came) == os.path.realpath(directory):
        by_link = Path(came)
        for _ in Path(inside).parts:
            by_link = by_link.parent
        if os.path.realpath(by_link) == os.path.realpath(top):
            names.add(str(by_link))
    return tuple(sorted(names, key=len, reverse=True))


def _is_in(path: str, top: str) -> bool:
    return path == top or path.startswith(top.rstrip("/") + "/")
