"""What is measured of event loops and pools of threads, the same for every peer."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.pairs import Loop


async def nothing() -> None:
    """What a task does."""


def work() -> None:
    """What a callback, a greenlet and a thread do."""


def asyncio_tasks(create_task: Callable[..., Any]) -> Loop:
    """A loop of tasks that are made and waited for."""
    event_loop = asyncio.new_event_loop()

    async def many(times: int) -> None:
        for _ in range(times):
            await create_task(nothing())

    return lambda times: event_loop.run_until_complete(many(times))


def asyncio_callbacks() -> Loop:
    """A loop of callbacks that are called in one round each, as many as come."""
    event_loop = asyncio.new_event_loop()

    def many(times: int) -> None:
        for _ in range(times):
            event_loop.call_soon(work)
        event_loop.call_soon(event_loop.stop)
        event_loop.run_forever()

    return many


def asyncio_rounds(event_loop: Any) -> Loop:
    """A loop of an event loop's rounds: each looks for what happened, and runs one callback."""

    async def many(times: int) -> None:
        for _ in range(times):
            await asyncio.sleep(0)

    return lambda times: event_loop.run_until_complete(many(times))


def green_switches(library: str) -> Loop:
    """A loop of switches to the hub and back."""
    sleep = import_module(library).sleep

    def many(times: int) -> None:
        for _ in range(times):
            sleep(0)

    return many


def green_spawns(library: str) -> Loop:
    """A loop of greenlets that are spawned and waited for."""
    spawn = import_module(library).spawn
    wait = "join" if library == "gevent" else "wait"

    def many(times: int) -> None:
        for _ in range(times):
            getattr(spawn(work), wait)()

    return many


def pool_works() -> Loop:
    """A loop of works as a thread of a pool runs them."""
    from concurrent.futures import Future
    from concurrent.futures.thread import _WorkItem

    def many(times: int) -> None:
        for _ in range(times):
            _WorkItem(Future(), work, (), {}).run()

    return many
