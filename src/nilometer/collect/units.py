"""What was consumed from a broker, committed however often that must be tried.

A broker keeps a message until it is acknowledged, so nothing is given up: while the tables
refuse, it is tried again. Of what can never be stored only the unit at fault is rejected.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from nilometer.collect.group import NotCommitted, Overloaded
from nilometer.model import Batch  # noqa: TC001 - a tuple of this package, looked into at run time

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nilometer.collect.group import GroupCommit

RETRY_S: Final = (1.0, 2.0, 5.0, 10.0)  # and on at the last, while the tables refuse commits

Message = TypeVar("Message")


class Unit(NamedTuple, Generic[Message]):
    """What is committed or rejected together, and the messages it was made of."""

    batches: list[Batch]
    messages: list[Message]


async def committed(
    group: GroupCommit,
    units: Sequence[Unit[Message]],
    reject: Callable[[Message, str], Batch],
) -> None:
    """Return when all of it is committed.

    `reject` makes the batch for a message that cannot be; it is told what the tables said.
    """
    tried = 0
    while True:
        try:
            await group.submit([batch for unit in units for batch in unit.batches])
        except (NotCommitted, Overloaded) as error:
            if isinstance(error, NotCommitted) and not error.may_retry:
                await _isolated(group, units, reject, str(error))
                return
            await asyncio.sleep(RETRY_S[min(tried, len(RETRY_S) - 1)])
            tried += 1
        else:
            return


async def _isolated(
    group: GroupCommit,
    units: Sequence[Unit[Message]],
    reject: Callable[[Message, str], Batch],
    because: str,
) -> None:
    """One of them can never be stored: it alone is rejected."""
    if len(units) > 1:
        for unit in units:
            await committed(group, [unit], reject)
        return
    messages = units[0].messages
    rejected = [reject(each, because) for each in messages]
    await committed(group, [Unit(rejected, [])] if messages else [], reject)
