"""How the value of each kind of setting is read, from TOML, a variable or an argument alike.

Every reader takes the value as written and its origin, and returns the value or raises
ConfigError. Variables hold lists and tables as ``a,b`` and ``key=value,key=value``.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from nilometer.errors import ConfigError, nearest
from nilometer.model.dimensions import text_of
from nilometer.model.level import Level

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.model.endpoint import Endpoint
    from nilometer.model.patch import Patch
    from nilometer.setting_tach import Tach

TRUTHS: Final = {"true": True, "1": True, "yes": True, "on": True} | {
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}
DURATION_UNITS_S: Final = {
    "": 1.0,
    "ms": 0.001,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86_400.0,
    "w": 604_800.0,
}
DURATION_S_MAX: Final = 100 * 365 * 86_400.0  # a century: beyond it somebody mistyped
KEY_FILE_BYTES_MAX: Final = 1 << 16  # a thousand keys of 64 characters
KEY_BYTES_MIN: Final = 8
"""Below it a key can be guessed from one signed header; OSProfiler's samples have 10."""
SHOWN_CHARS_MAX: Final = 200  # of a wrong value, in an error


def refuse(value: object, origin: str, why: str) -> NoReturn:
    """Raise the error that a wrong value earns."""
    shown = repr(value)
    if len(shown) > SHOWN_CHARS_MAX:
        shown = shown[:SHOWN_CHARS_MAX] + "..."
    raise ConfigError(f"{origin}: {shown} {why}", slug="bad-setting")


def text(value: object, origin: str) -> str:
    """Text without controls: it becomes part of names and lines elsewhere."""
    if not isinstance(value, str):
        refuse(value, origin, "is not text")
    if not value.isprintable():
        refuse(value, origin, "has characters that cannot be printed")
    return value.strip()


def path(value: object, origin: str) -> str:
    """A path in the file system, as text."""
    if not isinstance(value, str | os.PathLike):
        refuse(value, origin, "is not a path")
    return os.fspath(value)


def number(least: float, most: float) -> Callable[[object, str], float]:
    """A reader of numbers within bounds."""

    def read(value: object, origin: str) -> float:
        try:
            if isinstance(value, bool) or not isinstance(value, str | int | float):
                raise ValueError
            number = float(value)
        except (ValueError, OverflowError):
            refuse(value, origin, "is not a number")
        if not least <= number <= most:
            refuse(value, origin, f"is out of bounds; from {least:g} to {most:g}")
        return number

    return read


def count(least: int, most: int) -> Callable[[object, str], int]:
    """A reader of whole numbers within bounds."""

    def read(value: object, origin: str) -> int:
        number_of = number(least, most)(value, origin)
        if number_of != int(number_of):
            refuse(value, origin, "is not a whole number")
        return int(number_of)

    return read


def duration(least_s: float, most_s: float) -> Callable[[object, str], float]:
    """A reader of durations in seconds: a number, or text with a unit."""
    seconds = number(least_s, most_s)

    def read(value: object, origin: str) -> float:
        if isinstance(value, str):
            match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|[smhdw]?)", value.strip())
            if match is None:
                refuse(
                    value, origin, "is not a duration; write it as in 10, 500ms, 5m, 2h, 14d"
                )
            return seconds(float(match[1]) * DURATION_UNITS_S[match[2]], origin)
        return seconds(value, origin)

    return read


