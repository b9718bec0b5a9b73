"""How deep to measure, by prefixes of names: what a registry was told."""

from __future__ import annotations

from typing import Final

from nilometer.model import Level

OWN: Final = "nilometer"  # what we tell of ourselves


class Levels:
    """The longest prefix that fits a name decides, in whole dotted parts; '' fits all."""

    __slots__ = ("_set",)

    def __init__(self) -> None:
        # Ours stay on when everything else is switched off, so that losses are never silent.
        self._set: dict[str, Level] = {"": Level.BASIC, OWN: Level.BASIC}

    def set(self, prefix: str, level: Level) -> None:
        """From now on this prefix says that."""
        self._set[prefix.removesuffix(".")] = level

    def said(self) -> dict[str, Level]:
        """What each prefix says, '' first."""
        return dict(sorted(self._set.items()))

    def of(self, name: str) -> Level:
        """What is said of a name."""
        return self._set[self.deciding(name)]

    def deciding(self, name: str) -> str:
        """The prefix that says it."""
        while name not in self._set:
            name = name.rpartition(".")[0]
        return name

    def is_on(self, name: str, level: Level) -> bool:
        """An instrument is on at its own level and deeper ones; one made OFF never is."""
        return Level.OFF < level <= self.of(name)

    def are_off(self) -> bool:
        """Whether all is OFF but what tells of ourselves."""
        said = self._set.items()
        return all(level == Level.OFF for prefix, level in said if prefix != OWN)
