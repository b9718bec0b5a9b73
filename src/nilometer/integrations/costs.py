"""What wrappers of integrations cost a call: each run around nothing, on scratch instruments.

The pump's thread asks, once per process and only for what the process uses; so nothing here
imports a module for the first time (src/nilometer/own.py says why).
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Final

from nilometer.clock import elapsed_ns
from nilometer.measure.overhead import extra_ns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nilometer.measure import Registry

_ENVIRON: Final = {
    "REQUEST_METHOD": "GET",
    "PATH_INFO": "/",
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "80",
    "wsgi.url_scheme": "http",
}
_SCOPE: Final = {"type": "http", "method": "GET", "path": "/", "headers": []}
_HEAD: Final = {"type": "http.response.start", "status": 200, "headers": []}
_BODY: Final = {"type": "http.response.body", "body": b"x"}
_STATEMENT: Final = "select 1"
_NEVER_NS: Final = 1 << 62

GREENLETS_OWN_NS: Final = 130
"""Of a switch that is told to a function that does nothing, beside one that is told nobody. It
cannot be calibrated: this thread may have a hub, whose switches must not be told elsewhere."""


def wsgi_request() -> float:
    """One request through the WSGI middleware."""
    middleware = import_module("nilometer.integrations.wsgi").Middleware
    return extra_ns(
        lambda registry: partial(_serve_wsgi, middleware(_wsgi, registry=registry)),
        partial(_serve_wsgi, _wsgi),
    )


def asgi_request() -> float:
    """One request through the ASGI middleware."""
    middleware = import_module("nilometer.integrations.asgi").Middleware
    return extra_ns(
        lambda registry: partial(_serve_asgi, middleware(_asgi, registry=registry)),
        partial(_serve_asgi, _asgi),
    )


def wsgi_phases() -> float:
    """The phases of one WSGI request, beyond the request."""
    attend = _watching("wsgi", _wsgi, "attend")
    return (
        extra_ns(
            lambda registry: partial(_serve_wsgi, attend(registry)), partial(_serve_wsgi, _wsgi)
        )
        - wsgi_request()
    )


def asgi_phases() -> float:
    """The phases of one ASGI request, beyond the request."""
    attend = _watching("asgi", _asgi, "__call__")
    return (
        extra_ns(
            lambda registry: partial(_serve_asgi, attend(registry), "POST"),
            partial(_serve_asgi, _asgi, "POST"),
        )
        - asgi_request()
    )


def _watching(protocol: str, app: Any, name: str) -> Callable[[Registry], Any]:
    """What makes of a registry a middleware that watches phases, and tells them nobody."""
    middleware = import_module(f"nilometer.integrations.{protocol}").Middleware
    instruments = import_module("nilometer.integrations.http_meters").server_instruments

    def attending(registry: Registry) -> Any:
        instruments(registry).phases.on = True  # though no timer of its is
        return getattr(middleware(app, registry=registry), name)

    return attending


def statement() -> float:
    """One statement."""
    execute_class = import_module("nilometer.integrations.databases").Execute

    def measured(registry: Registry) -> Callable[[], object]:
        record = registry.timer("statement").bind(operation="SELECT").record
        known = {_STATEMENT: (record, _execute)}
        execute = execute_class(_execute, known, known.__getitem__, print, elapsed_ns)
        return partial(execute, None, _STATEMENT, (), None)

    return extra_ns(measured, partial(_execute, None, _STATEMENT, (), None))


def orm_query() -> float:
    """One query of SQLAlchemy's ORM."""
    module = import_module("nilometer.integrations.sqlalchemy_orm")

    def answer(_session: object, _statement: object) -> _OrmResult:
        return _OrmResult(None, _orm_chunks)

    def measured(registry: Registry) -> Callable[[], object]:
        models = module.Models(registry)
        made = models.results(_OrmResult)

        def asked(_session: object, _statement: object) -> Any:
            return made(None, _orm_chunks)

        execute = models.executing(asked)
        return partial(_read_orm, execute)

    return extra_ns(measured, partial(_read_orm, answer))


def pool_wait() -> float:
    """Asking a pool of connections for one."""
    pools = import_module("nilometer.integrations.pools").Pools
    asked_class = import_module("nilometer.integrations.databases").Asked

    def measured(registry: Registry) -> Callable[[], object]:
        pending, waits = pools(len, registry).series("calibration")
        asked: Callable[[], object] = asked_class(
            _nothing, print, pending.add, waits.record, elapsed_ns
        )
        return asked

    return extra_ns(measured, _nothing)


def pool_work() -> float:
    """One function submitted to a pool."""
    module = import_module("nilometer.integrations.threads")

    def measured(registry: Registry) -> Callable[[], object]:
        times = module.Times(*(registry.timer(name).bind(pool="p") for name in ("wait", "run")))

        def submit() -> None:
            module.Work(_nothing, times)()

        return submit

    return extra_ns(measured, _nothing)


def loop_callback() -> float:
    """One callback of an event loop."""
    run_class = import_module("nilometer.integrations.event_loops").core.Run

    def measured(_registry: Registry) -> Callable[[], object]:
        return partial(run_class(_run, print, _NEVER_NS, elapsed_ns), None)

    return extra_ns(measured, partial(_run, None))


def hub_switch() -> float:
    """One switch of a greenlet, with what greenlet itself takes to tell us of it."""
    watch_class = import_module("nilometer.integrations.event_loops").core.Watch

    def measured(_registry: Registry) -> Callable[[], object]:
        watch = watch_class(print, print, print, _NEVER_NS, elapsed_ns)
        watch.armed = True
        return partial(watch, "switch", (None, None))

    return GREENLETS_OWN_NS + extra_ns(measured, _nothing)


def _wsgi(_environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"x"]


def _serve_wsgi(app: Any) -> None:
    body = app(dict(_ENVIRON), _started)
    for _ in body:
        pass
    close = getattr(body, "close", None)
    if close is not None:
        close()


def _started(status: str, headers: list[Any], error: Any = None) -> None:
    """Begin no response."""


async def _asgi(_scope: Any, _receive: Any, send: Any) -> None:
    await send(_HEAD)
    await send(_BODY)


def _serve_asgi(app: Any, method: str = "GET") -> None:
    for _ in app({**_SCOPE, "method": method}, _receive, _send).__await__():
        """Nothing in it waits."""


async def _receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(message: Any) -> None:
    """Send nothing."""


class _OrmStatement:
    """A statement of an ORM, about no model."""

    _propagate_attrs: ClassVar = {"compile_state_plugin": "orm"}


class _OrmResult:
    """A result that loads objects."""

    __slots__ = ("chunks",)

    def __init__(self, _metadata: object, chunks: Any) -> None:
        self.chunks = chunks


_ORM_STATEMENT: Final = _OrmStatement()


def _orm_chunks(_size: object) -> Iterator[list[None]]:
    yield [None]


def _read_orm(execute: Callable[[object, object], Any]) -> None:
    for _ in execute(None, _ORM_STATEMENT).chunks(None):
        pass


def _execute(cursor: Any, text: str, parameters: Any, context: Any) -> None:
    """Execute nothing."""


def _run(_callback: Any) -> None:
    """Run nothing."""


def _nothing() -> None:
    """Do nothing."""
