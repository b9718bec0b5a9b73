"""ddtrace with a filter that drops every finished trace: nothing is encoded or sent."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

os.environ["DD_INSTRUMENTATION_TELEMETRY_ENABLED"] = "false"
os.environ["DD_REMOTE_CONFIGURATION_ENABLED"] = "false"

from ddtrace.trace import TraceFilter, tracer  # it reads the environment when imported

from bench import stores, subjects
from bench.pairs import Loop, calls

if TYPE_CHECKING:
    from collections.abc import Callable


class Drop(TraceFilter):
    def process_trace(self, trace: Any) -> None:
        return None


tracer.configure(trace_processors=[Drop()])


def span() -> tuple[Loop, Loop]:
    def traced(a: int, b: int) -> int:
        with tracer.trace("work") as current:
            current.set_tag("a", "1")
            current.set_tag("b", "two")
            current.set_metric("c", 3.0)
            return subjects.work(a, b)

    return calls(subjects.work, 1, 2), calls(traced, 1, 2)


def coroutine_span() -> tuple[Loop, Loop]:
    traced = tracer.wrap("work")(subjects.work_later)
    return subjects.awaited(subjects.work_later), subjects.awaited(traced)


def wsgi() -> tuple[Loop, Loop]:
    from ddtrace.contrib.wsgi import DDWSGIMiddleware

    app = DDWSGIMiddleware(subjects.wsgi_app)
    return subjects.wsgi_requests(subjects.wsgi_app), subjects.wsgi_requests(app)


def asgi() -> tuple[Loop, Loop]:
    from ddtrace.contrib.asgi import TraceMiddleware

    app = TraceMiddleware(subjects.asgi_app)
    return subjects.asgi_requests(subjects.asgi_app), subjects.asgi_requests(app)


def sql() -> tuple[Loop, Loop]:
    from ddtrace.contrib.sqlalchemy import trace_engine

    bare, engine = subjects.sqlite_engine(), subjects.sqlite_engine()
    trace_engine(engine, tracer, "bench")
    return subjects.selects(bare), subjects.selects(engine)


def store(name: str, loop: Callable[[], Loop]) -> tuple[Loop, Loop]:
    """A data store's client before and after it was patched."""
    from ddtrace import patch

    bare = loop()
    patch(**{name: True})
    return bare, loop()


def redis() -> tuple[Loop, Loop]:
    return store("redis", stores.redis_gets)


def async_redis() -> tuple[Loop, Loop]:
    return store("redis", stores.async_redis_gets)


def memcached() -> tuple[Loop, Loop]:
    """It puts a client of its own around pymemcache's."""
    from ddtrace import patch

    bare = stores.memcached_gets()
    patch(pymemcache=True)
    from pymemcache.client.base import Client

    client = Client(("127.0.0.1", 11211))
    client.__wrapped__.sock = stores.Connected()
    return bare, stores.gets_of(client)


def pylibmc() -> tuple[Loop, Loop]:
    """It puts a client of its own around pylibmc's."""
    from ddtrace import patch

    bare = stores.pylibmc_gets()
    patch(pylibmc=True)
    import pylibmc

    return bare, stores.gets_of(pylibmc.Client(["127.0.0.1"]))


def off(case: Callable[[], tuple[Loop, Loop]]) -> Callable[[], tuple[Loop, Loop]]:
    """The same with tracing switched off, as DD_TRACE_ENABLED=false does."""

    def made() -> tuple[Loop, Loop]:
        tracer.enabled = False
        return case()

    return made


CASES = {
    "span untraced": off(span),
    "span recorded": span,
    "coroutine span untraced": off(coroutine_span),
    "coroutine span recorded": coroutine_span,
    "wsgi untraced": off(wsgi),
    "wsgi traced": wsgi,
    "asgi untraced": off(asgi),
    "asgi traced": asgi,
    "sql untraced": off(sql),
    "sql traced": sql,
    "redis untraced": off(redis),
    "redis traced": redis,
    "redis asyncio untraced": off(async_redis),
    "redis asyncio traced": async_redis,
    "memcached untraced": off(memcached),
    "memcached traced": memcached,
    "pylibmc untraced": off(pylibmc),
    "pylibmc traced": pylibmc,
}
