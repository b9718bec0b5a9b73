"""What databases, brokers and the kernel did meanwhile: for the whole run, or for each test.

Whose work a server does nobody can tell from its counters. So they are put down to a test only
while tests run one at a time; what shared fixtures do then is part of the test that asks first.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from nilometer.clock import Clock
from nilometer.config import load_for_commands
from nilometer.counters.apart import apart
from nilometer.counters.backend import Surroundings
from nilometer.counters.bracket import Bracket
from nilometer.counters.choice import chosen
from nilometer.counters.gather import Gatherer
from nilometer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.model.run import BackendRead, Count

MODES: Final = ("session", "test")


class Backends:
    """The backends of a run, bracketed as often as asked for."""

    def __init__(self, config: pytest.Config, mode: str) -> None:
        if mode == "test" and config.getoption("dist", "no") != "no":
            raise pytest.UsageError(
                "--nilometer-backends test needs one test at a time, as nobody can tell whose "
                "work a server does: leave out -n, or say --nilometer-backends session"
            )
        self.mode = mode
        self._clock = Clock()
        self._bracket: Bracket | None = None
        try:
            settings = load_for_commands()
            named = [(url, "--nilometer-backend") for url in config.getoption(ONE)]
            named = named or [(u, settings.origin("backends")) for u in settings.backends]
            found = chosen(named, Surroundings(os.environ, Path.home()))
        except ConfigError as error:
            raise pytest.UsageError(str(error)) from None
        self._gatherer = Gatherer(apart(found), self._clock)

    def open(self) -> None:
        """Count from now on."""
        self._bracket = Bracket(self._gatherer, self._clock, idle_s=0)
        self._bracket.open()

    def close(self) -> dict[str, Any]:
        """What they did since `open`, by backend: how far counters moved, what is unknown."""
        if self._bracket is None:
            return {}
        reads, counts = self._bracket.close()
        self._bracket = None
        return {read.name: _told(read, counts) for read in reads}

    def end(self) -> None:
        """Let go of all connections."""
        self._gatherer.close()


ONE: Final = "--nilometer-backend"


def _told(read: BackendRead, counts: Sequence[Count]) -> dict[str, Any]:
    """One backend: how far its counters moved, and of what nobody knows why."""
    own = [one for one in counts if one.backend == read.name and not one.dimensions]
    unknown = {one.counter: one.because for one in own if one.delta is None}
    return {
        "counts": {one.counter: one.delta for one in own if one.delta is not None},
        **({"unknown": unknown} if unknown else {}),
        **({"because": read.because} if read.because else {}),
    }
