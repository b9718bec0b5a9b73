"""OpenTelemetry's instrumentation of Celery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

from bench import tasks
from bench.peers.opentelemetry_sdk import tracers

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.pairs import Loop


def measured(loop: Callable[[], Loop], sampler: Sampler) -> tuple[Loop, Loop]:
    with tasks.nobody_hears():
        bare = loop()
    CeleryInstrumentor().instrument(tracer_provider=tracers(sampler))
    return bare, loop()


CASES = {
    "celery send untraced": lambda: measured(tasks.sends, ALWAYS_OFF),
    "celery send traced": lambda: measured(tasks.sends, ALWAYS_ON),
    "celery run untraced": lambda: measured(tasks.runs, ALWAYS_OFF),
    "celery run traced": lambda: measured(tasks.runs, ALWAYS_ON),
}
