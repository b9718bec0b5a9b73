"""Nilometer itself, in both twins; which one runs is the environment's choice."""

from __future__ import annotations

import atexit
import secrets
import tempfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nilometer
from bench import stores, subjects
from bench.pairs import Loop, Pair, calls, nothing
from nilometer.integrations.sqlalchemy import instrument
from nilometer.model import Batch, Resource, SpanKind
from nilometer.trace import CURRENT, drain_spans, start_root
from nilometer.trace.trigger import Triggers, new_trigger
from nilometer.wire.otlp import encode_traces

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nilometer.trace import Trace

KEY = secrets.token_hex(32)
# One pair of the measurement must not fill the ring of finished spans: what does not fit is
# dropped, and dropping is cheaper than keeping.
RING_SHARE = 1000


def counter() -> tuple[Loop, Loop]:
    bound = nilometer.counter("api.requests").bind(tenant="acme", method="GET")
    return nothing, calls(bound.add)


def in_a_file(make: Callable[[], tuple[Loop, Loop]]) -> tuple[Loop, Loop]:
    """The same, of values that would outlive this process."""
    from nilometer.measure import REGISTRY
    from nilometer.measure.catalogue import Kept

    folder = Path(tempfile.mkdtemp())
    kept = Kept(REGISTRY, folder, Resource(), 10)
    atexit.register(folder.rmdir)
    atexit.register(kept.end)
    return make()


def counter_off() -> tuple[Loop, Loop]:
    made = nilometer.counter("api.requests", level=nilometer.DEEP)
    return nothing, calls(made.bind(tenant="acme", method="GET").add)


def counter_by(amount: int) -> tuple[Loop, Loop]:
    bound = nilometer.counter("api.bytes").bind(tenant="acme", method="GET")
    return nothing, calls(bound.add, amount)


def timer() -> tuple[Loop, Loop]:
    timed = nilometer.timer("instance.boot")(subjects.work)
    return calls(subjects.work, 1, 2), calls(timed, 1, 2)


def timer_off() -> tuple[Loop, Loop]:
    timed = nilometer.timer("instance.boot", level=nilometer.DEEP)(subjects.work)
    return calls(subjects.work, 1, 2), calls(timed, 1, 2)


def timer_lap(level: nilometer.Level = nilometer.BASIC) -> tuple[Loop, Loop]:
    boots = nilometer.timer("instance.boot", level=level)

    def timed(a: int, b: int) -> int:
        with boots.lap():
            return subjects.work(a, b)

    return calls(subjects.work, 1, 2), calls(timed, 1, 2)


def coroutine_timer(level: nilometer.Level = nilometer.BASIC) -> tuple[Loop, Loop]:
    timed = nilometer.timer("instance.boot", level=level)(subjects.work_later)
    return subjects.awaited(subjects.work_later), subjects.awaited(timed)


def coroutine_untraced() -> tuple[Loop, Loop]:
    traced = nilometer.traced("work")(subjects.work_later)
    return subjects.awaited(subjects.work_later), subjects.awaited(traced)


def untraced() -> tuple[Loop, Loop]:
    return calls(subjects.work, 1, 2), calls(nilometer.traced("work")(subjects.work), 1, 2)


def request() -> Trace:
    """A request whose trigger was accepted, as middleware gets it."""
    triggers = Triggers([KEY], requests_per_second=1e6, spans_per_trace=10**9)
    _, headers = new_trigger(KEY, ttl_s=60)
    given = {name.lower(): value for name, value in headers.items()}
    accepted: Any = triggers.accept(given.get)
    return accepted  # type: ignore[no-any-return]


def enter_a_trace() -> None:
    """All that follows in this process happens inside one traced request."""
    start_root("request", kind=SpanKind.SERVER, request=request()).start()


def recorded() -> Pair:
    """Emptying the ring is the pump's work in the background, and is part of "encoded" only."""
    enter_a_trace()

    def traced(a: int, b: int) -> int:
        with nilometer.span("work", a=1, b="two", c=3.0):
            return subjects.work(a, b)

    return Pair(calls(subjects.work, 1, 2), calls(traced, 1, 2), drain_spans, RING_SHARE)


