"""Requests and resources: what happened to each, in order; how long operations take, and which
fail.

The same questions as REST's, from the same functions.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from nilometer.api.attempts import REQUEST_SIGHT_NS, attempts, tracked
from nilometer.api.happenings import indicator_row, request_row, rows_of, timing_row
from nilometer.api.parameters import Text  # noqa: TC001 - FastAPI reads annotations
from nilometer.api.problems import not_a_choice
from nilometer.model.operations import indicators_of, timings_of
from nilometer.store.notices import beginning
from nilometer.web import happened, paint
from nilometer.web.addresses import link
from nilometer.web.drawing import Page
from nilometer.web.moments import SINCE, MomentText, window
from nilometer.web.sheet import Sheet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nilometer.web.moments import Window
    from nilometer.web.parts import Parts

LIMIT: Final = 100
LIMIT_MAX: Final = 1000
VIEWS: Final = {"requests": "Requests", "operations": "Operations", "failures": "Failures"}
"""What /requests shows, as its address and its links say it."""

FAILURES: Final = 300
"""So many a page shows, each with 600 bytes of why; its data have up to LIMIT_MAX, whole."""

TENANTS: Final = 300
"""So many operations and projects a page shows, in 150 kB; its data have all."""

SHARES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX)]


def router(parts: Parts) -> APIRouter:
    """The routes of /requests and /resources."""
    routes = APIRouter()

    @routes.get("/requests")
    async def requests(
        request: Request,
        id: Text = "",  # noqa: A002 - as it stands in the address
        view: Text = "requests",
        service: Text | None = None,
        project: Text | None = None,
        operation: Text = "",
        failed: bool | None = None,
        since: MomentText = SINCE,
        until: MomentText = "",
        limit: Limit = LIMIT,
        wait: bool = False,
    ) -> Response:
        if told := id.strip():
            return await _found(parts, told)
        if view not in VIEWS:
            raise not_a_choice("view", view, list(VIEWS))
        shown = window(since, until, parts.clock)
        if view == "operations":
            wait = wait or request.query_params.get("format", "html") != "html"
            late = not wait and await _are_many(parts, shown)
            page = await _operations(parts, shown, operation, project, late=late)
        elif view == "failures":
            page = await _failures(parts, shown, service, project, limit)
        else:
            page = await _requests(parts, shown, service, project, failed, limit)
        return parts.drawing.answer(request, page)

    happened.add(routes, parts)
    return routes


async def _found(parts: Parts, told: str) -> Response:
    """On to the page of a request, or of a resource if notifications know it as one."""

    def is_resource() -> bool:
        return bool(parts.reader.notices(resource_id=told, limit=1))

    is_one = not told.startswith("req-") and await parts.queries.run("/requests", is_resource)
    return RedirectResponse(link("resources" if is_one else "requests", told), 303)


async def _requests(
    parts: Parts,
    shown: Window,
    service: str | None,
    project: str | None,
    failed: bool | None,
    limit: int,
) -> Page:
    found = await parts.queries.run(
        "/requests",
        parts.reader.requests,
        since_ns=shown.since_ns,
        until_ns=shown.until_ns,
        project_id=project,
        service=service,
        failed=failed,
        limit=limit + 1,
    )
    rows = [request_row(one) for one in found[:limit]]
    more = len(found) > limit
    told = {"rows": rows, "more": more, "service": service, "project": project}
    told |= {"window": shown, "failed": failed, "views": VIEWS, "view": "requests"}
    columns = ("id", "started", "duration_ns", "notifications", "errors", "last", "project_id")
    return Page(
        "requests.html",
        "Requests",
        told,
        {"requests": [one.model_dump() for one in rows], "more": more},
        Sheet(columns, [[getattr(one, name) for name in columns] for one in rows]),
    )


async def _are_many(parts: Parts, shown: Window) -> bool:
    """Whether to put the operations of that time together takes long."""
    number = await parts.queries.run(
        "/requests",
        parts.reader.notice_number,
        since_ns=beginning(shown.since_ns, REQUEST_SIGHT_NS),
        until_ns=beginning(shown.until_ns, -REQUEST_SIGHT_NS),
    )
    return number > paint.NOTIFICATIONS


async def _operations(
    parts: Parts, shown: Window, operation: str, project: str | None, *, late: bool
) -> Page:
    ends = shown.since_ns, shown.until_ns
    names, shares = list(SHARES), list(SHARES.values())

    def timings() -> list[dict[str, Any]]:
        found = attempts(parts.reader, *ends, operation, project)
        rows = timings_of(found, shares, by_project=False)
        return [timing_row(one, names, by_project=False).model_dump() for one in rows]

    def indicators() -> list[dict[str, Any]]:
        found = tracked(parts.reader, *ends, project)
        chosen = [one for one in found if one.operation.startswith(operation)]
        rows = indicators_of(chosen, shares)
        return [indicator_row(one, names).model_dump() for one in rows]

    asks = () if late else (timings, indicators)
    asked = (parts.queries.run("/requests", ask) for ask in asks)
    found = await asyncio.gather(*asked) if asks else ([], [])
    data = dict(zip(("timings", "kpi"), found, strict=True))
    told: dict[str, Any] = {"window": shown, "operation": operation, "project": project}
    told |= {"shares": names, "views": VIEWS, "view": "operations", **data}
    told |= {"late": late, **_most(data)}
    columns = ("of", "operation", "project_id", "count", "min_ns", "avg_ns", *_in_ns(names))
    sheet = Sheet(
        (*columns, "max_ns", "failed", "unfinished", "end_only"),
        [
            [
                *(of, one["operation"], one["project_id"], one["count"], one["min"]),
                *(one["avg"], *(one["quantiles"][name] for name in names), one["max"]),
                *(one["failed"], one.get("unfinished"), one["end_only"]),
            ]
            for of, rows in data.items()
            for one in rows
        ],
    )
    return Page("operations.html", "Operations", told, data, sheet)


def _most(data: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Of each table the rows that were counted most, in the order of all."""
    return {name: _counted_most(rows) for name, rows in data.items()} | {
        "every": {name: len(rows) for name, rows in data.items()}
    }


def _counted_most(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    told = [one["count"] + one["failed"] for one in rows]
    places = sorted(range(len(rows)), key=lambda at: -told[at])
    return [rows[at] for at in sorted(places[:TENANTS])]


def _in_ns(names: list[str]) -> list[str]:
    return [f"{name}_ns" for name in names]


async def _failures(
    parts: Parts, shown: Window, service: str | None, project: str | None, limit: int
) -> Page:
    found = await parts.queries.run(
        "/requests",
        parts.reader.notices,
        since_ns=shown.since_ns,
        until_ns=shown.until_ns,
        service=service,
        project_id=project,
        failed=True,
        limit=limit + 1,
    )
    rows = rows_of(found[:limit])
    more = len(found) > limit
    told = {"rows": rows[:FAILURES], "more": more or len(rows) > FAILURES}
    told |= {"service": service, "project": project, "rows_max": FAILURES}
    told |= {"window": shown, "views": VIEWS, "view": "failures", "limit_max": LIMIT_MAX}
    return Page(
        "failures.html",
        "Failures",
        told,
        {"happenings": [one.model_dump() for one in rows], "more": more},
        Sheet(happened.COLUMNS, happened.cells(rows)),
    )
