"""Pools of threads: how many threads are at work, how many are free, and what waits for one.

Those that asyncio makes for itself are among them.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.patches import Patches
from nilometer.integrations.threads import pool_name
from nilometer.integrations.work_pools import WorkPools, thread_gauges
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nilometer.measure import Registry

_patches: Final = Patches()

_at_work: Final[set[int]] = set()
"""The threads, by their idents, that run what was submitted to a pool."""


def counts(pool: Any) -> tuple[int, int, int]:
    """How many threads of a pool are at work, how many more may be, and what waits."""
    queued = pool._work_queue.qsize()
    # A forked child has its parent's threads in its books, and none of them lives.
    living = [one for one in list(pool._threads) if one.is_alive()]
    used = sum(one.ident in _at_work for one in living)
    if pool._shutdown:  # there is a mark in the queue that tells the threads to end
        return used, 0, max(0, queued - 1) if living else 0
    return used, pool._max_workers - used, queued


def name_of(pool: Any) -> str:
    """The pool's own name, where its threads are named by it."""
    return pool_name(pool._thread_name_prefix)


def working(pools: WorkPools, original: Callable[..., Any]) -> Callable[..., Any]:
    """For the place of what a thread of a pool calls for each work."""

    def run(*args: Any) -> Any:
        if not pools.on:
            return original(*args)
        ident = threading.get_ident()  # looked up each time: green libraries replace it
        _at_work.add(ident)
        try:
            return original(*args)
        finally:
            _at_work.discard(ident)

    return run


def existing(thread: Any) -> Iterator[Any]:
    """Pools that were made before, as far as they have threads: those refer to them."""
    for one in list(thread._threads_queues):
        arguments = getattr(one, "_args", ())
        pool = arguments[0]() if arguments else None
        if pool is not None:
            yield pool


def install(*, registry: Registry = REGISTRY) -> bool:
    """Know the pools of ``concurrent.futures``; False if that is done already."""
    if _patches.active:
        return False
    from concurrent.futures import thread

    pools = WorkPools("thread_pools", thread_gauges(registry), counts, registry)
    with _patches:
        _patches.also_end(pools)
        _patches.replace(thread.ThreadPoolExecutor, "__init__", pools.making(name_of))
        _patches.swap(thread._WorkItem, "run", partial(working, pools))
        for pool in existing(thread):
            pools.watch(name_of(pool), pool)
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()
