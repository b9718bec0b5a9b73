"""What is measured: the same bare functions, applications and queries for every peer."""

from __future__ import annotations

import asyncio
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from bench.pairs import Loop


def work(a: int, b: int) -> int:
    """The smallest function that does something."""
    return a + b


async def work_later(a: int, b: int) -> int:
    """The same as a coroutine function; it never waits."""
    return a + b


def awaited(function: Callable[..., Awaitable[object]]) -> Loop:
    """A loop that awaits the function so many times inside one running event loop."""
    loop = asyncio.new_event_loop()

    async def many(times: int) -> None:
        for _ in range(times):
            await function(1, 2)

    return lambda times: loop.run_until_complete(many(times))


def wsgi_app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Two headers, one piece of body."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]


def wsgi_requests(app: Any, *requests: Mapping[str, str]) -> Loop:
    """A loop of requests as a server makes them: environ, call, iteration, close.

    Each has the headers of the next of `requests`, in turn; without any, none of its own.
    """
    given = [
        {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
        for headers in requests or ({},)
    ]
    template = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/orders/7",
        "SCRIPT_NAME": "",
        "QUERY_STRING": "a=1",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.url_scheme": "http",
        "HTTP_HOST": "127.0.0.1:8000",
        "HTTP_USER_AGENT": "bench",
    }
    templates = cycle([{**template, **headers} for headers in given])

    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> None:
        return None

    def many(times: int) -> None:
        for template in islice(templates, times):
            body: Iterable[bytes] = app(dict(template), start_response)
            for _ in body:
                pass
            close = getattr(body, "close", None)
            if close is not None:
                close()

    return many


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    """The same answer in two messages."""
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


def asgi_requests(app: Any, *requests: Mapping[str, str]) -> Loop:
    """A loop of requests as a server makes them, inside one running event loop."""
    loop = asyncio.new_event_loop()
    given = [
        [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        for headers in requests or ({},)
    ]
    usual = [(b"host", b"127.0.0.1:8000"), (b"user-agent", b"bench")]
    template = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/orders/7",
        "raw_path": b"/orders/7",
        "query_string": b"a=1",
        "root_path": "",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
    }
    templates = cycle([{**template, "headers": [*usual, *headers]} for headers in given])

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        return None

    async def many(times: int) -> None:
        for template in islice(templates, times):
            await app(dict(template), receive, send)

    return lambda times: loop.run_until_complete(many(times))


def sqlite_engine() -> Any:
    """One connection to SQLite in memory."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import StaticPool

    return create_engine("sqlite://", poolclass=StaticPool)


def executions(engine: Any) -> Loop:
    """A loop of the one call in a statement that an integration may wrap.

    A whole statement takes some ten microseconds and varies by more than the wrapper costs.
    """
    cursor = engine.raw_connection().cursor()

    def many(times: int) -> None:
        execute = engine.dialect.do_execute
        for _ in range(times):
            execute(cursor, "select 1", (), None)

    return many


def selects(engine: Any) -> Loop:
    """A loop of ``select 1``."""
    from sqlalchemy import text

    connection = engine.connect()
    statement = text("select 1")

    def many(times: int) -> None:
        for _ in range(times):
            connection.execute(statement).fetchall()

    return many
