"""Nilometer's integrations of threads, their pools, and processes, in both twins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import threads
from bench.peers.nilometer_http import sent

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.pairs import Pair

STARTED = {
    "thread": ("threading", threads.thread_starts),
    "thread pool submit": ("threads", threads.pool_submits),
    "process": ("multiprocessing", threads.process_starts),
}


def cases(name: str) -> dict[str, Callable[[], Pair]]:
    started = STARTED[name]
    return {
        f"{name} switched off": lambda: sent(*started, level="off"),
        f"{name} untraced": lambda: sent(*started),
        f"{name} traced": lambda: sent(*started, active=True),
    }


CASES = {case: pair for name in STARTED for case, pair in cases(name).items()}
