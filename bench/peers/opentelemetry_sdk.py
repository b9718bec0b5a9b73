"""OpenTelemetry's SDK and instrumentations; spans end in a batch processor's null exporter."""

from __future__ import annotations

from functools import wraps
from importlib import import_module
from time import perf_counter
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware as AsgiMiddleware
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware as WsgiMiddleware
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

from bench import stores, subjects
from bench.pairs import Loop, calls, nothing

if TYPE_CHECKING:
    from collections.abc import Callable


class Null(SpanExporter):
    """Takes everything, keeps nothing."""

    def export(self, spans: Any) -> SpanExportResult:
        return SpanExportResult.SUCCESS


class Encoding(SpanExporter):
    """Encodes as the real exporter does, and does not send."""

    def export(self, spans: Any) -> SpanExportResult:
        encode_spans(spans).SerializeToString()
        return SpanExportResult.SUCCESS


def tracers(sampler: Sampler, exporter: SpanExporter | None = None) -> TracerProvider:
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    # A queue as large as a pair of the measurement, so that nothing is dropped for being fast.
    provider.add_span_processor(BatchSpanProcessor(exporter or Null(), max_queue_size=1 << 16))
    return provider


def meters() -> MeterProvider:
    return MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)


def counter(provider: Any) -> tuple[Loop, Loop]:
    made = provider.get_meter("bench").create_counter("requests")
    return nothing, calls(made.add, 1, {"tenant": "acme", "method": "GET"})


def timer(provider: Any) -> tuple[Loop, Loop]:
    made = provider.get_meter("bench").create_histogram("boot")

    def timed(function: Any) -> Any:
        @wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            started = perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                made.record(perf_counter() - started)

        return wrapper

    return calls(subjects.work, 1, 2), calls(timed(subjects.work), 1, 2)


def span(provider: Any) -> tuple[Loop, Loop]:
    tracer = provider.get_tracer("bench")

    def traced(a: int, b: int) -> int:
        with tracer.start_as_current_span("work", attributes={"a": 1, "b": "two", "c": 3.0}):
            return subjects.work(a, b)

    root = tracer.start_span("root")
    trace.context_api.attach(trace.set_span_in_context(root))
    return calls(subjects.work, 1, 2), calls(traced, 1, 2)


def decorated(provider: Any) -> tuple[Loop, Loop]:
    tracer = provider.get_tracer("bench")
    return calls(subjects.work, 1, 2), calls(
        tracer.start_as_current_span("work")(subjects.work), 1, 2
    )


def coroutine_span(provider: Any) -> tuple[Loop, Loop]:
    tracer = provider.get_tracer("bench")

    async def traced(a: int, b: int) -> int:
        with tracer.start_as_current_span("work"):
            return await subjects.work_later(a, b)

    return subjects.awaited(subjects.work_later), subjects.awaited(traced)


def wsgi(provider: Any, meter_provider: Any = None) -> tuple[Loop, Loop]:
    app = WsgiMiddleware(
        subjects.wsgi_app, tracer_provider=provider, meter_provider=meter_provider or meters()
    )
    return subjects.wsgi_requests(subjects.wsgi_app), subjects.wsgi_requests(app)


def asgi(provider: Any, meter_provider: Any = None, **options: Any) -> tuple[Loop, Loop]:
    app = AsgiMiddleware(
        subjects.asgi_app,
        tracer_provider=provider,
        meter_provider=meter_provider or meters(),
        **options,
    )
    return subjects.asgi_requests(subjects.asgi_app), subjects.asgi_requests(app)


def sql(sampler: Sampler) -> tuple[Loop, Loop]:
    bare, engine = subjects.sqlite_engine(), subjects.sqlite_engine()
    SQLAlchemyInstrumentor().instrument(
        engine=engine,
        tracer_provider=tracers(sampler),
        meter_provider=meters(),
        skip_dep_check=True,  # it says it knows SQLAlchemy below 2.1 only, and works beyond
    )
    return subjects.selects(bare), subjects.selects(engine)


def store(instrumentor: str, loop: Callable[[], Loop], sampler: Sampler) -> tuple[Loop, Loop]:
    """A data store's client before and after it was instrumented."""
    module, name = instrumentor.split(":")
    bare = loop()
    made = getattr(import_module(f"opentelemetry.instrumentation.{module}"), name)()
    made.instrument(tracer_provider=tracers(sampler), skip_dep_check=True)
    return bare, loop()


REDIS = "redis:RedisInstrumentor"
MEMCACHED = "pymemcache:PymemcacheInstrumentor"
MONGODB = "pymongo:PymongoInstrumentor"

CASES = {
    "counter": lambda: counter(meters()),
    "counter off": lambda: counter(NoOpMeterProvider()),
    "timer on": lambda: timer(meters()),
    "timer off": lambda: timer(NoOpMeterProvider()),
    "span untraced": lambda: decorated(trace.NoOpTracerProvider()),
    "span untraced, always_off": lambda: decorated(tracers(ALWAYS_OFF)),
    "span recorded": lambda: span(tracers(ALWAYS_ON)),
    "span encoded": lambda: span(tracers(ALWAYS_ON, Encoding())),
    "coroutine span untraced": lambda: coroutine_span(trace.NoOpTracerProvider()),
    "coroutine span recorded": lambda: coroutine_span(tracers(ALWAYS_ON)),
    "wsgi untraced": lambda: wsgi(tracers(ALWAYS_OFF)),
    "wsgi switched off": lambda: wsgi(trace.NoOpTracerProvider(), NoOpMeterProvider()),
    "wsgi traced": lambda: wsgi(tracers(ALWAYS_ON)),
    "asgi untraced": lambda: asgi(tracers(ALWAYS_OFF)),
    "asgi switched off": lambda: asgi(trace.NoOpTracerProvider(), NoOpMeterProvider()),
    "asgi traced": lambda: asgi(tracers(ALWAYS_ON)),
    "asgi traced, no span for each message": lambda: asgi(
        tracers(ALWAYS_ON), exclude_spans=["send", "receive"]
    ),
    "sql untraced": lambda: sql(ALWAYS_OFF),
    "sql traced": lambda: sql(ALWAYS_ON),
    "redis untraced": lambda: store(REDIS, stores.redis_gets, ALWAYS_OFF),
    "redis traced": lambda: store(REDIS, stores.redis_gets, ALWAYS_ON),
    "redis asyncio untraced": lambda: store(REDIS, stores.async_redis_gets, ALWAYS_OFF),
    "redis asyncio traced": lambda: store(REDIS, stores.async_redis_gets, ALWAYS_ON),
    "memcached untraced": lambda: store(MEMCACHED, stores.memcached_gets, ALWAYS_OFF),
    "memcached traced": lambda: store(MEMCACHED, stores.memcached_gets, ALWAYS_ON),
    "mongodb untraced": lambda: store(MONGODB, stores.mongodb_finds, ALWAYS_OFF),
    "mongodb traced": lambda: store(MONGODB, stores.mongodb_finds, ALWAYS_ON),
}
