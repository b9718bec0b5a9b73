"""multiprocessing.Pool, and its ThreadPool: functions applied, mapped and iterated over.

Of `map` and the like it is the function that runs, once for each item; what waits is what was
sent, which is as many of them as the pool sends at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.handed import PROCESSES, THREADS, Hands, Inbox, Many, Worker
from nilometer.integrations.patches import Patches, expect
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nilometer.measure import Registry
    from nilometer.trace.trigger import Triggers

GIVING: Final = ("self", "result_job", "func", "iterable")
"""What the generator of what `map` sends is given."""

_patches: Final = Patches()


def install(*, registry: Registry = REGISTRY, triggers: Triggers | None = None) -> bool:
    """Measure what is given to pools from now on; False if that is done already.

    `triggers` says which traces are taken up. AttributeError if this Python is another.
    """
    if _patches.active:
        return False
    from multiprocessing import pool

    expect(pool.Pool.apply_async, "self", "func")
    expect(vars(pool.Pool)["_guarded_task_generation"], *GIVING)
    expect(vars(pool)["worker"], "inqueue")
    worker = Worker("multiprocessing_pool", registry=registry, triggers=triggers)
    _patches.also_end(worker.tasks)
    with _patches:
        _patches.replace(pool.Pool, "apply_async", lambda f: _applying(f, worker))
        _patches.replace(pool.Pool, "_guarded_task_generation", lambda f: _giving(f, worker))
        _patches.replace(pool, "worker", lambda f: _working(f, worker))
    return True


def uninstall() -> None:
    """Leave nothing behind; workers that live go on measuring what they are given."""
    _patches.undo()


def _hands(pool: Any, worker: Worker) -> Hands:
    from multiprocessing.pool import ThreadPool

    kind = THREADS if isinstance(pool, ThreadPool) else PROCESSES
    return Hands(kind, deep=worker.tasks.depth.deep)


def _applying(original: Callable[..., Any], worker: Worker) -> Callable[..., Any]:
    def apply_async(pool: Any, func: Any, *args: Any, **options: Any) -> Any:
        if worker.tasks.depth.on:
            func = _hands(pool, worker).marked(func)
        return original(pool, func, *args, **options)

    return apply_async


def _giving(original: Callable[..., Any], worker: Worker) -> Callable[..., Any]:
    """Around the generator of what `map` and `imap` send, which a thread of the pool asks."""

    def generate(pool: Any, result_job: Any, func: Any, iterable: Any) -> Iterator[Any]:
        made: Iterator[Any] = original(pool, result_job, func, iterable)
        return _marked(made, func, _hands(pool, worker)) if worker.tasks.depth.on else made

    return generate


def _marked(made: Iterator[Any], func: Any, hands: Hands) -> Iterator[Any]:
    for job, number, function, args, named in made:
        if function is func:  # else it raises what the iterable raised
            function = hands.marked(function)  # noqa: PLW2901
        yield job, number, function, args, named


def _working(original: Callable[..., Any], worker: Worker) -> Callable[..., Any]:
    from multiprocessing import pool

    stars = vars(pool)["mapstar"], vars(pool)["starmapstar"]

    def measured(task: Any) -> Any:
        if task is None:
            return None
        job, number, function, args, named = task
        many = None
        if getattr(function, "func", None) in stars:
            ((each, items),) = args
            many = Many(each, lambda one: lambda _: function.func((one, items)))
        return job, number, worker.running(function, many), args, named

    def work(inqueue: Any, *args: Any, **options: Any) -> Any:
        return original(Inbox(inqueue, measured, "multiprocessing_pool"), *args, **options)

    return work
