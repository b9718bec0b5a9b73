"""Celery: tasks in its workers, of any pool, from being sent to their end.

How long a task waited is told by a header that whoever sends it adds. The trace travels with
kombu's message (see `kombu`); what is added here is the way from the process that receives the
message to the child, or the thread, that runs the task: it is signed and taken up once more.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.clock import Clock
from nilometer.integrations.celery_sent import HEADER, sent_now, waited_ns, without_ours
from nilometer.integrations.handed import Arrival
from nilometer.integrations.messages import onward
from nilometer.integrations.tasks import Run, Tasks
from nilometer.measure import REGISTRY
from nilometer.model import SpanKind
from nilometer.trace import CURRENT
from nilometer.trace.trigger import Triggers

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.calls import Operation
    from nilometer.measure import Registry

CELERY: Final = "celery"
NAME: Final = "task.name"

_running: Final[ContextVar[Running | None]] = ContextVar("nilometer.celery", default=None)

_celery: Celery | None = None


def install(
    *,
    registry: Registry = REGISTRY,
    triggers: Triggers | None = None,
    flush: Callable[[], object] | None = None,
) -> bool:
    """Measure all that is sent and run from now on; False if that is done already.

    `triggers` says which traces are taken up; `flush` sends the last readings of a worker's
    child, which ends without Python's `atexit`.
    """
    global _celery
    if _celery is not None:
        return False
    _celery = Celery(registry, triggers or Triggers(), flush)
    _celery.begin()
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    global _celery
    if _celery is not None:
        _celery.end()
        _celery = None


class Running(NamedTuple):
    """A task that runs here, and the one that called it without a worker, if any."""

    task_id: str
    run: Run
    arrival: Arrival
    before: Running | None


class Celery:
    """Celery's signals, all of which are public, and what we do when each is sent."""

    def __init__(
        self, registry: Registry, triggers: Triggers, flush: Callable[[], object] | None
    ) -> None:
        self._tasks = Tasks("celery", registry=registry, kind=SpanKind.CONSUMER)
        self._triggers = triggers
        self._flush = flush
        self._clock = Clock()
        self._retries = registry.counter(
            "task.retries",
            unit="{retry}",
            description="Runs of a task that asked for another one.",
        )
        self._revoked = registry.counter(
            "task.revoked",
            unit="{task}",
            description="Tasks that were revoked, or expired, before or while they ran.",
        )
        self._receivers: dict[str, Callable[..., None]] = {
            "before_task_publish": self._sending,
            "task_received": self._received,
            "task_prerun": self._begins,
            "task_postrun": self._ends,
            "task_failure": self._failed,
            "task_revoked": self._was_revoked,
        }

    def begin(self) -> None:
        """Hear them."""
        from celery import signals

        for name, receive in self._receivers.items():
            heard = self._heard(receive)
            getattr(signals, name).connect(heard, weak=False, dispatch_uid=__name__)
        if self._flush is not None:
            ends = signals.worker_process_shutdown
            ends.connect(self._child_ends, weak=False, dispatch_uid=__name__)

    def end(self) -> None:
        """Hear nothing any more."""
        from celery import signals

        self._tasks.end()
        for name in (*self._receivers, "worker_process_shutdown"):
            getattr(signals, name).disconnect(dispatch_uid=__name__)

    def _heard(self, receive: Callable[..., None]) -> Callable[..., None]:
        """Celery would log what a receiver raises, each time."""

        def heard(**told: Any) -> None:
            try:
                if self._tasks.depth.on:
                    receive(**told)
            except Exception as error:  # noqa: BLE001  the task is nobody's but Celery's
                REGISTRY.lost("spans", f"celery_{type(error).__name__}")

        return heard

    def _of(self, task: Any) -> Operation:
        return self._tasks.of(CELERY, task.name, called=NAME)

    def _sending(self, headers: Any, **_: Any) -> None:
        headers[HEADER] = sent_now(self._clock)

    def _received(self, request: Any, **_: Any) -> None:
        """In the process that gives it to a child or a thread, while kombu processes it."""
        if CURRENT.get() is not None:
            request.request_dict.update(onward())

    def _begins(self, task: Any, task_id: str, **_: Any) -> None:
        request, operation = task.request, self._of(task)
        headers = request.headers or {}
        brought = dict(headers) if "traceparent" in headers else None
        if not request.is_eager:
            waited = waited_ns(headers.get(HEADER), request.eta, self._clock)
            if waited is not None:
                self._tasks.waited(operation, waited)
        without_ours(headers)
        run, arrival = Run(operation), Arrival(self._triggers, brought)
        arrival.__enter__()
        run.__enter__()
        _running.set(Running(task_id, run, arrival, _running.get()))

    def _ends(self, task: Any, task_id: str, retval: Any, state: Any, **_: Any) -> None:
        running = _running.get()
        if running is None or running.task_id != task_id:
            return
        _running.set(running.before)
        error = retval if state == "FAILURE" else None
        if state is None:  # what no worker survives is on its way through
            error = sys.exc_info()[1]
        running.run.__exit__(type(error), error, None)
        running.arrival.__exit__()
        if state == "RETRY":
            self._retries.bind(**self._of(task).dimensions).add()

    def _failed(self, sender: Any, task_id: str, exception: BaseException, **_: Any) -> None:
        """In the parent of a child that was killed; in the child itself its run ends."""
        running = _running.get()
        if running is None or running.task_id != task_id:
            self._tasks.failed(self._of(sender), type(exception).__name__)

    def _was_revoked(self, sender: Any, terminated: bool, expired: bool, **_: Any) -> None:
        reason = "terminated" if terminated else "expired" if expired else "revoked"
        self._revoked.bind(**self._of(sender).dimensions, reason=reason).add()

    def _child_ends(self, **_: Any) -> None:
        if self._flush is not None:
            self._flush()
