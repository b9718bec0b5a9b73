"""Services: who reports, how busy they are, what they lost and what measuring costs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fastapi import APIRouter, Request, Response

from nilometer.web.drawing import Page
from nilometer.web.moments import SINCE, MomentText, Window, window
from nilometer.web.sheet import Sheet
from nilometer.web.survey import Survey, survey

if TYPE_CHECKING:
    from nilometer.web.account import Cost
    from nilometer.web.parts import Parts
    from nilometer.web.roster import Done, Process, Service

COLUMNS: Final = (
    *("service", "host", "pid", "version", "alive", "silent_ns", "metric", "count"),
    *("rate_per_s", "errors", "avg_ns", "p50_ns", "p99_ns", "max_ns", "lost"),
    *("overhead_ns", "overhead_per_request_ns"),
)

PROCESSES: Final = 400
"""A page shows no more of them, in 200 kB; its data have all."""


class Row(NamedTuple):
    """A service, how many items it lost, and what measuring cost it; None: it did not say."""

    service: Service
    lost: int
    cost: Cost | None

    @property
    def per_request_ns(self) -> float | None:
        """What measuring cost each request."""
        done = self.service.done
        return self.cost.per_request_ns(done.times) if self.cost and done else None


def router(parts: Parts) -> APIRouter:
    """The route of /services."""
    routes = APIRouter()

    @routes.get("/services")
    async def show(
        request: Request,
        since: MomentText = SINCE,
        until: MomentText = "",
        quantiles: bool | None = None,
    ) -> Response:
        shown = window(since, until, parts.clock).on_grid()
        if request.query_params.get("format", "html") != "html":
            quantiles = True
        found = await survey(parts, "/services", shown, quantiles=quantiles)
        rows = rows_of(found)
        page = Page(
            "services.html",
            "Services",
            {
                "window": shown,
                "rows": rows,
                "processes": heard_last(rows),
                "every": sum(len(row.service.processes) for row in rows),
                "late": not found.quantiles,
            },
            _data(shown, rows),
            Sheet(COLUMNS, _cells(rows)),
        )
        return parts.drawing.answer(request, page)

    return routes


def rows_of(found: Survey) -> list[Row]:
    """A row for each service."""
    lost: dict[str, int] = {}
    for loss in found.losses:
        if loss.wants_a_person:
            lost[loss.service] = lost.get(loss.service, 0) + loss.items
    return [
        Row(one, lost.get(one.name, 0), found.costs.get(one.name)) for one in found.services
    ]


def heard_last(rows: list[Row]) -> list[tuple[str, Process]]:
    """The processes that were heard of last, with their services, in the services' order."""
    every = [(row.service.name, one) for row in rows for one in row.service.processes]
    places = sorted(range(len(every)), key=lambda at: every[at][1].silent_ns)
    return [every[at] for at in sorted(places[:PROCESSES])]


def _data(shown: Window, rows: list[Row]) -> dict[str, Any]:
    return {
        "since_ns": shown.since_ns,
        "until_ns": shown.ended_ns,
        "services": [
            {
                "service": row.service.name,
                "alive": row.service.alive,
                "versions": row.service.versions,
                **_done(row.service.done),
                "lost": row.lost,
                "overhead_ns": row.cost.whole_ns if row.cost else None,
                "overhead_per_request_ns": row.per_request_ns,
                "processes": [_process(one) for one in row.service.processes],
            }
            for row in rows
        ],
    }


def _process(one: Process) -> dict[str, Any]:
    return {
        "host": one.host,
        "pid": one.pid,
        "version": one.version,
        "alive": one.alive,
        "silent_ns": one.silent_ns,
        "interval_ns": one.interval_ns,
        **_done(one.done),
    }


def _done(done: Done | None) -> dict[str, Any]:
    """What was done under the names of COLUMNS, all None if nothing was."""
    if done is None:
        return dict.fromkeys(COLUMNS[6:14])
    told = done._asdict()
    told["rate_per_s"], told["count"] = told["rate"], told["times"]
    return {name: told[name] for name in COLUMNS[6:14]}


def _cells(rows: list[Row]) -> list[list[Any]]:
    """A row a service, without host and process, then one for each of its processes."""
    cells: list[list[Any]] = []
    for row in rows:
        name, alive = row.service.name, row.service.alive
        cost = row.cost.whole_ns if row.cost else None
        first = [name, None, None, " ".join(row.service.versions), alive, None]
        done = _done(row.service.done).values()
        cells.append([*first, *done, row.lost, cost, row.per_request_ns])
        for one in row.service.processes:
            told = [name, one.host, one.pid, one.version, int(one.alive), one.silent_ns]
            cells.append([*told, *_done(one.done).values(), None, None, None])
    return cells
