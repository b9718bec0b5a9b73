"""Attempts at operations, and requests, of any time: found whole, also where they took days."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from nilometer.model.operations import END, ERROR, START, attempts_of, tracked_of
from nilometer.store.notices import beginning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.model.happening import Happening
    from nilometer.model.operations import Attempt, Tracked
    from nilometer.store.query import Reader

SIGHT_NS: Final = 600 * 10**9
"""So long before the time asked for all starts are read, and after it all ends; of what is half
then, the other half is looked for by its request, or by its resource, whenever it was told."""

REQUEST_SIGHT_NS: Final = 6 * 3600 * 10**9
"""So long before it a request may have begun, and after it go on: longer than a live migration
takes."""


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

    def within(told: Sequence[Happening]) -> list[Attempt]:
        return [
            one
            for one in attempts_of(told)
            if _is_within(one.either, since_ns, until_ns)
            and resource_id in (None, one.either.resource_id)
            and project_id in (None, one.either.project_id)
        ]

    sight = beginning(since_ns, SIGHT_NS), beginning(until_ns, -SIGHT_NS)
    told = reader.operations(
        since_ns=sight[0],
        until_ns=sight[1],
        prefix=operation,
        project_id=project_id,
        resource_id=resource_id,
        cut=cut,
    )
    found = within(told)
    beyond = _told_beyond(reader, sight, found)
    return within([*told, *beyond]) if beyond else found


def _told_beyond(
    reader: Reader, sight: tuple[int | None, int | None], found: Sequence[Attempt]
) -> list[Happening]:
    """What was told before of attempts that lack a start, and after of those without end."""
    beyond: list[Happening] = []
    if sight[0] is not None:
        ended = [one for one in found if one.start is None]
        beyond += _told_of(reader, ended, until_ns=sight[0])
    if sight[1] is not None:
        begun = [one for one in found if one.end is None]
        beyond += _told_of(reader, begun, since_ns=sight[1])
    return beyond


def _told_of(
    reader: Reader,
    halves: Sequence[Attempt],
    *,
    since_ns: int | None = None,
    until_ns: int | None = None,
) -> list[Happening]:
    """Whole operations, as others of them may lie there that are pairs already; by their
    requests, or by the resources of those that tell none."""
    requests = {one.either.request_id for one in halves} - {""}
    resources = {one.either.resource_id for one in halves if not one.either.request_id} - {""}
    names = {one.operation + suffix for one in halves for suffix in (START, END, ERROR)}
    ask = partial(
        reader.operations, names=sorted(names), cut=True, since_ns=since_ns, until_ns=until_ns
    )
    found = ask(request_ids=sorted(requests)) if requests else []
    return [*found, *(ask(resource_ids=sorted(resources)) if resources else ())]


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