def encoded() -> Pair:
    """Recorded, drained and encoded for OTLP: all that the service's processor does for it."""
    recording = recorded()
    resource = Resource(service="bench", host="here", pid=1)

    def measured(times: int) -> None:
        recording.measured(times)
        encode_traces(Batch(resource, spans=drain_spans()))

    return recording._replace(measured=measured)


def coroutine_span() -> Pair:
    enter_a_trace()
    traced = nilometer.traced("work")(subjects.work_later)
    bare = subjects.awaited(subjects.work_later)
    return Pair(bare, subjects.awaited(traced), drain_spans, RING_SHARE)


def osprofiler_headers() -> dict[str, str]:
    """A trigger that may be sent again and again: ours carries a nonce and may not."""
    _, headers = new_trigger(KEY, ttl_s=900)
    return {name: value for name, value in headers.items() if name.startswith("X-Trace-")}


def own_headers() -> list[dict[str, str]]:
    """Triggers in our own form, one for each request of a side."""
    signed = (new_trigger(KEY, ttl_s=900)[1] for _ in range(RING_SHARE))
    return [
        {name: value for name, value in headers.items() if name.startswith("trace")}
        for headers in signed
    ]


class Forgetting:
    """Triggers that take the same headers again after each side: no nonce is remembered."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._triggers = Triggers([KEY], requests_per_second=1e6, spans_per_trace=10**9)

    def accept(self, *given: Any) -> Any:
        return self._triggers.accept(*given)

    def drain(self) -> None:
        """What happens behind each side."""
        drain_spans()
        self.forget()


def on_flight_recorder(pair: Pair) -> Pair:
    """The same while the flight recorder is on: all end well, so none is kept."""
    from nilometer.integrations.flight import FlightRecorder

    FlightRecorder(slow_s=1.0).start()
    return pair


def span_on_flight_recorder() -> Pair:
    """Spans of one request, which is forgotten behind each side."""
    from nilometer.integrations.flight import GRANT, FlightRecorder, Recording

    recorder = FlightRecorder(spans_max=RING_SHARE + GRANT, spans_per_trace=10**9)
    recordings: list[Recording] = []

    def forget() -> None:
        while recordings:
            recordings.pop().end(is_kept=False)
        CURRENT.set(None)
        if (recording := recorder.begin(None)) is None:
            raise RuntimeError("what was forgotten has not been given back")
        recordings.append(recording)
        start_root("request", kind=SpanKind.SERVER, request=recording.trace).start()

    def recorded(a: int, b: int) -> int:
        with nilometer.span("work", a=1, b="two", c=3.0):
            return subjects.work(a, b)

    forget()
    return Pair(calls(subjects.work, 1, 2), calls(recorded, 1, 2), forget, RING_SHARE)


def wsgi(*requests: Mapping[str, str]) -> Pair:
    from nilometer.integrations.wsgi import Middleware

    triggers: Any = Forgetting()
    app = Middleware(subjects.wsgi_app, triggers=triggers)
    bare = subjects.wsgi_requests(subjects.wsgi_app, *requests)
    return Pair(bare, subjects.wsgi_requests(app, *requests), triggers.drain, RING_SHARE)


def asgi(*requests: Mapping[str, str]) -> Pair:
    from nilometer.integrations.asgi import Middleware

    triggers: Any = Forgetting()
    app = Middleware(subjects.asgi_app, triggers=triggers)
    bare = subjects.asgi_requests(subjects.asgi_app, *requests)
    return Pair(bare, subjects.asgi_requests(app, *requests), triggers.drain, RING_SHARE)


def sql(*, active: bool = False, level: str = "basic") -> Pair:
    bare, engine = subjects.sqlite_engine(), subjects.sqlite_engine()
    instrument(engine)
    nilometer.set_level("integrations.sqlalchemy", level)
    if active:
        enter_a_trace()
    return Pair(subjects.selects(bare), subjects.selects(engine), drain_spans, RING_SHARE)


def sql_call(level: str = "basic") -> Pair:
    """The wrapped call alone: all that we add to a statement is in it."""
    bare, engine = subjects.sqlite_engine(), subjects.sqlite_engine()
    instrument(engine)
    nilometer.set_level("integrations.sqlalchemy", level)
    return Pair(subjects.executions(bare), subjects.executions(engine))


def store(
    name: str, loop: Callable[[], Loop], *, active: bool = False, level: str = "basic"
) -> Pair:
    """A data store's client before and after its integration was installed."""
    bare = loop()
    import_module(f"nilometer.integrations.{name}").install()
    nilometer.set_level(f"integrations.{name}", level)
    if active:
        enter_a_trace()
    return Pair(bare, loop(), drain_spans, RING_SHARE if active else 1 << 30)


