"""Operations that notifications tell of: which start belongs to which end, how long it took.

An operation is what stands before `.start`, `.end` and `.error`. A start and an end are of one
attempt if they are of the same request and resource, though a start may not know the resource
yet, as a network has no id before it is made. What tells no request is known by its resource
alone, and what tells neither belongs to nothing. Where it was tried again, an end belongs to
the latest start that is open, that of the same publisher first.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from nilometer.model.happening import Happening

START: Final = ".start"
END: Final = ".end"
ERROR: Final = ".error"
_ORDER: Final = {START: 0, ERROR: 1, END: 2}  # of those that happen at the same moment

ASKED: Final = ("compute.instance.update", "instance.update")
"""What nova's API says first when it is asked for something."""


class Attempt(NamedTuple):
    """One go at an operation; `start` or `end` is missing where nobody told it.

    The end is an `.error` where the attempt failed.
    """

    operation: str
    start: Happening | None
    end: Happening | None

    @property
    def either(self) -> Happening:
        """The end, or else the start: it knows most."""
        found = self.end or self.start
        assert found is not None
        return found

    @property
    def failed(self) -> bool:
        """Whether it ended with an `.error`."""
        return self.end is not None and self.end.name.endswith(ERROR)

    @property
    def duration_ns(self) -> int | None:
        """How long it took, if it is known to have begun and to have ended as it should."""
        if self.start is None or self.end is None or self.failed:
            return None
        return self.end.at_ns - self.start.at_ns


class Tracked(NamedTuple):
    """A request for one resource, from the API to the last end that it led to; `since` is
    missing where nobody told how it began."""

    operation: str
    since: Happening | None
    last: Happening

    @property
    def duration_ns(self) -> int | None:
        """From the one to the other, if it is known to have begun."""
        return None if self.since is None else self.last.at_ns - self.since.at_ns

    @property
    def failed(self) -> bool:
        """Whether the last is an `.error`."""
        return self.last.name.endswith(ERROR)


class Timing(NamedTuple):
    """How long an operation took, of those that ended as they should; nanoseconds.

    `quantiles` are in the order in which they were asked for, None where nothing ended.
    """

    operation: str
    project_id: str
    completed: int
    minimum_ns: int | None
    maximum_ns: int | None
    average_ns: float | None
    quantiles: tuple[int | None, ...]
    failed: int
    unfinished: int
    end_only: int


def suffix_of(name: str) -> str:
    """`.start`, `.end`, `.error` or nothing.

    >>> suffix_of("volume.create.end"), suffix_of("image.send")
    ('.end', '')
    """
    dot = name.rfind(".")
    return name[dot:] if dot > 0 and name[dot:] in _ORDER else ""


def attempts_of(happenings: Iterable[Happening]) -> list[Attempt]:
    """The attempts that these tell of, in the order in which they began."""
    found: list[Attempt] = []
    begun: dict[tuple[str, str], Begun] = {}
    for each in in_order(happenings):
        suffix = suffix_of(each.name)
        if not suffix:
            continue
        operation = each.name.removesuffix(suffix)
        waiting = begun.setdefault((operation, each.request_id), Begun())
        if suffix == START:
            waiting.add(each)
        else:
            found.append(Attempt(operation, waiting.taken_by(each), each))
    for (operation, _), waiting in begun.items():
        found += [Attempt(operation, start, None) for start in waiting.left()]
    return sorted(found, key=lambda one: (one.start or one.either).at_ns)


class Begun:
    """Starts of one operation and request that wait for an end: by resource and publisher."""

    def __init__(self) -> None:
        self._starts: dict[str, dict[str, list[Happening]]] = {}

    def add(self, start: Happening) -> None:
        """It waits."""
        by_publisher = self._starts.setdefault(start.resource_id, {})
        by_publisher.setdefault(start.publisher, []).append(start)

    def taken_by(self, end: Happening) -> Happening | None:
        """The start that this end belongs to, which waits no longer."""
        if not (end.request_id or end.resource_id):
            return None  # nothing tells it from others
        known = (end.resource_id, "") if end.request_id else (end.resource_id,)
        for resource_id in dict.fromkeys(known):
            by_publisher = self._starts.get(resource_id)
            if not by_publisher:
                continue
            publisher = end.publisher
            if publisher not in by_publisher:
                publisher = max(by_publisher, key=lambda each: by_publisher[each][-1].at_ns)
            start = by_publisher[publisher].pop()
            if not by_publisher[publisher]:
                del by_publisher[publisher]
            return start
        return None

    def left(self) -> Iterator[Happening]:
        """Those that nobody took."""
        for by_publisher in self._starts.values():
            for starts in by_publisher.values():
                yield from starts


