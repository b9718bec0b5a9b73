"""Tasks: functions that are given to a thread, a process or a worker; they wait, and they run.

Who gives a task away and who runs it may be two processes of one machine: `clock.elapsed_ns` is
Linux's CLOCK_MONOTONIC, which counts from the machine's start and is the same in all of them.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.integrations.calls import OPERATIONS_MAX, Call, Calls
from nilometer.model import SpanKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.calls import Operation
    from nilometer.measure import Registry

KIND: Final = "task.kind"
FUNCTION: Final = "code.function.name"

MACHINERY: Final = (
    *("concurrent.futures.", "multiprocessing.", "nilometer."),
    "asyncio.base_events.BaseEventLoop._do_shutdown",
)
"""Whose functions are nobody's tasks: they run those of others for as long as a pool lives."""


class Task(NamedTuple):
    """What is known of tasks of one kind and name; `waited` records in ns that one begins."""

    operation: Operation
    waited: Callable[[int], None]


class Tasks:
    """The tasks of one integration."""

    __slots__ = ("depth", "_calls", "_waits", "_known", "_calling")

    def __init__(
        self,
        integration: str,
        *,
        registry: Registry,
        kind: SpanKind = SpanKind.INTERNAL,
        costs: Callable[[], float] | None = None,
    ) -> None:
        self._calls = Calls(
            integration,
            "task.run",
            kind=kind,
            description="What a task takes from its begin to its end.",
            registry=registry,
            costs=costs,
        )
        self._waits = registry.timer(
            "task.wait",
            description="From giving a task away, or from when it is due, to its begin.",
        )
        self.depth = self._calls.depth
        self._known: dict[tuple[str, str], Task] = {}
        self._calling: dict[tuple[str, str, str], Task | None] = {}

    def end(self) -> None:
        """Pass everything on from now on, also tasks that are on their way."""
        self.depth.end()

    def of(self, kind: str, name: str, *, called: str = FUNCTION) -> Task:
        """Tasks of this kind and name; `called` is the dimension that says the name."""
        key = kind, name
        known = self._known.get(key)
        if known is not None:
            return known
        dimensions = {KIND: kind, called: name}
        operation = self._calls.operation(key, f"run {name}", dimensions)
        made = Task(operation, self._waits.bind(**dimensions).record)
        if len(self._known) < OPERATIONS_MAX:
            self._known[key] = made
        return made

    def calling(self, kind: str, function: Callable[..., Any]) -> Task | None:
        """Tasks of this kind that call the function; None where it is `MACHINERY`."""
        named = _named(function)
        key = kind, named.__module__, named.__qualname__
        try:
            return self._calling[key]
        except KeyError:
            name = name_of(named)
        task = None if name.startswith(MACHINERY) else self.of(kind, name)
        if len(self._calling) < OPERATIONS_MAX:
            self._calling[key] = task
        return task

    def failed(self, task: Task, how: str) -> None:
        """One of them failed, and could not tell itself."""
        self._calls.failed(task.operation.dimensions, how)


class Run(Call):
    """One task that runs, for a ``with`` statement; to exit without a fault is no error."""

    __slots__ = ()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, SystemExit) and not error.code:
            error = None
        super().__exit__(kind, error, traceback)


def name_of(function: Callable[..., Any]) -> str:
    """Module and name of a function, of what a partial one calls, or of an object's class.

    What is multiprocessing's ``__mp_main__`` in a child is ``__main__``, as in its parent.

    >>> name_of(print), name_of(partial(print, 1)), name_of(partial("a b".split))
    ('builtins.print', 'builtins.print', 'str.split')
    """
    named = _named(function)
    module = "__main__" if named.__module__ == "__mp_main__" else named.__module__
    name = f"{module}.{named.__qualname__}" if module else f"{named.__qualname__}"
    return name.replace(".<locals>", "")


def _named(function: Callable[..., Any]) -> Any:
    while isinstance(function, partial):
        function = function.func
    function = getattr(function, "__func__", function)
    return function if hasattr(function, "__qualname__") else type(function)
