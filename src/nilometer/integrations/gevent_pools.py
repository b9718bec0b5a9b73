"""gevent's pools of greenlets: used, free, and waited for."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from nilometer.integrations.patches import Patches
from nilometer.integrations.work_pools import WorkPools, green_gauges, where_made
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.measure import Registry

_patches: Final = Patches()


def counts(pool: Any) -> tuple[int, int | None, int | None]:
    """How many greenlets a pool has, may have more, and lets wait; it may have no limit."""
    used = len(pool)
    if pool.size is None:
        return used, None, None
    return used, max(0, pool.size - used), pool._semaphore.linkcount()


class Names:
    """What pools are called: by where they were made."""

    def __init__(self, library: str) -> None:
        self._library = library
        self._names: WeakKeyDictionary[Any, str] = WeakKeyDictionary()

    def name(self, pool: Any) -> str:
        """Name one that is just made."""
        return self._names.setdefault(pool, where_made(self._library))

    def of(self, pool: Any) -> str | None:
        """The name of one that was named."""
        return self._names.get(pool)


def adding(timeouts: Any, full: type[Exception], names: Names) -> Callable[..., Any]:
    """For the place of a pool's ``add``, which may find it full, or not free in time."""

    def measured(original: Callable[..., Any]) -> Callable[..., Any]:
        def add(pool: Any, *args: Any, **named: Any) -> Any:
            try:
                return original(pool, *args, **named)
            except full:
                name = names.of(pool)
                if name is not None:
                    timeouts.bind(pool=name).add()
                raise

        return add

    return measured


def install(*, registry: Registry = REGISTRY) -> bool:
    """Know the pools made from now on; False if that is done already."""
    if _patches.active:
        return False
    module = import_module("gevent.pool")
    timeouts = registry.counter(
        "pool.timeouts",
        unit="{timeout}",
        description="What a pool had no member free for, or not in time.",
    )
    green = WorkPools("gevent_pools", green_gauges(registry), counts, registry)
    names = Names(str(Path(module.__file__ or "").parent))
    with _patches:
        _patches.also_end(green)
        _patches.replace(module.Pool, "__init__", green.making(names.name))
        _patches.swap(module.Pool, "add", adding(timeouts, module.PoolFull, names))
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()