PYTHON_GETS = stores.python_memcached_gets

CASES = {
    "counter": counter,
    "counter, in a file": lambda: in_a_file(counter),
    "counter off": counter_off,
    "counter, by an amount": lambda: counter_by(512),
    "timer on": timer,
    "timer on, in a file": lambda: in_a_file(timer),
    "timer on, with lap()": timer_lap,
    "timer off": timer_off,
    "timer off, with lap()": lambda: timer_lap(nilometer.DEEP),
    "coroutine timer on": coroutine_timer,
    "coroutine timer off": lambda: coroutine_timer(nilometer.DEEP),
    "span untraced": untraced,
    "span recorded": recorded,
    "span encoded": encoded,
    "span on the flight recorder": span_on_flight_recorder,
    "coroutine span untraced": coroutine_untraced,
    "coroutine span recorded": coroutine_span,
    "wsgi untraced": wsgi,
    "wsgi traced": lambda: wsgi(osprofiler_headers()),
    "wsgi traced, by our own headers": lambda: wsgi(*own_headers()),
    "wsgi on the flight recorder": lambda: on_flight_recorder(wsgi()),
    "asgi untraced": asgi,
    "asgi traced": lambda: asgi(osprofiler_headers()),
    "asgi traced, by our own headers": lambda: asgi(*own_headers()),
    "asgi on the flight recorder": lambda: on_flight_recorder(asgi()),
    "sql switched off, its call": lambda: sql_call("off"),
    "sql untraced, its call": sql_call,
    "sql switched off": lambda: sql(level="off"),
    "sql untraced": sql,
    "sql traced": lambda: sql(active=True),
    "redis switched off": lambda: store("redis", stores.redis_gets, level="off"),
    "redis untraced": lambda: store("redis", stores.redis_gets),
    "redis traced": lambda: store("redis", stores.redis_gets, active=True),
    "redis asyncio switched off": lambda: store("redis", stores.async_redis_gets, level="off"),
    "redis asyncio untraced": lambda: store("redis", stores.async_redis_gets),
    "redis asyncio traced": lambda: store("redis", stores.async_redis_gets, active=True),
    "memcached switched off": lambda: store("pymemcache", stores.memcached_gets, level="off"),
    "memcached untraced": lambda: store("pymemcache", stores.memcached_gets),
    "memcached traced": lambda: store("pymemcache", stores.memcached_gets, active=True),
    "python-memcached switched off": lambda: store("memcache", PYTHON_GETS, level="off"),
    "python-memcached untraced": lambda: store("memcache", PYTHON_GETS),
    "python-memcached traced": lambda: store("memcache", PYTHON_GETS, active=True),
    "pylibmc switched off": lambda: store("pylibmc", stores.pylibmc_gets, level="off"),
    "pylibmc untraced": lambda: store("pylibmc", stores.pylibmc_gets),
    "pylibmc traced": lambda: store("pylibmc", stores.pylibmc_gets, active=True),
    "mongodb switched off": lambda: store("pymongo", stores.mongodb_finds, level="off"),
    "mongodb untraced": lambda: store("pymongo", stores.mongodb_finds),
    "mongodb traced": lambda: store("pymongo", stores.mongodb_finds, active=True),
}
