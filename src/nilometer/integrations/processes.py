"""Pools of processes (`concurrent.futures`): waiting, and running in a worker.

`loop.run_in_executor` with such a pool submits to it, so it is measured with it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.handed import Hands, Inbox, Many, Worker
from nilometer.integrations.patches import Patches, expect
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.measure import Registry
    from nilometer.trace.trigger import Triggers

_patches: Final = Patches()


def install(*, registry: Registry = REGISTRY, triggers: Triggers | None = None) -> bool:
    """Measure what is submitted from now on; False if that is done already.

    `triggers` says which traces are taken up. AttributeError if this Python is another.
    """
    if _patches.active:
        return False
    from concurrent.futures import process

    expect(process.ProcessPoolExecutor.submit, "self", "fn")
    expect(vars(process)["_process_worker"], "call_queue")
    worker = Worker("processes", registry=registry, triggers=triggers)
    _patches.also_end(worker.tasks)
    with _patches:
        _patches.replace(
            process.ProcessPoolExecutor, "submit", lambda f: _submitting(f, worker)
        )
        _patches.replace(process, "_process_worker", lambda f: _working(f, worker))
    return True


def uninstall() -> None:
    """Leave nothing behind; workers that live go on measuring what they are given."""
    _patches.undo()


def _submitting(original: Callable[..., Any], worker: Worker) -> Callable[..., Any]:
    def submit(pool: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        if worker.tasks.depth.on:
            fn = Hands().marked(fn)
        return original(pool, fn, *args, **kwargs)

    return submit


def _working(original: Callable[..., Any], worker: Worker) -> Callable[..., Any]:
    from concurrent.futures.process import _process_chunk

    def measured(item: Any) -> Any:
        if item is not None:
            function = item.fn
            many = None
            if getattr(function, "func", None) is _process_chunk:
                many = Many(function.args[0], lambda one: partial(_process_chunk, one))
            item.fn = worker.running(function, many)
        return item

    def work(call_queue: Any, *args: Any, **options: Any) -> Any:
        return original(Inbox(call_queue, measured, "processes"), *args, **options)

    return work
