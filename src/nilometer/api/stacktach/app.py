"""The paths of StackTach: `/stacky/...`, and `/db/...` to read usage.

Every path is there with and without a slash at its end: of `stacky` there are versions that ask
for the one and for the other.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from nilometer.api.dialects import Dialect, Means, application
from nilometer.api.stacktach import tables, usage
from nilometer.api.stacktach.asking import (
    Fault,
    Fields,
    refuse,
    told_as_object,
    told_as_table,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp

STACKY: Final = "/stacky"
DB: Final = "/db"

TABLES: Final[dict[str, Callable[..., Any]]] = {
    "deployments": tables.deployments,
    "events": tables.events,
    "hosts": tables.hosts,
    "uuid": tables.of_uuid,
    "timings": tables.timings,
    "timings/uuid": tables.of_uuid_timings,
    "summary": tables.summary,
    "request": tables.of_request,
    "reports": tables.reports,
    "reports/search": tables.reports,
    "search": tables.search,
    "kpi": tables.kpi,
}
BY_SERVICE: Final = ("uuid", "request", "search")
"""Those whose path may have the service at its end."""

NUMBERED: Final[dict[str, Callable[..., Any]]] = {
    "kpi": tables.kpi,
    "report": tables.report,
    "show": tables.show,
    "watch": tables.watch,
}
"""Those with one thing more in their path."""

USAGE: Final = {
    "launches": {
        "UUID": "instance",
        "Launched At": "launched_at",
        "Instance Type Id": "instance_type_id",
    },
    "deletes": {"UUID": "instance", "Launched At": "launched_at", "Deleted At": "deleted_at"},
    "exists": {
        "UUID": "instance",
        "Launched At": "launched_at",
        "Deleted At": "deleted_at",
        "Instance Type Id": "instance_type_id",
        "Message ID": "message_id",
        "Status": "status",
    },
}


def stacky(means: Means) -> ASGIApp:
    """The application of `/stacky`."""
    made = application(means, refuse)
    routes = APIRouter(prefix=STACKY)
    for path, ask in TABLES.items():
        _add(routes, means, path, ask)
    for path in BY_SERVICE:
        _add(routes, means, f"{path}/{{service}}", TABLES[path])
    for path, ask in NUMBERED.items():
        _add(routes, means, f"{path}/{{what}}", ask)
    _add(routes, means, "watch/{what}/{service}", tables.watch)
    _add(routes, means, "show/{service}/{what}", tables.show)
    for kind, columns in USAGE.items():
        ask = partial(usage.table, kind=kind, columns=columns)
        _add(routes, means, f"usage/{kind}", ask, timed=False)
    made.include_router(routes)
    return made


def db(means: Means) -> ASGIApp:
    """The application of `/db`."""
    made = application(means, refuse)
    routes = APIRouter(prefix=DB)
    for kind in usage.KINDS:
        paths = [kind] if "glance" in kind else [kind, kind.removeprefix("nova/")]
        for path in paths:
            ask = partial(usage.listed, kind=kind)
            _add(routes, means, f"usage/{path}", ask, timed=False)
            one = partial(_single, kind=kind)
            _add(routes, means, f"usage/{path}/{{what}}", one, timed=False)
    for service in ("nova", "glance"):
        ask = partial(usage.exists_stats, service=service)
        _add(routes, means, f"stats/{service}/exists", ask, timed=False)
    _add(routes, means, "stats/events", usage.event_stats, timed=False)
    _add_refusals(routes)
    made.include_router(routes)
    return made


DIALECTS: Final = (
    Dialect(STACKY, stacky, words=told_as_table),
    Dialect(DB, db, words=told_as_object),
)


def _add(
    routes: APIRouter,
    means: Means,
    path: str,
    ask: Callable[..., Any],
    *,
    timed: bool = True,
) -> None:
    """A route with and without a slash at its end; `ask` runs in a thread, and is told the
    time if it is `timed`."""

    async def answer(request: Request) -> Response:
        inside = dict(request.path_params)
        fields = Fields({**request.query_params, **_given(inside)})
        more = [inside["what"]] if "what" in inside else []
        if timed:
            more = [means.clock.wall_ns(), *more]
        found = await means.queries.run(request.url.path, ask, means.reader, fields, *more)
        return JSONResponse(found)

    routes.add_api_route(f"/{path}", answer, methods=["GET"])
    routes.add_api_route(f"/{path}/", answer, methods=["GET"])


def _given(inside: dict[str, str]) -> dict[str, str]:
    return {"service": inside["service"]} if "service" in inside else {}


def _single(reader: Any, _fields: Fields, number: str, *, kind: str) -> dict[str, Any]:
    return usage.single(reader, kind, number)


def _add_refusals(routes: APIRouter) -> None:
    """What StackTach writes into a database of its own."""

    async def refused() -> Response:
        raise Fault(
            501, "Nilometer keeps no status of usage: it can be read here, not confirmed"
        )

    for path in ("/confirm/{rest:path}", "/repair", "/repair/", "/tenant/{rest:path}"):
        routes.add_api_route(path, refused, methods=["GET", "POST", "PUT"])
