"""All counters of one backend at one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nilometer.counters.figures import UNKNOWN
from nilometer.counters.sound import sound_facts, sound_figures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nilometer.clock import Clock
    from nilometer.counters.backend import Backend
    from nilometer.counters.figures import Fact, Number, Series


class Snapshot(NamedTuple):
    """All counters of one backend at one moment.

    Counters of two incarnations cannot be subtracted, neither all of them nor single ones.
    `taken_ns` is the wall clock, for people, `elapsed_ns` the monotonic one, for arithmetic,
    both at the end of the read, which took `took_ns`. A counter that `facts` do not name is
    `UNKNOWN`.
    """

    backend: str
    instance: str
    version: str
    incarnation: str
    taken_ns: int
    elapsed_ns: int
    took_ns: int
    values: Mapping[Series, Number]
    facts: Mapping[str, Fact]
    notes: tuple[str, ...] = ()
    incarnations: Mapping[Series, str] = {}  # never written to
    whole: bool = False
    complete_ns: int | None = None
    unseen: str = ""
    unread: str = ""
    ids: Mapping[tuple[str, str], str] = {}  # never written to

    def totals(self) -> dict[str, Number]:
        """The counters without their parts, by name."""
        return {name: value for (name, parts), value in self.values.items() if not parts}

    def fact(self, counter: str) -> Fact:
        """What is known of a counter."""
        return self.facts.get(counter, UNKNOWN)


def snapshot(backend: Backend, clock: Clock) -> Snapshot:
    """Read a backend once. Raises BackendError; TypeError for what nobody can count with."""
    began_ns = clock.elapsed_ns()
    given = backend.read()
    ended_ns = clock.elapsed_ns()
    figures = sound_figures(given)
    return Snapshot(
        backend.name,
        backend.instance,
        figures.version,
        figures.incarnation,
        clock.wall_ns(),
        ended_ns,
        ended_ns - began_ns,
        figures.values,
        sound_facts(backend.facts()),
        figures.notes,
        figures.incarnations,
        figures.whole,
        figures.complete_ns,
        figures.unseen,
        figures.unread,
        figures.ids,
    )
