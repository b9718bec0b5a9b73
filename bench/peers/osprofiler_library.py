"""OSProfiler with a notifier that does nothing; the dearest part, sending, is left out."""

from __future__ import annotations

from osprofiler import notifier, profiler, web
from osprofiler import sqlalchemy as sa_profiler

from bench import subjects
from bench.pairs import Loop, calls

KEY = "a key"
notifier.set(lambda info, context=None: None)


def traced() -> tuple[Loop, Loop]:
    profiler.init(KEY)
    wrapped = profiler.trace("work", info={"a": 1, "b": 2, "c": 3}, hide_args=True)(
        subjects.work
    )
    return calls(subjects.work, 1, 2), calls(wrapped, 1, 2)


def untraced(*, hide_args: bool) -> tuple[Loop, Loop]:
    """By default it writes the arguments down even where nothing is traced."""
    wrapped = profiler.trace("work", hide_args=hide_args)(subjects.work)
    return calls(subjects.work, 1, 2), calls(wrapped, 1, 2)


def headers() -> dict[str, str]:
    profiler.init(KEY)
    signed = web.get_trace_id_headers()
    profiler.clean()
    return {name: str(value) for name, value in signed.items()}


def wsgi_untraced(*, enabled: bool) -> tuple[Loop, Loop]:
    app = web.WsgiMiddleware(subjects.wsgi_app, hmac_keys=KEY, enabled=enabled)
    bare = subjects.wsgi_requests(subjects.wsgi_app)
    return bare, subjects.wsgi_requests(app)


def wsgi_traced() -> tuple[Loop, Loop]:
    app = web.WsgiMiddleware(subjects.wsgi_app, hmac_keys=KEY, enabled=True)
    signed = headers()
    bare = subjects.wsgi_requests(subjects.wsgi_app, signed)
    return bare, subjects.wsgi_requests(app, signed)


def sql(*, active: bool) -> tuple[Loop, Loop]:
    import sqlalchemy

    engine = subjects.sqlite_engine()
    sa_profiler.add_tracing(sqlalchemy, engine, "db")
    if active:
        profiler.init(KEY)
    return subjects.selects(subjects.sqlite_engine()), subjects.selects(engine)


CASES = {
    "span untraced": lambda: untraced(hide_args=False),
    "span untraced, without arguments": lambda: untraced(hide_args=True),
    "span recorded": traced,
    "wsgi untraced": lambda: wsgi_untraced(enabled=True),
    "wsgi switched off": lambda: wsgi_untraced(enabled=False),
    "wsgi traced": wsgi_traced,
    "sql untraced": lambda: sql(active=False),
    "sql traced": lambda: sql(active=True),
}
