"""Pools of processes: how many processes are at work, how many are free, and what waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.patches import Patches
from nilometer.integrations.work_pools import WorkPools, process_gauges, where_made
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from nilometer.measure import Registry

_patches: Final = Patches()


def counts(pool: Any) -> tuple[int, int, int]:
    """How many processes of a pool are at work, how many more may be, and what waits.

    One work more than there are processes is on its way to them, and waits.
    """
    pending, processes = len(pool._pending_work_items), pool._max_workers
    used = min(pending - pool._work_ids.qsize(), processes)
    free = 0 if pool._shutdown_thread else processes - used
    return used, free, pending - used


def install(*, registry: Registry = REGISTRY) -> bool:
    """Know the pools of ``concurrent.futures`` made from now on; False if already done."""
    if _patches.active:
        return False
    from concurrent.futures import process

    pools = WorkPools("process_pools", process_gauges(registry), counts, registry)
    with _patches:
        _patches.also_end(pools)
        _patches.replace(
            process.ProcessPoolExecutor, "__init__", pools.making(lambda _: where_made())
        )
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()
