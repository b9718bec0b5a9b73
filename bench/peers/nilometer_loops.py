"""Nilometer's integrations of event loops and of pools; the environment chooses the twin."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any

import nilometer
from bench import loops
from bench.pairs import Loop, Pair


def pair(integration: str, loop: Loop, **levels: str) -> Pair:
    """What is replaced serves the whole process, so each side puts it in or takes it away."""
    module: Any = import_module(f"nilometer.integrations.{integration}")
    for name, level in levels.items():
        nilometer.set_level(name.replace("__", "."), level)

    def measured(times: int) -> None:
        module.install()
        try:
            loop(times)
        finally:
            module.uninstall()

    return Pair(loop, measured)


def tasks(**levels: str) -> Pair:
    return pair("asyncio", loops.asyncio_tasks(asyncio.create_task), **levels)


def rounds(integration: str) -> Pair:
    library = import_module(integration)
    return pair(integration, loops.asyncio_rounds(library.new_event_loop()))


CASES = {
    "asyncio task switched off": lambda: tasks(integrations__asyncio="off"),
    "asyncio task untraced": tasks,
    "asyncio task by name": lambda: tasks(event_loop__callback="detail"),
    "asyncio callback untraced": lambda: pair("asyncio", loops.asyncio_callbacks()),
    "asyncio round untraced": lambda: rounds("asyncio"),
    "uvloop round untraced": lambda: rounds("uvloop"),
    "gevent switch untraced": lambda: pair("gevent_hub", loops.green_switches("gevent")),
    "gevent spawn untraced": lambda: pair("gevent_hub", loops.green_spawns("gevent")),
    "eventlet switch untraced": lambda: pair("eventlet_hub", loops.green_switches("eventlet")),
    "eventlet spawn untraced": lambda: pair("eventlet_hub", loops.green_spawns("eventlet")),
    "thread pool's work untraced": lambda: pair("thread_pools", loops.pool_works()),
}
