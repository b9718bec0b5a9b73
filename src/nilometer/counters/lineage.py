"""Which processes belong to a tree though their parents ended, and whose figures went astray.

The kernel adds what a process did to its parent's figures when the parent asks how it ended. A
process whose parent ended first belongs to init from then on, and so do its figures at its end;
those of a child whose parent ignores the ends of children (SIGCHLD) are added nowhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nilometer.counters.procfs import descendants

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nilometer.counters.procfs import Process

    Known = tuple[int, int]
    """A process: its number, and when it started."""


class Seen(NamedTuple):
    """A process at the last look; `parent` is None if that is none of the tree."""

    name: str
    parent: Known | None
    faults: int
    of_children: int


class Lineage:
    """Remembers the processes of a tree from one look to the next.

    `lost` has the names of those whose figures nobody has: all that ended without a parent in
    the tree, and those whose parent did not get the page faults that each process has.
    """

    def __init__(self) -> None:
        self._seen: dict[Known, Seen] = {}
        self.lost: list[str] = []

    def tree(self, everybody: Sequence[Process], roots: Iterable[int]) -> list[Process]:
        """The roots, all that they started, and what was so once and still lives."""
        here = {_known(one): one for one in everybody}
        orphans = [known[0] for known in self._seen if known in here]
        found = descendants(everybody, [*roots, *orphans])
        by_pid = {one.pid: _known(one) for one in found}
        now = {_known(one): _seen(one, by_pid.get(one.parent)) for one in found}
        self._account(now)
        self._seen = now
        return found

    def _account(self, now: dict[Known, Seen]) -> None:
        """Whether what ended since the last look is in the figures of those that are left."""
        heirs: dict[Known | None, list[Seen]] = {}
        for known, one in self._seen.items():
            if known not in now:
                heirs.setdefault(self._heir(one, now), []).append(one)
        for heir, ended in heirs.items():
            owed = sum(one.faults for one in ended)
            if heir is None or now[heir].of_children - self._seen[heir].of_children < owed:
                self.lost += [one.name for one in ended]

    def _heir(self, one: Seen, now: dict[Known, Seen]) -> Known | None:
        """The nearest of those it came from that is still there."""
        heir = one.parent
        while heir is not None and heir not in now:
            heir = self._seen[heir].parent
        return heir


def _known(one: Process) -> Known:
    return one.pid, one.numbers["started_ticks"]


def _seen(one: Process, parent: Known | None) -> Seen:
    of_children = one.numbers["children_minor_faults"]
    return Seen(one.name, parent, one.numbers["minor_faults"] + of_children, of_children)