def in_order(happenings: Iterable[Happening], *, newest: bool = False) -> list[Happening]:
    """By time; what has the same time with starts first and ends last; `newest` the other way
    round."""
    return sorted(
        happenings,
        key=lambda one: (one.at_ns, _ORDER.get(suffix_of(one.name), 1), one.id),
        reverse=newest,
    )


def tracked_of(happenings: Iterable[Happening]) -> list[Tracked]:
    """Each request, of each resource, that led to an end or a failure, longest last.

    The clock starts when nova's API says that it was asked, or else with the first start that
    the request tells of; every further end moves the last.
    """
    first: dict[str, Happening] = {}
    asked: dict[tuple[str, str], Happening] = {}
    found: dict[tuple[str, str], Tracked] = {}
    for each in in_order(happenings):
        if not each.request_id:
            continue
        key, suffix = (each.request_id, each.resource_id), suffix_of(each.name)
        if each.name in ASKED or suffix == START:
            first.setdefault(each.request_id, each)
        if each.name in ASKED and "api" in each.service:
            asked.setdefault(key, each)
        elif suffix in (END, ERROR) and each.resource_id:
            since = asked.get(key) or first.get(each.request_id)
            found[key] = Tracked(each.name.removesuffix(suffix), since, each)
    return sorted(found.values(), key=lambda one: one.duration_ns or 0)


def timings_of(
    attempts: Iterable[Attempt], shares: Sequence[float] = (), *, by_project: bool = False
) -> list[Timing]:
    """The timings of each operation, by name, or of each operation and project."""
    grouped: dict[tuple[str, str], list[Attempt]] = {}
    for each in attempts:
        project = each.either.project_id if by_project else ""
        grouped.setdefault((each.operation, project), []).append(each)
    return [
        _timing(
            key,
            [d for one in group if (d := one.duration_ns) is not None],
            shares,
            failed=sum(one.failed for one in group),
            unfinished=sum(one.end is None for one in group),
            end_only=sum(one.start is None and not one.failed for one in group),
        )
        for key, group in sorted(grouped.items())
    ]


def indicators_of(tracked: Iterable[Tracked], shares: Sequence[float] = ()) -> list[Timing]:
    """How long requests took, of each operation and project."""
    grouped: dict[tuple[str, str], list[Tracked]] = {}
    for each in tracked:
        grouped.setdefault((each.operation, each.last.project_id), []).append(each)
    return [
        _timing(
            key,
            [d for one in group if not one.failed and (d := one.duration_ns) is not None],
            shares,
            failed=sum(one.failed for one in group),
            end_only=sum(one.since is None and not one.failed for one in group),
        )
        for key, group in sorted(grouped.items())
    ]


def _timing(
    key: tuple[str, str],
    durations: list[int],
    shares: Sequence[float],
    *,
    failed: int,
    unfinished: int = 0,
    end_only: int = 0,
) -> Timing:
    durations.sort()
    count = len(durations)
    return Timing(
        *key,
        count,
        durations[0] if durations else None,
        durations[-1] if durations else None,
        sum(durations) / count if durations else None,
        tuple(_quantile(durations, share) for share in shares),
        failed,
        unfinished,
        end_only,
    )


def _quantile(ordered: Sequence[int], share: float) -> int | None:
    """The least value that at least this share of all are not above."""
    if not ordered:
        return None
    # By the share as it was written: as a float, 0.55 of 100 is more than 55.
    place = ceil(Fraction(repr(share)) * len(ordered))
    return ordered[min(len(ordered), max(1, place)) - 1]
