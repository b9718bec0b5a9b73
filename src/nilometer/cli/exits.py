"""The exit codes, the same for every command; docs/cli.md explains them and a test compares.

`nilometer run` is the exception: it becomes the program it measures, with that one's codes, and
`nilometer measure` ends as its command did.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What a script may rely on."""

    OK = 0
    NOT_FOUND = 1  # asked and answered: no such trace or metric; `--against`: nobody can say
    USAGE = 2  # a flag, argument, setting or file cannot be used (click's own code, too)
    UNREACHABLE = 3  # a collector, backend or receiver does not answer, or not in time
    REFUSED = 4  # it answered, and said no; or what was given is damaged
    UNHEALTHY = 5  # `doctor` found something that wants a person
    FAILED = 6  # `gate check --fail` found a change that costs more
    UNRECORDED = 7  # `measure` ran its command, which ended with 0, and kept the run in a file


INTERRUPTED = 128 + 2  # Ctrl-C, as a shell calls a process that SIGINT ended
