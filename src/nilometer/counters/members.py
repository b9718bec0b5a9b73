"""Figures of things that come and go, summed by scope; what goes takes its count along.

A queue, or an exchange, may be deleted while the broker goes on, and its figures with it. Then
nobody knows how far its scope moved, and the sum over those that are left would be wrong
without looking so. What was seen at one read and is gone, or smaller, at the next is counted as
lost to its scope.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nilometer.counters.parts import OVERFLOW

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from nilometer.counters.figures import Number, Series
    from nilometer.counters.parts import Kept
    from nilometer.model.dimensions import Dimensions

    Member = tuple[str, str]
    """Virtual host and name."""


class Members:
    """Remembers what each member showed at the last read."""

    def __init__(self) -> None:
        self._seen: dict[Member, tuple[str, Mapping[str, int]]] = {}
        self._lost: dict[str, int] = {}
        self._taken: dict[tuple[str, str], int] = {}

    def read(
        self, members: Iterable[tuple[Member, str, Mapping[str, int]]]
    ) -> tuple[dict[str, dict[str, int]], dict[str, int]]:
        """Sums by scope and figure, and how many members each scope has lost so far.

        A member is its identity, its scope and its figures by name.
        """
        sums: dict[str, dict[str, int]] = {}
        seen: dict[Member, tuple[str, Mapping[str, int]]] = {}
        for member, scope, figures in members:
            seen[member] = scope, figures
            of_scope = sums.setdefault(scope, {})
            for name, value in figures.items():
                of_scope[name] = of_scope.get(name, 0) + value
        for member, (scope, earlier) in self._seen.items():
            now = seen[member][1] if member in seen else {}
            if member not in seen or any(now.get(n, 0) < v for n, v in earlier.items()):
                self._lost[scope] = self._lost.get(scope, 0) + 1
                for name, value in earlier.items():
                    one = member[0], name
                    self._taken[one] = self._taken.get(one, 0) + value
        for scope in self._lost:
            sums.setdefault(scope, {})
        self._seen = seen
        return sums, dict(self._lost)

    def taken(self, figure: str) -> dict[str, int]:
        """What the members that were lost had of a figure when they were last seen, by virtual
        host."""
        return {host: value for (host, name), value in self._taken.items() if name == figure}


class Summands:
    """Remembers the series that were summed at the last read, and which sums lost how many.

    A series that is gone, or smaller, at the next read took along from each sum it is in what
    it had counted, and how far that moved is unknown; likewise where one that was gone is back.
    """

    def __init__(self) -> None:
        self._seen: Mapping[Series, tuple[Number, tuple[Dimensions, ...]]] = {}
        self._gone: set[Series] = set()
        self._lost: dict[Series, int] = {}

    def read(self, summands: Mapping[Series, tuple[Number, tuple[Dimensions, ...]]]) -> None:
        """Take what is there now: of each series its value, and the sums of its counter that
        it is in."""
        for series, (earlier, sums) in self._seen.items():
            now = summands.get(series)
            if now is None:
                self._gone.add(series)
            if now is None or now[0] < earlier:
                self._lose(series[0], sums)
        for series in self._gone & summands.keys():
            self._gone.remove(series)
            self._lose(series[0], summands[series][1])
        self._seen = summands

    def _lose(self, name: str, sums: Iterable[Dimensions]) -> None:
        for dimensions in sums:
            self._lost[name, dimensions] = self._lost.get((name, dimensions), 0) + 1

    def incarnations(self, shown: Collection[Series], kept: Kept) -> dict[Series, str]:
        """What says of the sums that are `shown` that they are not one count throughout; one
        that is summed with others, being beyond what is `kept`, says it of their sum."""
        lost: dict[Series, int] = {}
        for (name, dimensions), number in self._lost.items():
            own = not dimensions or dimensions in kept.of(name, ())
            one = (name, dimensions if own else OVERFLOW)
            lost[one] = lost.get(one, 0) + number
        return {one: _vanished(number) for one, number in lost.items() if one in shown}


def _vanished(number: int) -> str:
    what = "1 series" if number == 1 else f"{number} series"
    return f"{what} of it vanished or began anew since the first read"
