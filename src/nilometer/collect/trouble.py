"""Which rows the tables refuse just now, by how the last commits of each kind ended.

Spans say nothing of readings: they lie in tables of their own. A refusal is over with the next
commit of its kind, or when whoever was refused has had the time to come again and did not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nilometer.collect.group import is_of_the_store

if TYPE_CHECKING:
    from nilometer.clock import Clock
    from nilometer.collect.group import Commit

RETRIED_NS: Final = 300 * 10**9
"""So long OpenTelemetry's senders try again; ours go on, and wait a minute at most between."""


class Trouble:
    """Is told of each commit; knows what is refused, and how often it was without success."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._refused_ns: dict[str, int] = {}
        self._failures = 0

    def note(self, commit: Commit) -> None:
        """A commit has ended; rows that cannot be stored are no fault of the tables."""
        if commit.error is None:
            for kind in commit.kinds:
                self._refused_ns.pop(kind, None)
        elif is_of_the_store(commit.error):
            self._failures = self.failures + 1
            self._refused_ns.update(dict.fromkeys(commit.kinds, self._clock.elapsed_ns()))

    @property
    def kinds(self) -> list[str]:
        """The kinds of rows that are refused."""
        since_ns = self._clock.elapsed_ns() - RETRIED_NS
        return sorted(kind for kind, at_ns in self._refused_ns.items() if at_ns >= since_ns)

    @property
    def failures(self) -> int:
        """How many commits failed since nothing was refused; 0 if nothing is."""
        return self._failures if self.kinds else 0
