"""A command and its flags as they may be written down: without what looks like a secret."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Final

from click.core import ParameterSource

from nilometer.counters.target import hidden

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import click

COMMAND_CHARS_MAX: Final = 200  # two lines of a terminal

FLAGS: Final = {
    "flags": {
        "named": "-b",
        "without": "--without",
        "idle": "--idle",
        "work": "--work",
        "test_set": "--test-set",
        "junit": "--junit",
    },
    "flags.history": {"history": "--history"},
}
"""The attributes of a run that tell how it is measured again, and judged by the same others: by
their names the flags in each."""

_SECRET: Final = re.compile(r"(?i)((?:pass|passwd|password|token|secret|key)=).+")
_SECRET_NEXT: Final = re.compile(r"(?i)-{1,2}[\w-]*(?:pass|passwd|password|token|secret|key)$")
_HEADER: Final = re.compile(r"(?i)^([\w-]*(?:authorization|cookie|token|secret|key)[\w-]*:).+")


def shown(command: Sequence[str]) -> str:
    """A command as it may be written down: without what looks like a secret.

    >>> shown(["pytest", "--db=mysql://me:s3@db/x", "token=abc"])
    "pytest '--db=mysql://***@db/x' 'token=***'"
    >>> shown(["sh", "--password", "s3cret", "-H", "Authorization: Bearer abc"])
    "sh --password '***' -H 'Authorization: ***'"
    """
    plain = [hidden(word) if "://" in word else word for word in command]
    plain = [_HEADER.sub(r"\1 ***", word) for word in plain]
    before = ["", *plain]
    words = [
        "***" if _SECRET_NEXT.match(last) else _SECRET.sub(r"\1***", word)
        for last, word in zip(before, plain, strict=False)
    ]
    text = shlex.join(words)
    return text if len(text) <= COMMAND_CHARS_MAX else text[: COMMAND_CHARS_MAX - 1] + "…"


def shown_flags(context: click.Context) -> dict[str, str]:
    """The attributes of a run with the flags of `FLAGS` that stood on the command line."""
    given = {name: [*_given(context, flags)] for name, flags in FLAGS.items()}
    return {name: shown(words) for name, words in given.items() if words}


def _given(context: click.Context, flags: Mapping[str, str]) -> Iterator[str]:
    for name, flag in flags.items():
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            value = context.params[name]
            for one in value if isinstance(value, tuple) else (value,):
                yield from (flag, str(one))
