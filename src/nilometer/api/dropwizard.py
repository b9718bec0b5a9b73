"""DropWizard's admin paths over what all services counted, as one or one by one.

`/dropwizard/metrics` is of all services, or those that `service`, `host` and `pid` pick; health
and stacks are the collector's own, since no service can be asked from here. Parameters that are
not known are passed over, as Java's servlets do, but for what looks like one that picks: the
answer would be of others, too.
"""

from __future__ import annotations

import os
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol

from fastapi import Depends, Query, Request
from fastapi.responses import JSONResponse, Response

from nilometer.api.dialects import Dialect, application
from nilometer.api.native import refuse_twice
from nilometer.api.parameters import Text  # noqa: TC001 - FastAPI reads it
from nilometer.api.problems import not_a_choice
from nilometer.stacks import dump
from nilometer.wire import dropwizard
from nilometer.wire.dropwizard_names import JAVA_NAMES, Names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send

    from nilometer.api.dialects import Means
    from nilometer.api.problems import Refusal

PREFIX: Final = "/dropwizard"
HEADERS: Final = {"Cache-Control": dropwizard.UNCACHED}
PID_MAX: Final = 1 << 22  # Linux's
PICKS: Final = ("service", "host", "pid")
NEAR: Final = 0.85  # servce, services and hosts are; ts, type, id and hostname are not


class Sums(Protocol):
    """What was counted since the collector began."""

    def document(
        self, names: Names, *, service: str | None, host: str | None, pid: int | None
    ) -> dict[str, Any]:
        """DropWizard's metrics of all processes that fit."""

    def left_out(self) -> int:
        """How often a reading found no room for its series."""


def dialect(sums: Sums, health: Callable[[], Mapping[str, Any]]) -> Dialect:
    """The dialect; `health` is what the collector tells of itself."""

    def app(means: Means) -> ASGIApp:
        made = application(means, _refuse)
        names = Names(JAVA_NAMES)
        get = partial(made.api_route, methods=["GET", "HEAD"])  # as Java's servlets do

        @get(f"{PREFIX}/metrics", dependencies=[Depends(_clear)])
        async def metrics(
            service: Text | None = None,
            host: Text | None = None,
            pid: Annotated[int | None, Query(ge=0, le=PID_MAX)] = None,
            pretty: Text = "",
        ) -> Response:
            told = await means.queries.run(
                f"{PREFIX}/metrics", sums.document, names, service=service, host=host, pid=pid
            )
            return _json(200, told, pretty)

        @get(f"{PREFIX}/healthcheck")
        async def healthcheck(pretty: Text = "") -> Response:
            checks = _checks(sums, health)
            status = dropwizard.health_status(checks)
            return _json(status, dropwizard.health(checks), pretty)

        @get(f"{PREFIX}/ping")
        async def ping() -> Response:
            return _text("pong\n")

        @get(f"{PREFIX}/threads")
        async def threads() -> Response:
            return _text(dump())

        @get(PREFIX)
        async def menu() -> Response:
            pages = "/metrics?pretty=true\n/ping\n/healthcheck?pretty=true\n/threads\n"
            return _text(f"nilometer's collector, process {os.getpid()}\n\n{pages}")

        return made

    return Dialect(PREFIX, app)


async def _clear(request: Request) -> None:
    """Raises Refusal where it is not clear which processes are meant."""
    for name in request.query_params:
        if name in PICKS:
            refuse_twice(request, name)
        elif get_close_matches(name, PICKS, cutoff=NEAR):
            raise not_a_choice("parameter", name, PICKS, parameter=name)


def _checks(sums: Sums, health: Callable[[], Mapping[str, Any]]) -> dict[str, tuple[bool, str]]:
    status = str(health()["status"])
    left_out = sums.left_out()
    full = f"{left_out} readings of series beyond the bound are not among these metrics"
    return {
        "collector": (status == "ok", "" if status == "ok" else status),
        "metrics": (not left_out, full if left_out else ""),
    }


def _json(status: int, told: Mapping[str, Any], pretty: str) -> Response:
    body = dropwizard.encode(told, pretty=pretty.lower() == "true")
    return Response(body, status, HEADERS, dropwizard.MEDIA_TYPE)


def _text(text: str) -> Response:
    return Response(text.encode(errors="replace"), 200, HEADERS, "text/plain")


def _refuse(_request: Request, error: Refusal) -> Response:
    return JSONResponse({"code": error.status, "message": error.problem.detail}, error.status)


class AtRoot:
    """The same application at a port of its own, where DropWizard's paths are at the root.

    An ASGI application; what comes in at another port goes to it as it is.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._port = port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and (scope.get("server") or ("", 0))[1] == self._port:
            path = f"{PREFIX}{scope['path']}".rstrip("/")
            scope = {**scope, "path": path, "raw_path": path.encode()}
        await self._app(scope, receive, send)
