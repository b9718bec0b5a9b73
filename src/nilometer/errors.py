"""Every error that Nilometer raises on purpose, and the slug under which it is explained.

    NilometerError
     +-- ConfigError           a setting: says origin, value, the nearest valid one, the choice
     +-- InstrumentClashError  one name, two kinds or units
     +-- WireError             bytes cannot be read; carries the reason they are counted by
     +-- StoreError            the tables cannot be read or written
     +-- EngineError           a cluster that was to answer a question does not
     +-- ArenaError            a file of values cannot be read

Each message ends in ``[slug]``; docs/messages.md has a paragraph per slug (a test compares).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class NilometerError(Exception):
    """The root of all our errors."""

    def __init__(self, message: str, *, slug: str) -> None:
        super().__init__(f"{message} [{slug}]")
        self.slug = slug


class ConfigError(NilometerError, ValueError):
    """A setting that cannot be used, told before anything starts."""


class InstrumentClashError(NilometerError, ValueError):
    """An instrument was made twice with different kinds or units."""


class WireError(NilometerError, ValueError):
    """Bytes that do not follow their protocol, counted under the word `reason`."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message, slug=f"wire-{reason}")
        self.reason = reason


class StoreError(NilometerError, RuntimeError):
    """The tables cannot be read or written."""


class EngineError(NilometerError, RuntimeError):
    """A cluster that was to answer a question is not there, or does not answer it."""


class ArenaError(NilometerError, RuntimeError):
    """A file of values that another process left, or keeps, cannot be read."""


def together(faults: Sequence[ConfigError]) -> ConfigError:
    """One error that tells every fault of the settings, each on a line with its slug."""
    if len(faults) == 1:
        return faults[0]
    told = "".join(f"\n  {fault}" for fault in faults)
    return ConfigError(f"{len(faults)} settings cannot be used:{told}\n ", slug="bad-settings")


def said_by(error: Exception) -> str:
    """What an exception of Python's says, without advice that a sender of bytes cannot follow.

    >>> said_by(ValueError("Exceeds the limit; use sys.set_int_max_str_digits() to increase"))
    'a number has thousands of digits'
    """
    text = str(error)
    if "set_int_max_str_digits" in text:
        return "a number has thousands of digits"
    return text


def to_install(extra: str) -> str:
    """How an extra is installed, from a release or where there is none.

    >>> to_install("store")
    "pip install 'nilometer[store]' (in a clone: pip install '.[store]')"
    """
    return f"pip install 'nilometer[{extra}]' (in a clone: pip install '.[{extra}]')"


def nearest(value: str, choices: Iterable[str]) -> str:
    """The end of an error about a wrong choice: the nearest valid one, then all of them.

    >>> nearest("detial", ["off", "basic", "detail"])
    "; did you mean 'detail'? (off, basic, detail)"
    >>> nearest("x", ["off", "basic"])
    '; choose from off, basic'
    """
    from difflib import get_close_matches  # 5 ms of import that only an error needs

    known = list(choices)
    near = get_close_matches(value.lower(), known, n=1)
    if near:
        return f"; did you mean {near[0]!r}? ({', '.join(known)})"
    return f"; choose from {', '.join(known)}"
