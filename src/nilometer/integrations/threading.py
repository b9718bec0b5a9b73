"""threading: what threads run, and timers call; the span of who starts a thread goes with it.

Not with a daemon thread: it serves whoever comes, and outlives the request that was first.
"""

from __future__ import annotations

from functools import partial
from threading import Thread, Timer
from typing import TYPE_CHECKING, Any, Final

from nilometer.clock import elapsed_ns
from nilometer.integrations import faults, task_costs
from nilometer.integrations.callers import where
from nilometer.integrations.patches import Patches
from nilometer.integrations.tasks import MACHINERY, Run, Tasks
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
        kind, due_ns, run = Work, elapsed_ns(), type(thread).run
        if run is Timer.run:
            kind, due_ns = Due, due_ns + int(thread.interval * 1e9)
            function = thread.function
        else:
            function = (run is Thread.run and thread._target) or run
        task = tasks.calling(KIND, function)
        if task is None or type(thread).__module__.startswith(MACHINERY):
            return None
        return kind(tasks, task, thread, due_ns)
    except Exception as error:  # noqa: BLE001  a thread built otherwise runs without us
        REGISTRY.lost("attributes", "unreadable")
        faults.tell("threading", "a thread", error)
        return None


class Work:
    """What a thread runs, in its own place in the thread until it begins."""

    __slots__ = (
        "_tasks",
        "_task",
        "_thread",
        "_before",
        "_run",
        "_due_ns",
        "_span",
        "_started_at",
    )

    def __init__(self, tasks: Tasks, task: Task, thread: Any, due_ns: int) -> None:
        self._tasks = tasks
        self._task = task
        self._thread = thread
        self._before = vars(thread).get("run")
        self._run = thread.run
        self._due_ns = due_ns
        self._span = span = None if thread.daemon else taken_along()
        self._started_at = where() if span is not None and tasks.depth.deep else None
        thread.run = self

    def withdraw(self) -> None:
        """Leave the thread as it was."""
        thread = self._thread
        if vars(thread).get("run") is not self:
            return
        if self._before is None:
            del thread.run
        else:  # what somebody else has put there
            thread.run = self._before

    def __call__(self) -> Any:
        self._begin()
        return self._measured(self._run)

    def _begin(self) -> None:
        self.withdraw()
        CURRENT.set(self._span)  # of this thread, which ends with it

    def _measured(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        if not self._tasks.depth.on:
            return function(*args, **kwargs)
        self._task.waited(max(elapsed_ns() - self._due_ns, 0))  # one that is due may be early
        with Run(self._task.operation) as run:
            if run.span is not None and self._started_at is not None:
                run.span.set_attributes(self._started_at)
            return function(*args, **kwargs)


class Due(Work):
    """The same of a timer, whose wait is not measured with what it calls.

    It stands for the timer where that waits and calls: in the timer itself nothing is changed
    by then, and whoever asks it for its function gets the one that it was given.
    """

    __slots__ = ()

    def __call__(self) -> Any:
        self._begin()
        if self._before is not None:  # where somebody else's waits in it cannot be told
            return self._run()
        return Timer.run(self)  # type: ignore[arg-type]

    @property
    def function(self) -> Callable[..., Any]:
        """What `Timer.run` calls when it is due."""
        return partial(self._measured, self._thread.function)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._thread, name)
