"""OpenTelemetry's instrumentations of HTTP clients and of logging."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry._logs import set_logger_provider
from opentelemetry.instrumentation.logging import LoggingInstrumentor
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

from bench import http_clients, lines
from bench.peers.opentelemetry_sdk import meters, tracers

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.pairs import Loop

INSTRUMENTORS = {
    "urllib3": ("urllib3", "URLLib3Instrumentor", http_clients.urllib3_requests),
    "requests": ("requests", "RequestsInstrumentor", http_clients.requests_requests),
    "httpx": ("httpx", "HTTPXClientInstrumentor", http_clients.httpx_requests),
    "httpx asyncio": ("httpx", "HTTPXClientInstrumentor", http_clients.httpx_async_requests),
    "aiohttp": (
        "aiohttp_client",
        "AioHttpClientInstrumentor",
        http_clients.aiohttp_requests,
    ),
}


def sent(name: str, sampler: Sampler) -> tuple[Loop, Loop]:
    """A client before and after it is instrumented; a span that is sampled has a parent."""
    package, instrumentor, loop = INSTRUMENTORS[name]
    bare = loop()
    provider = tracers(sampler)
    made = getattr(import_module(f"opentelemetry.instrumentation.{package}"), instrumentor)
    made().instrument(tracer_provider=provider, meter_provider=meters(), skip_dep_check=True)
    attached(provider)
    return bare, loop()


def attached(provider: trace.TracerProvider) -> None:
    """From now on, all happens in one span."""
    root = provider.get_tracer("bench").start_span("root")
    trace.context_api.attach(trace.set_span_in_context(root))


def logged(sampler: Sampler) -> tuple[Loop, Loop]:
    """As it comes: a handler makes of each line a log record of OpenTelemetry's."""
    if sampler is ALWAYS_ON:
        attached(tracers(sampler))
    set_logger_provider(LoggerProvider(shutdown_on_exit=False))
    LoggingInstrumentor().instrument()
    (handler,) = [
        h for h in logging.getLogger().handlers if "opentelemetry" in type(h).__module__
    ]
    return lines.logged(), lines.logged(handler)


def with_ids(sampler: Sampler) -> tuple[Loop, Loop]:
    """Asked for: the trace's and the span's id on each line."""
    bare = lines.logged()
    provider = tracers(sampler)
    LoggingInstrumentor().instrument(
        tracer_provider=provider,
        inject_trace_context=True,
        enable_log_auto_instrumentation=False,
    )
    if sampler is ALWAYS_ON:
        attached(provider)
    return bare, lines.logged()


def cases(name: str) -> dict[str, Callable[[], tuple[Loop, Loop]]]:
    return {
        f"{name} untraced": lambda: sent(name, ALWAYS_OFF),
        f"{name} traced": lambda: sent(name, ALWAYS_ON),
    }


CASES = {case: pair for name in INSTRUMENTORS for case, pair in cases(name).items()}
CASES |= {
    "log line untraced": lambda: logged(ALWAYS_OFF),
    "log line traced": lambda: logged(ALWAYS_ON),
    "log line with trace id": lambda: with_ids(ALWAYS_OFF),
    "log line with trace id in a request": lambda: with_ids(ALWAYS_ON),
}
