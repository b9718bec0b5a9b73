"""All pages, put together as one application beside REST; `/` leads to the first.

They answer GET and HEAD. A field of a form that was left empty is as if it were not there.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from fastapi import Depends, Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse
from starlette.datastructures import Headers
from starlette.routing import BaseRoute, Match

from nilometer.api.dialects import Means, application, as_it_came
from nilometer.api.native import refuse_unknown
from nilometer.api.problems import cut, missing
from nilometer.errors import nearest, to_install
from nilometer.web.origin import is_from_here
from nilometer.web.parts import Parts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping
    from typing import Any

    from fastapi import FastAPI
    from starlette.types import ASGIApp, Receive, Scope, Send

    from nilometer.api.keys import Keys
    from nilometer.api.problems import Refusal

PATHS: Final = frozenset(
    {
        *("", "services", "metrics", "traces", "requests", "resources", "changes", "doctor"),
        *("charts", "static", "login", "logout"),
    }
)
"""The first parts of the paths that are pages'."""

PROGRAMS: Final = ("/api/", "/v1/", "/v2/", "/v2.0/")
"""Under these only programs ask, who read JSON."""

POLICY: Final = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "frame-ancestors 'none'; form-action 'self'; base-uri 'none'; object-src 'none'"
)
"""Nothing from elsewhere, no script within a page; Bokeh writes styles."""

HEADERS: Final = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


LOOKING: Final = ("GET", "HEAD", "OPTIONS")
ELSEWHERE: Final = "A page of another site sent this form; open the page here, and try again.\n"


def is_installed() -> bool:
    """Whether what draws pages is."""
    return find_spec("jinja2") is not None


def is_page(path: str) -> bool:
    """Whether the path is a page's, or what pages need."""
    return path.startswith("/") and path.split("/", 2)[1] in PATHS


def pages(
    means: Means, health: Callable[[], Mapping[str, Any]], keys: Keys | None = None
) -> BaseRoute:
    """The route under which all pages are; what draws them is loaded here only."""
    if not is_installed():
        return Pages(_absent(means))
    from nilometer.web import (
        assets,
        changes,
        doctor,
        login,
        metrics,
        requests,
        services,
        traces,
    )
    from nilometer.web.drawing import Drawing

    drawing = Drawing(login=keys is not None)
    parts = Parts(means.reader, means.queries, drawing, health, means.clock, keys is not None)
    made = application(means, drawing.refuse)
    for page in (services, metrics, traces, requests, changes, doctor):
        made.include_router(page.router(parts), dependencies=[Depends(_only_known)])
    made.include_router(assets.router())
    _add_stray(made, means, drawing.refuse)
    if keys is not None:
        made.include_router(login.router(drawing, keys))

    @made.get("/")
    async def first() -> Response:
        return RedirectResponse("/services", 307)

    return Pages(made, strays=True)


def _add_stray(
    made: FastAPI, means: Means, refuse: Callable[[Request, Refusal], Response]
) -> None:
    from nilometer.web.drawing import NAV

    @made.exception_handler(404)
    async def stray(request: Request, _error: Exception) -> Response:
        """What was asked for is no page: which there are."""
        means.refused("path")
        path = request.scope["path"]
        there = [f"/{place}" for place, _ in NAV]
        return refuse(request, missing(f"no page {cut(path)!r}{nearest(path, there)}"))


def _absent(means: Means) -> ASGIApp:
    """In place of all pages: what is missing, and how it is installed."""
    told = f"The collector runs; its pages need a package more: {to_install('pages')}\n"

    def refuse(_request: Request, error: Refusal) -> Response:
        return PlainTextResponse(told, 501 if error.status == 404 else error.status)

    made = application(means, refuse)

    @made.get("/")
    async def first() -> Response:
        return PlainTextResponse(told)

    return made


async def _only_known(request: Request) -> None:
    refuse_unknown(request, also=("format",))


class Pages(BaseRoute):
    """Hands on what is under a page's path, and puts the security headers on each answer.

    With `strays` also what nobody else answers, where a person with a browser looks for it.
    """

    def __init__(self, app: ASGIApp, *, strays: bool = False) -> None:
        self.app = app
        self._strays = strays

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether it is for us, whatever its method."""
        if scope["type"] != "http":
            return Match.NONE, {}
        if is_page(scope["path"]):
            return Match.FULL, {}
        # Half a match counts where there is no whole one, the first of them before the others.
        return (Match.PARTIAL if self._strays and _is_stray(scope) else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        is_head = scope["method"] == "HEAD"

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *HEADERS]}
            elif is_head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        if scope["method"] not in LOOKING and not is_from_here(Headers(scope=scope)):
            await PlainTextResponse(ELSEWHERE, 403)(scope, receive, with_headers)
            return
        asked = {
            **as_it_came(scope),
            "method": "GET" if is_head else scope["method"],
            "query_string": _told(scope["query_string"]),
        }
        await self.app(asked, receive, with_headers)


def _is_stray(scope: Scope) -> bool:
    """Whether a person looks for it with a browser."""
    wants = Headers(scope=scope).get("accept", "")
    is_looked_for = scope["method"] in ("GET", "HEAD") and "text/html" in wants
    return is_looked_for and not scope["path"].startswith(PROGRAMS)


def _told(query: bytes) -> bytes:
    """A query without the fields that were left empty: forms send those, too."""
    return b"&".join(pair for pair in query.split(b"&") if pair.partition(b"=")[2])
