"""The paths of Monasca's API v2.0: `/v2.0/metrics` and below, and the versions there are."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, Request, Response

from nilometer.api.auth import IDENTITY
from nilometer.api.dialects import Dialect, Means, application
from nilometer.api.monasca.asking import answering, question_of, tenant_of
from nilometer.api.monasca.faults import Fault, refuse, words
from nilometer.api.monasca.grammar import (
    Fields,
    Window,
    filter_of,
    limit_of,
    period_of,
    statistics_of,
    window_of,
)
from nilometer.api.monasca.lists import (
    Choice,
    dimension_names,
    dimension_values,
    metrics,
    names,
)
from nilometer.api.monasca.measurements import measurements
from nilometer.api.monasca.pages import listed, page
from nilometer.api.monasca.posting import posted
from nilometer.api.monasca.statistics import Statistics, statistics
from nilometer.errors import NilometerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from nilometer.api.monasca.asking import Question
    from nilometer.api.monasca.lists import Listed
    from nilometer.store.query import Reader

PREFIX: Final = "/v2.0"
Answer = dict[str, Any]

UPDATED: Final = "2013-03-06T00:00:00.000Z"  # of version 2.0, as Monasca tells it


def app(means: Means) -> ASGIApp:
    """The application."""
    made = application(means, refuse)
    made.include_router(_versions())
    made.include_router(_lists(means))
    made.include_router(_points(means))

    async def asked(scope: Scope, receive: Receive, send: Send) -> None:
        # As Falcon does, every path is there with a slash at its end, too.
        await made({**scope, "path": scope["path"].rstrip("/") or "/"}, receive, send)

    return asked


DIALECT: Final = Dialect(PREFIX, app, top=True, words=words)


def _versions() -> APIRouter:
    routes = APIRouter()

    def version(request: Request) -> Answer:
        link = {"rel": "self", "href": str(request.url.replace(path=PREFIX, query=""))}
        return {"id": "v2.0", "links": [link], "status": "CURRENT", "updated": UPDATED}

    @routes.get("/")
    async def versions(request: Request) -> Answer:
        return page(request, Fields(b""), [version(request)], None)

    @routes.get(PREFIX)
    async def one_version(request: Request) -> Answer:
        return version(request)

    return routes


def _lists(means: Means) -> APIRouter:
    routes = APIRouter(prefix=f"{PREFIX}/metrics")

    async def answer(request: Request, ask: Callable[[Reader, Choice], Listed]) -> Answer:
        fields = Fields(request.scope["query_string"])
        limit, choice = limit_of(fields), _choice_of(request, fields)
        found = await means.queries.run(request.url.path, ask, means.reader, choice)
        return listed(request, fields, found, limit, ordered=ask is not metrics)

    @routes.get("")
    async def list_metrics(request: Request) -> Answer:
        return await answer(request, metrics)

    @routes.get("/names")
    async def list_names(request: Request) -> Answer:
        return await answer(request, names)

    @routes.get("/dimensions/names")
    async def list_dimension_names(request: Request) -> Answer:
        return await answer(request, dimension_names)

    @routes.get("/dimensions/names/values")
    async def list_dimension_values(request: Request) -> Answer:
        key = Fields(request.scope["query_string"]).needed("dimension_name")
        return await answer(request, partial(dimension_values, name=key))

    return routes


def _choice_of(request: Request, fields: Fields) -> Choice:
    """The metric is called `name` by those who list metrics, `metric_name` by the others."""
    return Choice(
        fields.one("name") or fields.one("metric_name"),
        filter_of(fields),
        tenant_of(request, fields),
        window_of(fields, needed=False),
    )


def _points(means: Means) -> APIRouter:
    routes = APIRouter(prefix=f"{PREFIX}/metrics")

    @routes.post("", status_code=204)
    async def take(request: Request) -> Response:
        fields = Fields(request.scope["query_string"])
        batch = await posted(request, _sender_of(request, fields))
        try:
            await means.submit([batch])
        except NilometerError as error:
            raise Fault(503, str(error)) from None
        return Response(status_code=204)

    @routes.get("/measurements")
    async def list_measurements(request: Request) -> Answer:
        fields = Fields(request.scope["query_string"])
        question = _until_now(means, question_of(request, fields))
        elements, offset = await means.queries.run(
            request.url.path, _measurements, means.reader, question
        )
        return page(request, fields, elements, offset)

    @routes.get("/statistics")
    async def list_statistics(request: Request) -> Answer:
        fields = Fields(request.scope["query_string"])
        question = _until_now(means, question_of(request, fields))
        asked = Statistics(statistics_of(fields), period_of(fields))
        elements, offset = await means.queries.run(
            request.url.path, _statistics, means.reader, question, asked
        )
        return page(request, fields, elements, offset)

    return routes


def _sender_of(request: Request, fields: Fields) -> str | None:
    """Whose points are posted: an administrator's own project's, unless it says otherwise."""
    tenant = tenant_of(request, fields)
    identity = request.scope.get("state", {}).get(IDENTITY)
    return identity.project if tenant is None and identity is not None else tenant


def _until_now(means: Means, question: Question) -> Question:
    since_ns, until_ns = question.window
    if until_ns is None:
        until_ns = max(means.clock.wall_ns(), (since_ns or 0) + 1)
    return question._replace(window=Window(since_ns, until_ns))


# --- Asked in a thread ---------------------------------------------------------------------


def _measurements(reader: Reader, question: Question) -> tuple[list[Answer], str | None]:
    return measurements(reader, question, answering(reader, question))


def _statistics(
    reader: Reader, question: Question, asked: Statistics
) -> tuple[list[Answer], str | None]:
    return statistics(reader, question, answering(reader, question), asked)
