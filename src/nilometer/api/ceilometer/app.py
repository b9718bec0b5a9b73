"""The paths of Ceilometer's API v2 that tell of traces: its events, samples and meters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, Request, Response

from nilometer.api.ceilometer.complex import BODY_BYTES_MAX, OLDEST_FIRST, query_of
from nilometer.api.ceilometer.faults import Fault, not_found, refuse, words
from nilometer.api.ceilometer.found import found
from nilometer.api.ceilometer.simple import asked, wanted_events, wanted_samples
from nilometer.api.ceilometer.statistics import group_of, period_of, statistics
from nilometer.api.ceilometer.told import Told
from nilometer.api.ceilometer.wanted import Wanted, both, by_id
from nilometer.api.dialects import Dialect, Means, application

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp

PREFIX: Final = "/v2"


def app(means: Means) -> ASGIApp:
    """The application."""
    made = application(means, refuse)
    made.include_router(_events(means))
    made.include_router(_samples(means))
    made.include_router(_meters(means))
    return made


DIALECT: Final = Dialect(PREFIX, app, words=words)


async def _answer(
    means: Means, request: Request, ask: Callable[..., list[Told]], *args: Any, show: Any
) -> Response:
    """What is asked for, as `show` makes it; both in a thread."""

    def answer() -> bytes:
        return json.dumps(show(ask(means.reader, *args))).encode()

    content = await means.queries.run(request.url.path, answer)
    return Response(content, media_type="application/json")


def _each(show: Callable[[Told], Any]) -> Callable[[list[Told]], list[Any]]:
    return lambda told: [show(each) for each in told]


def _one(show: Callable[[Told], Any], what: str, ident: str) -> Callable[[list[Told]], Any]:
    def shown(told: list[Told]) -> Any:
        if not told:
            raise not_found(what, ident)
        return show(told[0])

    return shown


def _events(means: Means) -> APIRouter:
    routes = APIRouter(prefix=f"{PREFIX}/events")

    @routes.get("")
    @routes.get("/")
    async def list_events(request: Request) -> Response:
        query = asked(request.scope["query_string"])
        wanted, limit = wanted_events(query.conditions), query.limit
        show = _each(Told.event)
        return await _answer(means, request, found, wanted, limit, OLDEST_FIRST, show=show)

    @routes.get("/{ident}")
    async def one_event(request: Request, ident: str) -> Response:
        show = _one(Told.event, "Event", ident)
        return await _answer(means, request, found, by_id(ident), 1, show=show)

    return routes


def _samples(means: Means) -> APIRouter:
    routes = APIRouter(prefix=PREFIX)

    @routes.get("/samples")
    async def list_samples(request: Request) -> Response:
        query = asked(request.scope["query_string"])
        wanted, limit = wanted_samples(query.conditions), query.limit
        show = _each(Told.sample)
        return await _answer(means, request, found, wanted, limit, show=show)

    @routes.get("/samples/{ident}")
    async def one_sample(request: Request, ident: str) -> Response:
        show = _one(Told.sample, "Sample", ident)
        return await _answer(means, request, found, by_id(ident), 1, show=show)

    @routes.post("/query/samples")
    async def query_samples(request: Request) -> Response:
        query = query_of(await _body(request))
        show = _each(Told.sample)
        return await _answer(
            means, request, found, query.wanted, query.limit, query.order, show=show
        )

    return routes


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_BYTES_MAX:
            raise Fault(f"at most {BODY_BYTES_MAX} bytes", 413)
    return bytes(body)


def _meters(means: Means) -> APIRouter:
    routes = APIRouter(prefix=f"{PREFIX}/meters")

    @routes.get("")
    @routes.get("/")
    async def list_meters(request: Request) -> Response:
        query = asked(request.scope["query_string"], "unique")
        limit = query.limit

        def show(told: list[Told]) -> list[Any]:
            meters = {(each.resource_id, each.name): each for each in told}
            return [each.meter() for each in meters.values()][:limit]

        wanted = wanted_samples(query.conditions)
        return await _answer(means, request, found, wanted, None, show=show)

    @routes.get("/{name:path}/statistics")
    async def statistics_of(request: Request, name: str) -> Response:
        query = asked(request.scope["query_string"], "period", "groupby")
        period_s = period_of(query.told.get("period", ""))
        group = group_of(query.told.get("groupby", ""))
        wanted = both(_called(name), wanted_samples(query.conditions))
        return await _answer(
            means,
            request,
            found,
            wanted,
            None,
            show=lambda told: statistics(told, period_s, group),
        )

    @routes.get("/{name:path}")
    async def samples_of(request: Request, name: str) -> Response:
        query = asked(request.scope["query_string"])
        wanted, limit = both(_called(name), wanted_samples(query.conditions)), query.limit
        show = _each(Told.old_sample)
        return await _answer(means, request, found, wanted, limit, show=show)

    return routes


def _called(name: str) -> Wanted:
    return Wanted(lambda told: told.name == name)