def truth(value: object, origin: str) -> bool:
    """True or false."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word not in TRUTHS:
        refuse(value, origin, f"is neither true nor false{nearest(word, TRUTHS)}")
    return TRUTHS[word]


def level(value: object, origin: str) -> Level:
    """A level by its name, or as it is."""
    if isinstance(value, Level):
        return value
    if not isinstance(value, str):
        refuse(value, origin, f"is not a level{nearest(str(value), LEVEL_NAMES)}")
    return Level.parse(value, origin=origin)


LEVEL_NAMES: Final = tuple(one.name.lower() for one in Level)


def names(value: object, origin: str) -> tuple[str, ...]:
    """A list of texts; in a variable separated by commas, which no URL of ours contains."""
    if isinstance(value, str):
        value = [part for part in value.split(",") if part.strip()]
    if not isinstance(value, Sequence) or isinstance(value, bytes | bytearray):
        refuse(value, origin, "is not a list")
    return tuple(text(one, origin) for one in value)


def urls(value: object, origin: str) -> tuple[str, ...]:
    """A list of URLs; what is wrong is told without them, for they may hold secrets."""
    try:
        return names(value, origin)
    except ConfigError:
        raise ConfigError(f"{origin}: not a list of URLs", slug="bad-setting") from None


def pairs(value: object, origin: str) -> dict[str, str]:
    """A table of texts; in a variable ``key=value,key=value``."""
    return {
        text(key, origin): text(text_of(one), origin)
        for key, one in _table(value, origin).items()
    }


def levels(value: object, origin: str) -> dict[str, Level]:
    """A table of levels by prefix; a dot at its end says nothing."""
    return {
        text(prefix, origin).removesuffix("."): level(one, f"{origin}: {prefix}")
        for prefix, one in _table(value, origin).items()
    }


def _table(value: object, origin: str) -> Mapping[Any, Any]:
    if isinstance(value, str):
        parts = [part for part in value.split(",") if part.strip()]
        for part in parts:
            if "=" not in part:
                refuse(value, origin, f"is not key=value,key=value: {part!r} has no '='")
        split = [part.partition("=") for part in parts]
        return {key.strip(): one.strip() for key, _, one in split}
    if not isinstance(value, Mapping):
        refuse(value, origin, "is not a table")
    for key, one in value.items():
        if isinstance(one, Mapping | list | tuple):
            refuse({key: one}, origin, "holds a table or a list where one value belongs")
    return value


def keys(value: object, origin: str) -> tuple[bytes, ...]:
    """Secret keys; errors never show them."""
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, Sequence) or isinstance(value, bytes | bytearray):
        raise ConfigError(f"{origin}: not a list of keys", slug="bad-key")
    read = []
    for position, key in enumerate(value, 1):
        if not isinstance(key, str | bytes):
            raise ConfigError(f"{origin}: key {position} is not text", slug="bad-key")
        try:
            secret = key.encode() if isinstance(key, str) else key
        except UnicodeEncodeError:
            secret = None  # raised below, for the error of the encoding holds the key
        if secret is None:
            raise ConfigError(
                f"{origin}: key {position} is not UTF-8; a key of other bytes can stand in "
                "trace_key_file",
                slug="bad-key",
            )
        read.append(_key(secret, position, origin))
    return tuple(read)


def _key(key: bytes, position: int, origin: str) -> bytes:
    key = key.strip()
    if len(key) < KEY_BYTES_MIN:
        raise ConfigError(
            f"{origin}: key {position} is shorter than {KEY_BYTES_MIN} characters; make one "
            "with: openssl rand -base64 32",
            slug="bad-key",
        )
    return key


def keys_of(file: str, origin: str) -> tuple[bytes, ...]:
    """The keys in a file, one a line, ``#`` starts a comment; strangers must not read it."""
    try:
        mode = Path(file).stat().st_mode
        with Path(file).open("rb") as stream:
            content = stream.read(KEY_FILE_BYTES_MAX)
    except OSError as error:
        raise ConfigError(
            f"{origin}: {file}: {error.strerror or 'cannot be read'}", slug="bad-key-file"
        ) from None
    if mode & 0o007:
        raise ConfigError(
            f"{origin}: {file} is open to every user of this machine (mode {mode & 0o777:o}); "
            f"close it with: chmod 600 {file}",
            slug="bad-key-file",
        )
    lines = [line.strip() for line in content.splitlines()]
    found = [line for line in lines if line and not line.startswith(b"#")]
    if not found:
        raise ConfigError(
            f"{origin}: {file} holds no key; make one with: openssl rand -base64 32 > {file}",
            slug="bad-key-file",
        )
    return tuple(_key(key, at, f"{origin}: {file}") for at, key in enumerate(found, 1))


def written(value: object) -> str:
    """A value for people."""
    if isinstance(value, Level):
        return value.name.lower()
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={written(one)}" for key, one in value.items()) or "none"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None or value == "" else text_of(value)


class Table(dict[str, Any]):
    """A table that knows where in the file it stood: there may be many of one name."""

    __slots__ = ("origin",)

    def __init__(self, table: Mapping[str, Any], origin: str) -> None:
        super().__init__(table)
        self.origin = origin


def patches(value: object, origin: str) -> tuple[Patch, ...]:
    """Patches, read by a module of their own that only they need."""
    from nilometer.setting_patches import patches as read

    return read(value, origin)


def endpoint(value: object, origin: str) -> Endpoint | None:
    """Where the admin endpoint listens; None for nowhere."""
    from nilometer.setting_admin import endpoint as read

    return read(value, origin)


def series_names(value: object, origin: str) -> Mapping[str, str]:
    """A table of DropWizard's names by series."""
    from nilometer.setting_admin import series_names as read

    return read(value, origin)


def tach(value: object, origin: str) -> Tach | None:
    """A configuration file of Tach's; None for no path."""
    from nilometer.setting_tach import read

    return read(path(value, origin), origin) if value else None


def program_name() -> str:
    """What the process calls itself, for a service that was given no name."""
    program = Path(sys.argv[0]).name.removesuffix(".py") if sys.argv and sys.argv[0] else ""
    if program == "-m":  # Python has not looked for the module yet: it is as it was typed
        typed = sys.orig_argv[sys.orig_argv.index("-m") + 1 :] if "-m" in sys.orig_argv else ()
        program = typed[0].rpartition(".")[2] if typed else ""
    if program in ("", "-c", "__main__"):
        program = Path(sys.argv[0]).parent.name if program == "__main__" else ""
    return program if program.isprintable() and program else "unknown_service"
