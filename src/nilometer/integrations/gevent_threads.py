"""The pools of threads of gevent's hubs: used, free, and waited for.

Other pools of threads of gevent's cannot be followed: they take no weak references.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.patches import Patches
from nilometer.integrations.work_pools import WorkPools, thread_gauges
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from nilometer.measure import Registry

_patches: Final = Patches()


def thread_counts(hub: Any) -> tuple[int | None, int | None, int | None]:
    """How many threads are at work, how many more may be, and who waits to give them work."""
    pool = hub._threadpool
    if pool is None:
        return None, None, None
    tasks, threads = len(pool), pool.maxsize
    used = min(tasks, threads)
    waiting = pool._available_worker_threads_greenlet_sem.linkcount()
    return used, threads - used, tasks - used + waiting


def install(*, registry: Registry = REGISTRY) -> bool:
    """Know the pools made from now on; False if that is done already."""
    if _patches.active:
        return False
    threads = import_module("gevent.threadpool")
    native = WorkPools("gevent_threads", thread_gauges(registry), thread_counts, registry)
    with _patches:
        _patches.also_end(native)
        making = native.making(lambda _: "gevent", lambda pool: pool.hub)
        _patches.replace(threads.ThreadPool, "__init__", making)
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()
