"""Celery: tasks where they run, in workers of any pool, and without one.

How long a task waited is told by a header that `celery_sender` adds. The trace travels with
kombu's message (see `kombu`) and, signed once more by `celery_worker`, from the process that
receives messages to the child, or the thread, that runs the task.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from nilometer.clock import Clock
from nilometer.integrations import faults, task_costs
from nilometer.integrations.celery_sent import HEADER, waited_ns, without_trace
from nilometer.integrations.handed import Arrival
from nilometer.integrations.patches import Patches, expect
from nilometer.integrations.tasks import Run, Tasks
from nilometer.measure import REGISTRY
from nilometer.model import SpanKind
from nilometer.trace import CURRENT
from nilometer.trace.trigger import Triggers

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.tasks import Task
    from nilometer.measure import Registry

CELERY: Final = "celery"
NAME: Final = "task.name"

HOLDERS: Final = ("celery.app.trace", "celery.worker.consumer.consumer")
"""Modules that hold `build_tracer`, the second only if it was imported before us."""

IDS_MAX: Final = 1000
"""Tasks remembered that failed: Celery tells it, or tells it again, at once if it does."""

_patches: Final = Patches()


def install(
    *,
    registry: Registry = REGISTRY,
    triggers: Triggers | None = None,
    flush: Callable[[], object] | None = None,
) -> bool:
    """Measure what workers that begin from now on run; False if that is done already.

    `triggers` says which traces are taken up; `flush` sends the last readings of a worker's
    child, which ends without Python's `atexit`. AttributeError if this Celery is another.
    """
    if _patches.active:
        return False
    from celery.app.trace import build_tracer

    expect(build_tracer, "name", "task")
    runs = Runs(registry, triggers or Triggers())
    _patches.also_end(runs, Signals(runs, flush))
    with _patches:
        for name in HOLDERS:
            if name in sys.modules:
                _patches.replace(sys.modules[name], "build_tracer", runs.building)
    return True


def uninstall() -> None:
    """Leave nothing behind; workers that run pass their tasks on."""
    _patches.undo()


def remember(known: dict[str, bool], task_id: str, told: bool) -> None:
    """Keep it, and forget the oldest of too many."""
    known[task_id] = told
    if len(known) > IDS_MAX:
        del known[next(iter(known))]


class Runs:
    """Runs of tasks."""

    def __init__(self, registry: Registry, triggers: Triggers) -> None:
        self.tasks = Tasks(
            "celery", registry=registry, kind=SpanKind.CONSUMER, costs=task_costs.celery
        )
        self.ids: set[tuple[str, object]] = set()  # one that is tried again may still run
        self.broken: dict[str, bool] = {}  # of those that raised out of all that catches errors
        self.is_child = False  # of a worker's, which tells what its children could not
        self._triggers = triggers
        self._clock = Clock()
        self._retries = registry.counter(
            "task.retries",
            unit="{retry}",
            description="Runs of a task that asked for another one.",
        )
        self.revoked = registry.counter(
            "task.revoked",
            unit="{task}",
            description="Tasks that were revoked, or expired, before or while they ran.",
        )

    def end(self) -> None:
        """Pass everything on from now on."""
        self.tasks.end()

    def of(self, task: Any) -> Task:
        """What is known of a task of Celery's; only those that an application has made run."""
        return self.tasks.of(CELERY, task.name, called=NAME)

    def building(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """To replace `build_tracer`, which makes of each task the function that runs it."""

        def build_tracer(name: str, task: Any, *args: Any, **options: Any) -> Any:
            return self.running(original(name, task, *args, **options), self.of(task))

        return build_tracer

    def running(self, trace_task: Callable[..., Any], task: Task) -> Callable[..., Any]:
        """That function, measured. It raises nothing of the task's, but tells how it ended."""
        depth, current, clock = self.tasks.depth, CURRENT.get, self._clock.elapsed_ns
        record = task.operation.record

        def run(uuid: str, args: Any, kwargs: Any, request: Any = None) -> Any:
            if not depth.on:
                return trace_task(uuid, args, kwargs, request)
            brought = self._begins(task, request)
            if brought is not None or current() is not None:
                return self._traced(trace_task, task, brought, (uuid, args, kwargs, request))
            here = uuid, object()
            self.ids.add(here)
            if self.broken:
                self.broken.pop(uuid, None)
            started = clock()
            try:
                ended = trace_task(uuid, args, kwargs, request)
            except BaseException as error:
                record(clock() - started)
                if self._counts(uuid):
                    self.tasks.failed(task, type(error).__name__)
                raise
            finally:
                self.ids.discard(here)
            record(clock() - started)
            if ended[1] is not None:
                raised = self._ends(task, ended[1])
                if raised is not None:
                    self.tasks.failed(task, type(raised).__name__)
            return ended

        return run

    def _traced(
        self, trace_task: Callable[..., Any], task: Task, brought: Any, given: tuple[Any, ...]
    ) -> Any:
        run = Run(task.operation)
        here = given[0], object()
        self.ids.add(here)
        self.broken.pop(given[0], None)
        try:
            with Arrival(self._triggers, brought):
                run.__enter__()
                try:
                    ended = trace_task(*given)
                except BaseException as error:
                    self._breaks_off(run, error, given[0])
                    raise
                run.__exit__(None, ended[1] and self._ends(task, ended[1]), None)
        finally:
            self.ids.discard(here)
        return ended

    def runs_now(self, task_id: str) -> bool:
        """Whether it runs in this process, and so tells by itself how it ends."""
        return any(task_id == each for each, _ in list(self.ids))

    def _breaks_off(self, run: Run, error: BaseException, uuid: str) -> None:
        if self._counts(uuid):
            run.__exit__(type(error), error, None)
            return
        span, run.span = run.span, None
        run.__exit__(None, None, None)
        if span is not None:
            span.finish(error)

    def _counts(self, uuid: str) -> bool:
        """Whether we count what raised out of the task, and so Celery need not tell us of it.

        Of a worker's child the parent does, but not of a task that another one called.
        """
        if self.is_child and len(self.ids) == 1:
            return False
        remember(self.broken, uuid, True)
        return True

    def _begins(self, task: Task, request: Any) -> Any:
        """Tell how long it waited; the headers of its trace, if any, which are of it alone."""
        try:
            sent = request.pop(HEADER, None)
            if sent is not None:
                waited = waited_ns(sent, request.get("eta"), self._clock)
                if waited is not None:
                    task.waited(waited)
            return without_trace(request) if "traceparent" in request else None
        except Exception as error:  # noqa: BLE001  the task runs all the same
            REGISTRY.lost("attributes", "unreadable")
            faults.tell("celery", "the wait of a task", error)
            return None

    def _ends(self, task: Task, info: Any) -> BaseException | None:
        """What it failed by, if that is how it ended."""
        if info.state == "RETRY":
            self._retries.bind(**task.operation.dimensions).add()
        is_failed = info.state == "FAILURE" and isinstance(info.retval, BaseException)
        return info.retval if is_failed else None


class Signals:
    """Signals of Celery's that tell what no run does, heard until the end."""

    def __init__(self, runs: Runs, flush: Callable[[], object] | None) -> None:
        self._runs = runs
        self._flush = flush
        self._timed_out: dict[str, bool] = {}
        self._heard = {
            "worker_process_init": self._child_begins,
            "task_failure": self._failed,
            "task_revoked": self._revoked,
            "worker_process_shutdown": self._child_ends,
        }
        from celery import signals

        for name, receive in self._heard.items():
            getattr(signals, name).connect(receive, weak=False, dispatch_uid=__name__)

    def end(self) -> None:
        """Hear nothing any more."""
        from celery import signals

        for name in self._heard:
            getattr(signals, name).disconnect(dispatch_uid=__name__)

    def _failed(self, sender: Any, task_id: str, exception: BaseException, **_: Any) -> None:
        """In the parent of a child that was killed: of others, their run tells."""
        runs = self._runs
        is_told = self._is_told_again(sender, task_id, exception)
        is_told = is_told or task_id in runs.broken or runs.runs_now(task_id)
        if runs.tasks.depth.on and not is_told:
            runs.tasks.failed(runs.of(sender), type(exception).__name__)

    def _is_told_again(self, task: Any, task_id: str, exception: BaseException) -> bool:
        """Whether it is of a time limit that was told just now: newer ones tell it twice.

        One of both is told with the request at hand, and one without.
        """
        if type(exception).__name__ != "TimeLimitExceeded":
            return False
        has_request = getattr(task.request_stack.top, "id", None) == task_id
        if self._timed_out.pop(task_id, has_request) is not has_request:
            return True
        remember(self._timed_out, task_id, has_request)
        return False

    def _child_begins(self, **_: Any) -> None:
        from billiard import current_process

        # Who runs its tasks itself, as `solo` does, is told, too, and has no parent.
        self._runs.is_child = current_process().name != "MainProcess"

    def _revoked(self, sender: Any, terminated: bool, expired: bool, **_: Any) -> None:
        if self._runs.tasks.depth.on:
            reason = "terminated" if terminated else "expired" if expired else "revoked"
            dimensions = self._runs.of(sender).operation.dimensions
            self._runs.revoked.bind(**dimensions, reason=reason).add()

    def _child_ends(self, **_: Any) -> None:
        if self._flush is not None:
            self._flush()
