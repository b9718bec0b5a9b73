"""How deep to measure."""

from __future__ import annotations

from enum import IntEnum

from nilometer.errors import ConfigError, nearest


class Level(IntEnum):
    """An instrument is on while its own level is at most the level set for its name."""

    OFF = 0
    BASIC = 1
    DETAIL = 2
    DEEP = 3

    @classmethod
    def of(cls, given: Level | str, *, origin: str) -> Level:
        """A level as it is, or by its name or number. Raises ConfigError for what is none."""
        if isinstance(given, str):
            return cls.parse(given, origin=origin)
        try:
            return cls(given)
        except ValueError:
            names = ", ".join(f"{level.name.lower()} {level}" for level in cls)
            raise ConfigError(
                f"{origin}: no level {given!r} ({names})", slug="no-such-level"
            ) from None

    @classmethod
    def parse(cls, text: str, *, origin: str) -> Level:
        """The level of that name; `origin` says where the text stood.

        >>> Level.parse("detial", origin="nilometer.toml:7")
        Traceback (most recent call last):
        nilometer.errors.ConfigError: nilometer.toml:7: no level 'detial'; \
did you mean 'detail'? (off, basic, detail, deep) [no-such-level]
        """
        names = {level.name.lower(): level for level in cls}
        try:
            return names[text.strip().lower()]
        except KeyError:
            raise ConfigError(
                f"{origin}: no level {text!r}{nearest(text, names)}", slug="no-such-level"
            ) from None
