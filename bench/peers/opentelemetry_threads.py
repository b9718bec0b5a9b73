"""OpenTelemetry's instrumentation of threads: the context goes along, nothing is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.instrumentation.threading import ThreadingInstrumentor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

from bench import threads
from bench.peers.opentelemetry_http import attached
from bench.peers.opentelemetry_sdk import tracers

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.pairs import Loop


def started(loop: Callable[[], Loop], sampler: Sampler) -> tuple[Loop, Loop]:
    provider = tracers(sampler)
    bare = loop()
    ThreadingInstrumentor().instrument()
    attached(provider)
    return bare, loop()


CASES = {
    "thread untraced": lambda: started(threads.thread_starts, ALWAYS_OFF),
    "thread traced": lambda: started(threads.thread_starts, ALWAYS_ON),
    "thread pool submit untraced": lambda: started(threads.pool_submits, ALWAYS_OFF),
    "thread pool submit traced": lambda: started(threads.pool_submits, ALWAYS_ON),
}
