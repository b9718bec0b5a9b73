"""Scopes as a user says them: rules in a setting or in a file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from nilometer.errors import ConfigError
from nilometer.model.scopes import Rule


def rules(text: str, *, origin: str) -> tuple[Rule, ...]:
    """Rules as people write them: ``tenant-*-jobs=jobs``, by commas or lines; # is a comment.

    Raises ConfigError.

    >>> rules("tenant-*-jobs=jobs, *.q=queue of {1}", origin="--scopes")
    (Rule(pattern='tenant-*-jobs', scope='jobs'), Rule(pattern='*.q', scope='queue of {1}'))
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        for said in line.partition("#")[0].split(","):
            pattern, equals, scope = (part.strip() for part in said.partition("="))
            if not pattern and not equals:
                continue
            rule = Rule(pattern, scope)
            _check(rule, said.strip(), equals, f"{origin}, line {number}")
            found.append(rule)
    return tuple(found)


def _check(rule: Rule, said: str, equals: str, origin: str) -> None:
    because = ""
    if not (equals and rule.pattern and rule.scope):
        because = "a rule is PATTERN=SCOPE, as in tenant-*-jobs=jobs"
    elif rule.pattern.count("*") > STARS_MAX:
        because = f"a pattern has {STARS_MAX} stars at most"
    elif max(
        map(int, re.findall(r"\{(\d{1,9})\}", rule.scope)), default=0
    ) > rule.pattern.count("*"):
        because = "the scope names a star that the pattern has not"
    if because:
        raise ConfigError(f"{origin}: {said!r}: {because}", slug="bad-scope-rule")


STARS_MAX: Final = 2
"""Each star multiplies the steps by the length of the name: 512^2 / 2 take a millisecond, 512^3
would take seconds."""


def rules_file(file: str, *, origin: str) -> tuple[Rule, ...]:
    """The rules in a file. Raises ConfigError."""
    try:
        text = Path(file).expanduser().read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{origin}: scopes_file={file!r} cannot be read: {error}", slug="bad-scope-rule"
        ) from None
    return rules(text, origin=file)
