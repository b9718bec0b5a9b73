"""OpenTelemetry's instrumentation of asyncio: how long tasks take, by their names."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from opentelemetry.instrumentation.asyncio import AsyncioInstrumentor

from bench import loops
from bench.peers.opentelemetry_sdk import meters

if TYPE_CHECKING:
    from bench.pairs import Loop


def tasks() -> tuple[Loop, Loop]:
    bare = loops.asyncio_tasks(asyncio.create_task)
    AsyncioInstrumentor().instrument(meter_provider=meters())
    return bare, loops.asyncio_tasks(asyncio.create_task)


CASES = {
    "asyncio task untraced": tasks,
    "asyncio task by name": tasks,
}
