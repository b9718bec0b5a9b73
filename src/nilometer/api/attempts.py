"""Attempts at operations, and requests, of any time: found whole, also where they took days."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.model.operations import (
    END,
    ERROR,
    START,
    attempts_of,
    suffix_of,
    tracked_of,
)
from nilometer.store.notices import beginning

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nilometer.model.happening import Happening
    from nilometer.model.operations import Attempt, Tracked
    from nilometer.store.query import Reader

SIGHT_NS: Final = 600 * 10**9
"""So long before the time asked for all starts are read, and after it all ends; of what is half
then, or may have begun with another start, the rest is looked for by its request, or by its
resource, whenever it was told."""

REQUEST_SIGHT_NS: Final = 6 * 3600 * 10**9
"""So long before it a request may have begun, and after it go on: longer than a live migration
takes."""


class Group(NamedTuple):
    """Operations of one name that belong to one request, or to one resource."""

    operation: str
    request_id: str
    resource_id: str


def attempts(
    reader: Reader,
    since_ns: int | None,
    until_ns: int | None,
    operation: str = "",
    project_id: str | None = None,
    resource_id: str | None = None,
    *,
    cut: bool = False,
) -> list[Attempt]:
    """The attempts that ended in that time, or began in it and have not ended since; `cut`
    takes the latest where there are too many."""
    sight = beginning(since_ns, SIGHT_NS), beginning(until_ns, -SIGHT_NS)
    told = reader.operations(
        since_ns=sight[0],
        until_ns=sight[1],
        prefix=operation,
        project_id=project_id,
        resource_id=resource_id,
        cut=cut,
    )
    return [
        one
        for one in _found(reader, sight, told, since_ns, until_ns)
        if _is_within(one.either, since_ns, until_ns)
        and resource_id in (None, one.either.resource_id)
        and project_id in (None, one.either.project_id)
    ]


def _found(
    reader: Reader,
    sight: tuple[int | None, int | None],
    told: Sequence[Happening],
    since_ns: int | None,
    until_ns: int | None,
) -> list[Attempt]:
    """The attempts that these tell of; of that time with what was told before of those that may
    have begun then, and after of those without end, which may prove to have begun before."""

    def doubtful_of(found: Sequence[Attempt]) -> set[Group]:
        if sight[0] is None:
            return set()
        knowing = {one.operation for one in found if one.start and one.start.resource_id}
        # One of before that time may have the start of one of that time.
        doubted = {_group_of(one.either) for one in found if _is_doubtful(one, knowing)}
        return _groups_of(found, since_ns, until_ns) & doubted

    def with_before(here: Sequence[Happening], groups: set[Group]) -> list[Happening]:
        others = [one for one in here if _group_of(one) not in groups]
        return others + _told_of(reader, groups, until_ns=sight[1])

    found = attempts_of(told)
    doubtful = doubtful_of(found)
    if doubtful:
        told = with_before(told, doubtful)
        found = attempts_of(told)
    if sight[1] is None:
        return found
    begun = (one for one in found if one.end is None)
    after = _told_of(reader, _groups_of(begun, since_ns, until_ns), since_ns=sight[1])
    if not after:
        return found
    found = attempts_of([*told, *after])
    late = doubtful_of(found) - doubtful
    return attempts_of([*with_before(told, late), *after]) if late else found


def _is_doubtful(one: Attempt, knowing: set[str]) -> bool:
    """Whether its start may lie before all that is known: an end takes one of its own resource
    first, and of its own publisher, however old that is. Where no start of an operation knows
    its resource, as `knowing` has those whose do, none does elsewhere."""
    start, end = one.start, one.end
    if start is None or end is None:
        return start is None
    is_of_another = one.operation in knowing and start.resource_id != end.resource_id
    return is_of_another or start.publisher != end.publisher


def _groups_of(
    found: Iterable[Attempt], since_ns: int | None, until_ns: int | None
) -> set[Group]:
    """Of those that began or ended in that time, and belong to anything."""
    return {
        _group_of(one.either)
        for one in found
        if (one.either.request_id or one.either.resource_id)
        and any(_is_within(each, since_ns, until_ns) for each in one[1:] if each)
    }


def _group_of(one: Happening) -> Group:
    """Those that may belong together: of one operation, and of one request or, where none is
    told, of one resource."""
    operation = one.name.removesuffix(suffix_of(one.name))
    return Group(operation, one.request_id, "" if one.request_id else one.resource_id)


def _told_of(
    reader: Reader,
    groups: set[Group],
    *,
    since_ns: int | None = None,
    until_ns: int | None = None,
) -> list[Happening]:
    """All of these groups, as others of them may lie there that are pairs already."""
    requests = {one.request_id for one in groups} - {""}
    resources = {one.resource_id for one in groups} - {""}
    names = {one.operation + suffix for one in groups for suffix in (START, END, ERROR)}
    ask = partial(
        reader.operations, names=sorted(names), cut=True, since_ns=since_ns, until_ns=until_ns
    )
    found = ask(request_ids=sorted(requests)) if requests else []
    found += ask(resource_ids=sorted(resources)) if resources else []
    return [one for one in found if _group_of(one) in groups]


def tracked(
    reader: Reader,
    since_ns: int | None,
    until_ns: int | None,
    project_id: str | None = None,
    *,
    cut: bool = False,
) -> list[Tracked]:
    """The requests that ended in that time, not those that went on after it; `cut` takes the
    latest where they are too many."""
    found = tracked_of(
        reader.operations(
            since_ns=beginning(since_ns, REQUEST_SIGHT_NS),
            until_ns=beginning(until_ns, -REQUEST_SIGHT_NS),
            project_id=project_id,
            cut=cut,
        )
    )
    return [
        one
        for one in found
        if _is_within(one.last, since_ns, until_ns)
        and project_id in (None, one.last.project_id)
    ]


def _is_within(one: Happening, since_ns: int | None, until_ns: int | None) -> bool:
    return (since_ns is None or one.at_ns >= since_ns) and (
        until_ns is None or one.at_ns < until_ns
    )
