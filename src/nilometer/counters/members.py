"""Figures of things that come and go, summed by scope; what goes takes its count along.

A queue, or an exchange, may be deleted while the broker goes on, and its figures with it. Then
nobody knows how far its scope moved, and the sum over those that are left would be wrong
without looking so. What was seen at one read and is gone, or smaller, at the next is counted as
lost to its scope.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Member = tuple[str, str]
    """Virtual host and name."""


class Members:
    """Remembers what each member showed at the last read."""

    def __init__(self) -> None:
        self._seen: dict[Member, tuple[str, Mapping[str, int]]] = {}
        self._lost: dict[str, int] = {}

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
        for scope in self._lost:
            sums.setdefault(scope, {})
        self._seen = seen
        return sums, dict(self._lost)
