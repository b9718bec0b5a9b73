"""What two pages begin with: all services of a time, what they lost, what measuring cost them.

A question takes some 20 ms of planning however little there is to read, so those that do not
need each other's answers are asked at once.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.web.account import Cost, costs, losses
from nilometer.web.roster import BY_PROCESS, BY_SERVICE, Service, done, services

if TYPE_CHECKING:
    from nilometer.model.loss import Loss
    from nilometer.web.moments import Window
    from nilometer.web.parts import Parts

COLLECTOR: Final = "nilometer-collector"
"""The service that the collector calls itself."""


class Survey(NamedTuple):
    """Services by name, losses the gravest first, costs by service; `known` are the metrics
    that reported."""

    known: frozenset[str]
    services: list[Service]
    losses: list[Loss]
    costs: dict[str, Cost]


async def survey(parts: Parts, route: str, window: Window) -> Survey:
    """What the tables know of that time; Refusal 503 as `Queries` says."""
    reader, run = parts.reader, parts.queries.run
    since_ns, until_ns = window.since_ns, window.until_ns
    names = await run(route, reader.metric_names, since_ns=since_ns, until_ns=until_ns)
    known = frozenset(one.name for one in names)
    whole, single, present, lost, cost = await asyncio.gather(
        run(route, done, reader, window, known, BY_SERVICE),
        run(route, done, reader, window, known, BY_PROCESS),
        run(route, reader.processes, since_ns=since_ns, until_ns=until_ns),
        run(route, losses, reader, window, known),
        run(route, costs, reader, window, known),
    )
    here = (COLLECTOR, socket.gethostname(), os.getpid())
    return Survey(known, services(window, whole, single, present, here), lost, cost)
