"""threading: what threads run, and timers call; the span of who starts a thread goes with it.

Not with a daemon thread: it serves whoever comes, and outlives the request that was first.
"""

from __future__ import annotations

from threading import Thread, Timer
from typing import TYPE_CHECKING, Any, Final

from nilometer.clock import elapsed_ns
from nilometer.integrations import task_costs
from nilometer.integrations.callers import where
from nilometer.integrations.patches import Patches
from nilometer.integrations.tasks import MACHINERY, Run, Tasks, name_of
from nilometer.measure import REGISTRY
from nilometer.trace import CURRENT
from nilometer.trace.propagation import taken_along

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.tasks import Task
    from nilometer.measure import Registry

KIND: Final = "thread"

_patches: Final = Patches()


def install(*, registry: Registry = REGISTRY) -> bool:
    """Measure every thread that is started from now on; False if that is done already."""
    if _patches.active:
        return False
    tasks = Tasks("threading", registry=registry, costs=task_costs.thread)
    _patches.also_end(tasks)
    with _patches:
        _patches.replace(Thread, "start", lambda original: _starting(original, tasks))
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()


def _starting(original: Callable[..., Any], tasks: Tasks) -> Callable[..., Any]:
    def start(thread: Any) -> Any:
        work = None
        if tasks.depth.on and getattr(thread, "_ident", None) is None:  # else it has run
            work = prepared(tasks, thread)
        try:
            return original(thread)
        except BaseException:  # it was started before, or there is no room for one more
            if work is not None:
                work.withdraw()
            raise

    return start


def prepared(tasks: Tasks, thread: Any) -> Work | None:
    """What runs in the place of the thread's function; None if it is nobody's task."""
    try:
        place, due_ns = "run", elapsed_ns()
        run = getattr(type(thread), place)
        if run is Timer.run:
            place, due_ns = "function", due_ns + int(thread.interval * 1e9)
            name = name_of(thread.function)
        else:
            name = name_of((run is Thread.run and thread._target) or run)
        if name.startswith(MACHINERY) or type(thread).__module__.startswith(MACHINERY):
            return None
        return Work(tasks, tasks.of(KIND, name), thread, place, due_ns)
    except Exception:  # noqa: BLE001  a thread that is built otherwise: it runs without us
        REGISTRY.lost("attributes", "unreadable")
        return None


class Work:
    """What a thread runs, in its own place in the thread until it begins."""

    __slots__ = (
        "_tasks",
        "_task",
        "_thread",
        "_place",
        "_before",
        "_function",
        "_due_ns",
        "_span",
        "_started_at",
    )

    def __init__(self, tasks: Tasks, task: Task, thread: Any, place: str, due_ns: int) -> None:
        self._tasks = tasks
        self._task = task
        self._thread = thread
        self._place = place
        self._before = vars(thread).get(place)
        self._function = getattr(thread, place)
        self._due_ns = due_ns
        self._span = span = None if thread.daemon else taken_along()
        self._started_at = where() if span is not None and tasks.depth.deep else None
        setattr(thread, place, self)

    def withdraw(self) -> None:
        """Leave the thread as it was."""
        thread, place = self._thread, self._place
        if vars(thread).get(place) is not self:
            return
        if self._before is None:
            delattr(thread, place)
        else:  # what a timer calls, or what somebody else has put there
            setattr(thread, place, self._before)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.withdraw()
        CURRENT.set(self._span)  # of this thread, which ends with it
        if not self._tasks.depth.on:
            return self._function(*args, **kwargs)
        self._task.waited(max(elapsed_ns() - self._due_ns, 0))  # one that is due may be early
        with Run(self._task.operation) as run:
            if run.span is not None and self._started_at is not None:
                run.span.set_attributes(self._started_at)
            return self._function(*args, **kwargs)
