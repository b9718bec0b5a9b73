"""What happened to a request, to a resource; how long operations take and which fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from fastapi import APIRouter, Query

from nilometer.api.attempts import attempts, tracked
from nilometer.api.happenings import (
    HappeningList,
    History,
    IndicatorList,
    RequestList,
    TimingList,
    history_of,
    indicator_row,
    request_row,
    rows_of,
    timing_row,
)
from nilometer.api.metrics import Shares  # noqa: TC001 - FastAPI reads annotations
from nilometer.api.parameters import Moment, Text, quantile
from nilometer.api.problems import Problem, Refusal, missing, not_a_choice, ordered
from nilometer.model.moments import moment_ns
from nilometer.model.operations import indicators_of, timings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nilometer.api.queries import Queries
    from nilometer.model.happening import Happening
    from nilometer.store.query import Reader

LIMIT: Final = 100
LIMIT_MAX: Final = 1000
HISTORY: Final = 1000
HISTORY_MAX: Final = 10_000  # of some 700 bytes each: 7 MB
SINCE: Final = "1h"
TIMINGS_SINCE: Final = "24h"
GROUPS: Final = ("operation", "project")

Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX)]
HistoryLimit = Annotated[int, Query(ge=1, le=HISTORY_MAX)]


def router(reader: Reader, queries: Queries) -> APIRouter:
    """The routes under /requests and /resources, and /notifications, /timings and /kpi."""
    routes = APIRouter(tags=["requests"])
    _add_requests(routes, reader, queries)
    _add_notifications(routes, reader, queries)
    _add_histories(routes, reader, queries)
    _add_timings(routes, reader, queries)
    return routes


def _add_requests(routes: APIRouter, reader: Reader, queries: Queries) -> None:
    @routes.get("/requests")
    async def list_requests(
        project: Text | None = None,
        service: Text | None = None,
        failed: bool | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        limit: Limit = LIMIT,
    ) -> RequestList:
        """The requests that notifications since an hour ago, or `since`, tell of, newest first.

        What else is given must hold for one of a request's notifications.
        """
        found = await queries.run(
            "/requests",
            reader.requests,
            since_ns=_from(since, until, SINCE),
            until_ns=until,
            project_id=project,
            service=service,
            failed=failed,
            limit=limit + 1,
        )
        rows = [request_row(one) for one in found[:limit]]
        return RequestList(requests=rows, more=len(found) > limit)


def _add_notifications(routes: APIRouter, reader: Reader, queries: Queries) -> None:
    @routes.get("/notifications")
    async def list_notifications(
        name: Text | None = None,
        service: Text | None = None,
        host: Text | None = None,
        project: Text | None = None,
        request_id: Text | None = None,
        resource: Text | None = None,
        failed: bool | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        limit: Limit = LIMIT,
    ) -> HappeningList:
        """Notifications since an hour ago, or `since`, newest first; each once."""
        found = await queries.run(
            "/notifications",
            reader.notices,
            since_ns=_from(since, until, SINCE),
            until_ns=until,
            name=name,
            service=service,
            host=host,
            project_id=project,
            request_id=request_id,
            resource_id=resource,
            failed=failed,
            limit=limit + 1,
        )
        return HappeningList(happenings=rows_of(found[:limit]), more=len(found) > limit)


def _add_histories(routes: APIRouter, reader: Reader, queries: Queries) -> None:
    async def history(
        path: str,
        ask: Callable[..., Sequence[Happening]],
        told: str,
        since: int | None,
        until: int | None,
        limit: int,
    ) -> History:
        if not told:  # an empty text stands in everything
            raise _nothing_of(told)
        found = await queries.run(
            path,
            ask,
            told,
            since_ns=since if since is None else ordered(since, until),
            until_ns=until,
            limit=limit + 1,
        )
        if not found:
            raise _nothing_of(told)
        return history_of(told, found, limit)

    @routes.get("/requests/{request_id:text}", responses={404: {"model": Problem}})
    async def show_request(
        request_id: Text,
        since: Moment | None = None,
        until: Moment | None = None,
        limit: HistoryLimit = HISTORY,
    ) -> History:
        """All that tells of one request, oldest first: its notifications and those of requests
        that it led to, log lines with its id, spans."""
        path = "/requests/{request_id}"
        return await history(path, reader.of_request, request_id, since, until, limit)

    @routes.get("/resources/{resource_id:text}", responses={404: {"model": Problem}})
    async def show_resource(
        resource_id: Text,
        since: Moment | None = None,
        until: Moment | None = None,
        limit: HistoryLimit = HISTORY,
    ) -> History:
        """All that tells of one resource, oldest first: its notifications, and others and log
        lines in which its id stands."""
        path = "/resources/{resource_id}"
        return await history(path, reader.of_resource, resource_id, since, until, limit)


def _add_timings(routes: APIRouter, reader: Reader, queries: Queries) -> None:
    @routes.get("/timings")
    async def show_timings(
        operation: Text = "",
        project: Text | None = None,
        resource: Text | None = None,
        group_by: Annotated[str, Query(json_schema_extra={"enum": list(GROUPS)})] = GROUPS[0],
        quantile: Shares = [],  # noqa: B006 - FastAPI copies defaults
        since: Moment | None = None,
        until: Moment | None = None,
    ) -> TimingList:
        """How long operations took that ended in the last 24 hours, or since `since`.

        `operation` is the beginning of their names; `group_by` is `operation` or `project`.
        """
        if group_by not in GROUPS:
            raise not_a_choice("group_by", group_by, list(GROUPS))
        told, shares = _shares(quantile)
        since_ns, by_project = _from(since, until, TIMINGS_SINCE), group_by == "project"

        def answer() -> TimingList:
            found = attempts(reader, since_ns, until, operation, project, resource)
            rows = timings_of(found, shares, by_project=by_project)
            return TimingList(
                timings=[timing_row(one, told, by_project=by_project) for one in rows]
            )

        return await queries.run("/timings", answer)

    @routes.get("/kpi")
    async def show_indicators(
        operation: Text = "",
        project: Text | None = None,
        quantile: Shares = [],  # noqa: B006 - FastAPI copies defaults
        since: Moment | None = None,
        until: Moment | None = None,
    ) -> IndicatorList:
        """How long requests took that ended in the last 24 hours, or since `since`, from the
        API's first word to the last end, by operation and project."""
        told, shares = _shares(quantile)
        since_ns = _from(since, until, TIMINGS_SINCE)

        def answer() -> IndicatorList:
            found = tracked(reader, since_ns, until, project)
            chosen = [one for one in found if one.operation.startswith(operation)]
            rows = indicators_of(chosen, shares)
            return IndicatorList(kpi=[indicator_row(one, told) for one in rows])

        return await queries.run("/kpi", answer)


def _nothing_of(told: str) -> Refusal:
    return missing(
        f"nothing is known of {told!r}; notifications are here some seconds after they were "
        "sent, see `nilometer requests`"
    )


def _from(since: int | None, until: int | None, default: str) -> int:
    return ordered(moment_ns(default) if since is None else since, until)


def _shares(asked: Sequence[str]) -> tuple[list[str], list[float]]:
    pairs = [quantile(text) for text in asked]
    return [text for text, _ in pairs], [share for _, share in pairs]
