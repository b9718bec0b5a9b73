"""Tasks on their way to a worker: what they take along, and what becomes of them there.

It is plain data, beside the function in a `functools.partial`: a worker process in which nobody
measures unpickles it and runs the function as ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.clock import elapsed_ns
from nilometer.integrations import faults, task_costs
from nilometer.integrations.callers import where
from nilometer.integrations.messages import onward, take_up
from nilometer.integrations.tasks import Run, Tasks, name_of
from nilometer.measure import REGISTRY
from nilometer.trace import CURRENT, carry
from nilometer.trace.propagation import taken_along
from nilometer.trace.trigger import Triggers

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.calls import Operation
    from nilometer.measure import Registry

MARK: Final = "_nilometer"

PROCESSES: Final = "process_pool"
THREADS: Final = "thread_pool"


class Hands:
    """Where tasks of a pool leave from: when that was, and the trace that they are part of.

    Where `deep` is true and they stay in this process, also the place in the caller's code.
    """

    __slots__ = ("_kind", "_given_ns", "_take", "_place")

    def __init__(self, kind: str = PROCESSES, *, deep: bool = False) -> None:
        self._kind = kind
        self._given_ns = elapsed_ns()
        self._take: Callable[[], Any] | None = None
        self._place: dict[str, str | int] = {}
        if CURRENT.get() is not None:
            self._take = carry(taken_along if kind == THREADS else onward)
            if deep and kind == THREADS:
                self._place = where()

    def marked(self, function: Any) -> Any:
        """The function with all that. Each is signed by itself, for a signature counts once."""
        if not callable(function):  # which is an error where it is called
            return function
        made = Marked(function)
        taken = None if self._take is None else self._take()
        vars(made)[MARK] = self._kind, self._given_ns, taken, self._place
        return made


class Marked(partial):  # type: ignore[type-arg]
    """A function with what goes along; it is a plain `partial` again where it is unpickled.

    multiprocessing has a way of its own for those that are one here, and drops what they hold.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        state = self.func, self.args, self.keywords, vars(self)
        return partial, (self.func,), state


class Arrival:
    """Inside of the trace that a task brought, for a ``with`` statement; outside afterwards.

    It brings headers or, within a process, a span. Who is in a trace already stays there.
    """

    __slots__ = ("_triggers", "_brought", "_before", "_taken")

    def __init__(self, triggers: Triggers, brought: Any) -> None:
        self._triggers = triggers
        self._brought = brought
        self._taken: Any = None

    def __enter__(self) -> None:
        self._before = CURRENT.get()
        if self._before is not None or self._brought is None:
            return
        if isinstance(self._brought, Mapping):
            self._taken = take_up(self._triggers, self._brought)
        else:
            CURRENT.set(self._brought)

    def __exit__(self, *_: object) -> None:
        if self._taken is not None:
            self._taken.finish()
        CURRENT.set(self._before)


class Many(NamedTuple):
    """A function that calls another one for each of many: that one, and the first with it."""

    each: Callable[..., Any]
    calling: Callable[[Callable[..., Any]], Callable[..., Any]]


class Inbox:
    """A worker's queue of tasks; what it gives has been looked at by `measured`."""

    __slots__ = ("_queue", "_measured", "_integration")

    def __init__(self, queue: Any, measured: Callable[[Any], Any], integration: str) -> None:
        self._queue = queue
        self._measured = measured
        self._integration = integration

    def get(self, *args: Any, **options: Any) -> Any:
        """As the queue's."""
        given = self._queue.get(*args, **options)
        try:
            return self._measured(given)
        except Exception as error:  # noqa: BLE001  a task built otherwise runs without us
            REGISTRY.lost("attributes", "unreadable")
            faults.tell(self._integration, "a task", error)
            return given

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)


class Worker:
    """Where marked functions arrive and run."""

    __slots__ = ("tasks", "_triggers")

    def __init__(
        self, integration: str, *, registry: Registry, triggers: Triggers | None
    ) -> None:
        self.tasks = Tasks(integration, registry=registry, costs=task_costs.handed)
        self._triggers = triggers or Triggers()

    def running(self, function: Any, many: Many | None = None) -> Any:
        """The function as it is to be run: measured if it is marked.

        Of one that calls another for many it is the other's calls that are measured.
        """
        mark = getattr(function, "__dict__", {}).get(MARK)
        if mark is None or not self.tasks.depth.on:
            return function
        kind, given_ns, brought, place = mark
        task = self.tasks.of(kind, name_of(function if many is None else many.each))

        def run(*args: Any, **kwargs: Any) -> Any:
            task.waited(elapsed_ns() - given_ns)
            with Arrival(self._triggers, brought):
                if many is not None:
                    each = _measured(task.operation, many.each, place)
                    return many.calling(each)(*args, **kwargs)
                with Placed(task.operation, place):
                    return function(*args, **kwargs)

        return run


class Placed(Run):
    """A task that runs; its span says where it was given away, if that is known."""

    __slots__ = ("_place",)

    def __init__(self, operation: Operation, place: dict[str, str | int]) -> None:
        super().__init__(operation)
        self._place = place

    def _begin_span(self) -> None:
        super()._begin_span()
        if self.span is not None and self._place:
            self.span.set_attributes(self._place)


def _measured(
    operation: Operation, function: Callable[..., Any], place: dict[str, str | int]
) -> Callable[..., Any]:
    """Calls of it here and now: timed in C, or with a span each where that is traced."""

    def plain(*args: Any) -> Any:
        return function(*args)

    def traced(*args: Any) -> Any:
        with Placed(operation, place):
            return function(*args)

    if CURRENT.get() is not None:
        return traced
    return operation.calls.timed(operation.dimensions)(plain)
