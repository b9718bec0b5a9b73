"""How another system's API is spoken beside ours: its own paths, parameters and errors.

A dialect is an application of its own, so that nothing of ours shows in its answers. It is made
by a function of `Means`, declares its paths in full and is listed in `native.DIALECTS`:

    def app(means: Means) -> App:
        made = application(means, refuse)
        made.include_router(...)
        return made

`refuse` writes every error of it, so also 404, 405 and 500, as that system would.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match

from nilometer.api.problems import Problem, Refusal, of_validation
from nilometer.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from fastapi.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from nilometer.api.queries import Queries
    from nilometer.model import Batch
    from nilometer.store.query import Reader

    Refuse = Callable[[Request, Refusal], Response]


AS_IT_CAME: Final = {
    *("type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "query_string"),
    *("root_path", "headers", "client", "server", "state", "extensions"),
}
"""What ASGI says that is in a request."""


class Means(NamedTuple):
    """What a dialect works with.

    `submit` returns when the batches are committed and raises NilometerError if they cannot be;
    `refused` is told the reason of each request that was, to be counted.
    """

    reader: Reader
    queries: Queries
    submit: Callable[[Sequence[Batch]], Awaitable[None]]
    refused: Callable[[str], None]
    clock: Clock = Clock()


class Dialect(NamedTuple):
    """A dialect: the path that all of its own are under, and what makes its application.

    One that is at the `top` answers `/`, too, for clients that ask it for JSON; people who come
    there with a browser do not. `words` make the JSON, of status and reason, that refuses those
    without a token; None: ours do.
    """

    prefix: str
    app: Callable[[Means], ASGIApp]
    top: bool = False
    words: Callable[[int, str], Any] | None = None


class Under(BaseRoute):
    """Hands on every request at or under a path, which stays as it is.

    Starlette's Mount does not take the path itself, and cuts it from what is below.
    """

    def __init__(self, dialect: Dialect, app: ASGIApp) -> None:
        self.prefix = dialect.prefix
        self.top = dialect.top
        self.app = app

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether it is for us, whatever its method."""
        if scope["type"] != "http":
            return Match.NONE, {}
        path = scope["path"]
        ours = path == self.prefix or path.startswith(f"{self.prefix}/")
        if self.top and path == "/":
            ours = "application/json" in Headers(scope=scope).get("accept", "")
        return (Match.FULL if ours else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        await self.app(as_it_came(scope), receive, send)


def as_it_came(scope: Scope) -> Scope:
    """The request without what our own application has noted in it for itself."""
    return {key: value for key, value in scope.items() if key in AS_IT_CAME}


def application(means: Means, refuse: Refuse) -> FastAPI:
    """An application that has no pages and whose every error `refuse` writes."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)

    @app.exception_handler(Refusal)
    async def refusal(request: Request, error: Refusal) -> Response:
        if error.status in (409, 422, 400):
            means.refused("parameter")
        return _with_retry(refuse(request, error), error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        means.refused("parameter")
        return refuse(request, of_validation(error.errors()))

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        means.refused("path" if error.status_code == 404 else "method")
        answer = refuse(request, Refusal(error.status_code, _said(error.detail)))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        detail = f"a fault of the collector's ({type(error).__name__}); its log has more"
        return refuse(request, Refusal(500, _said(detail)))

    return app


def _with_retry(answer: Response, error: Refusal) -> Response:
    if error.retry_after_s is not None:
        answer.headers["Retry-After"] = str(error.retry_after_s)
    return answer


def _said(detail: str) -> Problem:
    return Problem(detail=detail, parameter=None, value=None, nearest=None, choices=None)
