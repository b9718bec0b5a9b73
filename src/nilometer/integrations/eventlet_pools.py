"""eventlet's pools of green threads, those of its piles too: used, free, and waited for."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.patches import Patches
from nilometer.integrations.work_pools import WorkPools, green_gauges, where_made
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from nilometer.measure import Registry

_patches: Final = Patches()


def counts(pool: Any) -> tuple[int, int, int]:
    """As the pool says; one that was made smaller may have less than none free."""
    return pool.running(), max(0, pool.free()), pool.waiting()


def install(*, registry: Registry = REGISTRY) -> bool:
    """Know the pools made from now on; False if that is done already."""
    if _patches.active:
        return False
    module = import_module("eventlet.greenpool")
    library = str(Path(module.__file__ or "").parent)
    pools = WorkPools("eventlet_pools", green_gauges(registry), counts, registry)
    with _patches:
        _patches.also_end(pools)
        _patches.replace(
            module.GreenPool, "__init__", pools.making(lambda _: where_made(library))
        )
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()
