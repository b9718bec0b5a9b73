"""The REST interface under /api/v1: what lies in the tables, as JSON with its OpenAPI.

Queries run in threads; every list has a limit and says whether there is more. What came from
outside stays text: it is bound to statements, never written into them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, get_origin

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from nilometer.api import metrics, requests, traces
from nilometer.api.answers import Health
from nilometer.api.ceilometer import app as ceilometer
from nilometer.api.dialects import Dialect, Means, Under
from nilometer.api.monasca import app as monasca
from nilometer.api.problems import Problem, Refusal, not_a_choice, of_validation, unusable
from nilometer.api.stacktach import app as stacktach
from nilometer.errors import NilometerError
from nilometer.wire.otlp_reply import encode_refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from nilometer.api.queries import Queries
    from nilometer.model import Batch
    from nilometer.store.query import Reader

PREFIX: Final = "/api/v1"

DIALECTS: Final[tuple[Dialect, ...]] = (
    monasca.DIALECT,
    ceilometer.DIALECT,
    *stacktach.DIALECTS,
)
"""The APIs of other systems that are answered beside ours."""


async def _nowhere(_batches: Sequence[Batch]) -> None:
    raise NilometerError("nothing is taken in here", slug="not-committed")


def api(
    reader: Reader,
    queries: Queries,
    health: Callable[[], Mapping[str, Any]],
    refused: Callable[[str], None] = lambda _: None,
    *,
    submit: Callable[[Sequence[Batch]], Awaitable[None]] = _nowhere,
    wants_token: bool = False,
    dialects: Sequence[Dialect] = DIALECTS,
) -> FastAPI:
    """The application; `refused` is told why a request was, to be counted, and `submit` takes
    what dialects were sent. That a token is wanted it only tells: whoever stands before it
    looks at that.

    No page of it loads anything from elsewhere: FastAPI's own would, so they are off.
    """
    app = FastAPI(
        title="Nilometer",
        description="Traces and metrics, out of the collector's tables.",
        version="1",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # who follows a redirect sends a body again, or gives up
        dependencies=[Depends(only_known_parameters)],
        responses={422: {"model": Problem}, 503: {"model": Problem}},
    )

    _add_faults(app, refused)
    if wants_token:
        _tell_of_tokens(app)
    app.include_router(_health_routes(health), prefix=PREFIX)
    app.include_router(traces.router(reader, queries), prefix=PREFIX)
    app.include_router(metrics.router(reader, queries), prefix=PREFIX)
    app.include_router(requests.router(reader, queries), prefix=PREFIX)
    means = Means(reader, queries, submit, refused)
    app.router.routes.extend(Under(each, each.app(means)) for each in dialects)
    return app


def _add_faults(app: FastAPI, refused: Callable[[str], None]) -> None:
    @app.exception_handler(Refusal)
    async def refusal(_request: Request, error: Refusal) -> JSONResponse:
        if error.status == 422:
            refused("parameter")
        return error.answer()

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        refused("parameter")
        return of_validation(error.errors()).answer()

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        # A sender that was told a wrong path sends all it has to nowhere: that must be seen.
        refused("path" if error.status_code == 404 else "method")
        return _refusal(request, error.status_code, error.detail, error.headers)

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        detail = f"a fault of the collector's ({type(error).__name__}); its log has more"
        return _refusal(request, 500, detail)


def _refusal(
    request: Request, status: int, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
    """In the sender's protocol: OTLP's routes come to be among those of this application."""
    content_type = request.headers.get("content-type", "")
    body, media_type = encode_refusal(request.url.path, content_type, status, detail)
    return Response(body, status, headers, media_type)


def _tell_of_tokens(app: FastAPI) -> None:
    """Have the OpenAPI document say that every request needs a token."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        schema = plain()
        schemes = schema.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["token"] = {"type": "http", "scheme": "bearer"}
        schema["security"] = [{"token": []}]
        return schema

    app.openapi = openapi  # type: ignore[method-assign]


def _health_routes(health: Callable[[], Mapping[str, Any]]) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/health")
    async def is_alive() -> Health:
        """That the collector lives, and how busy it is."""
        return Health(**health())

    return router


async def only_known_parameters(request: Request) -> None:
    """A parameter that is not known would be passed over, of one that is given twice all values
    but one: the answer would be wrong.
    """
    refuse_unknown(request)


def refuse_unknown(request: Request, *, also: Sequence[str] = ()) -> None:
    """Raises Refusal for a parameter that is neither the route's nor `also` known, or given
    twice though it is one value."""
    fields = {field.alias: field for field in request.scope["route"].dependant.query_params}
    lists = {
        name
        for name, field in fields.items()
        if get_origin(field.field_info.annotation) is list
    }
    for name in request.query_params:
        if name not in fields and name not in also:
            raise not_a_choice("parameter", name, [*fields, *also], parameter=name)
        if name not in lists:
            refuse_twice(request, name)


def refuse_twice(request: Request, name: str) -> None:
    """Raises Refusal if this parameter, which is one value, is given more than once."""
    given = request.query_params.getlist(name)
    if len(given) > 1:
        raise unusable(name, ", ".join(given), "give it once; it is one value")
