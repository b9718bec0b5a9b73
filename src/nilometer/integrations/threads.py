"""Thread pools: the current span goes with the work; waiting and running are timed.

`loop.run_in_executor` submits to the same pools, so it is measured with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.clock import elapsed_ns
from nilometer.integrations import costs, faults
from nilometer.integrations.calls import Depth
from nilometer.integrations.patches import Patches
from nilometer.measure import REGISTRY
from nilometer.trace import CURRENT, carry

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.measure import Registry

UNNAMED: Final = "ThreadPoolExecutor"
"""What Python calls pools that nobody named; the number that follows is no dimension."""

PREFIXES_MAX: Final = 1000
"""Pools remembered, by what Python names their threads after; unnamed ones have numbers."""

_patches: Final = Patches()


class Times(NamedTuple):
    """The timers of what waits for pools of one name, and of what these run."""

    wait: Any
    run: Any


class Work:
    """What was submitted, on its way to a thread of its pool."""

    __slots__ = ("_function", "_times", "_submitted")

    def __init__(self, function: Callable[..., Any], times: Times) -> None:
        self._function = function if CURRENT.get() is None else carry(function)
        self._times = times
        self._submitted = elapsed_ns()

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        wait, run = self._times
        wait.record(elapsed_ns() - self._submitted)
        with run.lap():
            return self._function(*args, **kwargs)


def pool_name(prefix: object) -> str:
    """The pool's name without the number that Python gives to unnamed ones.

    >>> pool_name("ThreadPoolExecutor-3"), pool_name("mail")
    ('ThreadPoolExecutor', 'mail')
    """
    name = str(prefix)
    return UNNAMED if name.startswith(UNNAMED) else name


def install(*, registry: Registry = REGISTRY) -> bool:
    """Measure what is submitted to thread pools; False if that is done already."""
    if _patches.active:
        return False
    from concurrent.futures.thread import ThreadPoolExecutor

    waits = registry.timer("thread_pool.wait", description="From submission to a free thread.")
    runs = registry.timer("thread_pool.run", description="In a thread of the pool.")
    registry.costs_also("thread_pool.wait", costs.pool_work)
    depth = Depth("threads", registry)
    _patches.also_end(depth)
    known: dict[str, Times] = {}

    def times_of(prefix: str) -> Times:
        name = pool_name(prefix)
        times = Times(waits.bind(pool=name), runs.bind(pool=name))
        if len(known) >= PREFIXES_MAX:
            known.clear()
        known[prefix] = times
        return times

    def measured(original: Callable[..., Any]) -> Callable[..., Any]:
        def submit(pool: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
            if not depth.on:
                return original(pool, function, *args, **kwargs)
            try:
                prefix = str(getattr(pool, "_thread_name_prefix", ""))
                work: Any = Work(function, known.get(prefix) or times_of(prefix))
            except Exception as error:  # noqa: BLE001  it is run all the same
                faults.ours("threads", "a pool's work", error, registry)
                work = function
            return original(pool, work, *args, **kwargs)

        return submit

    _patches.replace(ThreadPoolExecutor, "submit", measured)
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()
