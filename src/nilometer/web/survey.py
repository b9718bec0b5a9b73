"""What two pages begin with: all services of a time, what they lost, what measuring cost them.

A question takes some 20 ms of planning however little there is to read, so those that do not
need each other's answers are asked at once.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.model.loss import LOSSES
from nilometer.web.account import OVERHEAD, Cost, costs, losses
from nilometer.web.paint import has_quantiles
from nilometer.web.roster import WORKS, Done, Group, Job, Service, done, failed, jobs, services

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.model.loss import Loss
    from nilometer.web.moments import Window
    from nilometer.web.parts import Parts

COLLECTOR: Final = "nilometer-collector"
"""The service that the collector calls itself."""


NAMES: Final = {
    *(name for work in WORKS for name in (work.timer, work.errors) if name),
    *LOSSES,
    OVERHEAD,
}
"""The metrics that are asked for."""


class Survey(NamedTuple):
    """Services by name, losses the gravest first, costs by service. What was done has its
    quantiles only where they are asked for, or are soon read."""

    services: list[Service]
    losses: list[Loss]
    costs: dict[str, Cost]
    quantiles: bool


async def survey(
    parts: Parts, route: str, window: Window, *, quantiles: bool | None = None
) -> Survey:
    """What the tables know of that time; Refusal 503 as `Queries` says."""
    reader, run = parts.reader, parts.queries.run
    time = window.since_ns, window.until_ns
    told = await run(route, reader.several, NAMES, since_ns=time[0], until_ns=time[1])
    found = jobs(told)
    timers = sum(len(job.series) for job in found)
    quantiles = has_quantiles(quantiles, timers, window)
    done, present, lost, cost = await asyncio.gather(
        _done(parts, route, window, found, quantiles=quantiles),
        run(route, reader.processes, since_ns=time[0], until_ns=time[1]),
        run(route, losses, reader, window, told),
        run(route, costs, reader, window, told),
    )
    here = (COLLECTOR, socket.gethostname(), os.getpid())
    return Survey(services(window, done, present, here), lost, cost, quantiles)


async def _done(
    parts: Parts, route: str, window: Window, found: Sequence[Job], *, quantiles: bool
) -> dict[Group, Done]:
    """What was done, with what failed of it."""
    run = parts.queries.run
    whole: dict[Group, Done] = {}
    for job in found:
        worked, wrong = await asyncio.gather(
            run(route, done, parts.reader, window, job, quantiles=quantiles),
            run(route, failed, parts.reader, window, job),
        )
        for group, one in worked.items():
            counts = job.errors is not None
            whole[group] = one._replace(errors=wrong.get(group, 0) if counts else None)
    return whole
