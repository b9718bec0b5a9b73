"""Pools of threads, processes and green threads: how many work, are free, and are waited for.

A pool tells that when it is asked, at each collect, and in the way of its work lies as little
as can be. Pools of one name are one series; one that is no more has no part in it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations import faults
from nilometer.integrations.calls import Depth
from nilometer.integrations.pools import Followed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nilometer.measure import Registry

_OURS: Final = str(Path(__file__).parent.parent)


def thread_gauges(registry: Registry) -> list[Any]:
    """What pools of threads are measured by."""
    return [
        registry.gauge(
            "thread_pool.used",
            unit="{thread}",
            description="Threads of pools that are at work.",
        ),
        registry.gauge(
            "thread_pool.free",
            unit="{thread}",
            description="Threads that pools could let work, those yet to be made too.",
        ),
        registry.gauge(
            "thread_pool.waiting",
            unit="{task}",
            description="What waits for a thread of a pool.",
        ),
    ]


def process_gauges(registry: Registry) -> list[Any]:
    """What pools of processes are measured by."""
    return [
        registry.gauge(
            "process_pool.used",
            unit="{process}",
            description="Processes of pools that are at work.",
        ),
        registry.gauge(
            "process_pool.free",
            unit="{process}",
            description="Processes that pools could let work, those yet to be made too.",
        ),
        registry.gauge(
            "process_pool.waiting",
            unit="{task}",
            description="What waits for a process of a pool.",
        ),
    ]


def green_gauges(registry: Registry) -> list[Any]:
    """What pools of greenlets are measured by."""
    return [
        registry.gauge(
            "green_pool.used",
            unit="{greenlet}",
            description="Greenlets that pools have spawned and that have not ended.",
        ),
        registry.gauge(
            "green_pool.free",
            unit="{greenlet}",
            description="Greenlets that pools could spawn at once.",
        ),
        registry.gauge(
            "green_pool.waiting",
            unit="{task}",
            description="Who waits to spawn a greenlet in a pool.",
        ),
    ]


class WorkPools(Followed):
    """The pools of one integration; ``counts(pool)`` says how many are used, free and waiting.

    `gauges` are for these three. `integration` is the name by which its level is set.
    """

    __slots__ = ("_integration", "_gauges", "_level")

    def __init__(
        self,
        integration: str,
        gauges: Sequence[Any],
        counts: Callable[[Any], Sequence[int | None]],
        registry: Registry,
    ) -> None:
        self._gauges = gauges
        self._integration = integration
        self._level = Depth(integration, registry)
        super().__init__(counts, registry, gauges[0], "pool", "", self._level)

    @property
    def on(self) -> bool:
        """Whether it measures."""
        return super().on and any(gauge.on for gauge in self._gauges)

    def _series_of(self, name: str) -> list[Any]:
        return [gauge.bind(pool=name) for gauge in self._gauges]

    def making(
        self, name_of: Callable[[Any], str], counted: Callable[[Any], Any] = lambda pool: pool
    ) -> Callable[..., Any]:
        """For the place of a pool's ``__init__``: pools are known from then on.

        ``counted(pool)`` is what knows the pool's members, where that is not the pool.
        """

        def made(original: Callable[..., Any]) -> Callable[..., Any]:
            def init(pool: Any, *args: Any, **named: Any) -> None:
                original(pool, *args, **named)
                try:
                    self.watch(name_of(pool), counted(pool))
                except Exception as error:  # noqa: BLE001  it works all the same
                    faults.ours(self._integration, "a pool", error, self._registry)

            return init

        return made

    def end(self) -> None:
        """Follow no pool any more."""
        self._level.end()
        super().end()


def where_made(*libraries: str) -> str:
    """``module:function`` that made what is just made; `libraries` are files not to name.

    Each is the beginning of a path.
    """
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith((_OURS, *libraries)):
        frame = frame.f_back
    function = frame.f_code.co_qualname.replace(".<locals>", "")
    return f"{frame.f_globals.get('__name__', '')}:{function}"
