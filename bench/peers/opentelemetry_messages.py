"""OpenTelemetry's instrumentation of pika, and the one that oslo.messaging brings itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.instrumentation.pika import PikaInstrumentor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

from bench import buses
from bench.peers.opentelemetry_sdk import tracers

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.pairs import Loop


def messages(loop: Callable[..., Loop], sampler: Sampler) -> tuple[Loop, Loop]:
    channel = buses.pika_channel()
    PikaInstrumentor.instrument_channel(channel, tracer_provider=tracers(sampler))
    return loop(buses.pika_channel()), loop(channel)


def calls(sampler: Sampler) -> tuple[Loop, Loop]:
    trace.set_tracer_provider(tracers(sampler))
    traced = buses.oslo_conf(oslo_messaging_tracing="tracing_enabled")
    return buses.rpc_calls(buses.oslo_conf()), buses.rpc_calls(traced)


CASES = {
    "pika publish untraced": lambda: messages(buses.publishes, ALWAYS_OFF),
    "pika publish traced": lambda: messages(buses.publishes, ALWAYS_ON),
    "pika process untraced": lambda: messages(buses.processes, ALWAYS_OFF),
    "pika process traced": lambda: messages(buses.processes, ALWAYS_ON),
    "oslo.messaging call untraced": lambda: calls(ALWAYS_OFF),
    "oslo.messaging call traced": lambda: calls(ALWAYS_ON),
}
