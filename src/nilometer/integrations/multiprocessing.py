"""multiprocessing: processes that run a function, by fork, spawn or forkserver.

A child measures itself and reports by itself. What was started in a traced request goes on in
it, but not in a daemon: that serves whoever comes, as a daemon thread does (see `threading`).
"""

from __future__ import annotations

from signal import Signals
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from nilometer.clock import elapsed_ns
from nilometer.integrations import faults
from nilometer.integrations.handed import MARK, Arrival
from nilometer.integrations.messages import onward
from nilometer.integrations.patches import Patches
from nilometer.integrations.tasks import MACHINERY, Run, Tasks, name_of
from nilometer.measure import REGISTRY
from nilometer.trace import CURRENT
from nilometer.trace.trigger import Triggers

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.measure import Registry

PROCESS: Final = "process"

_patches: Final = Patches()


def install(*, registry: Registry = REGISTRY, triggers: Triggers | None = None) -> bool:
    """Measure every process that is started from now on; False if that is done already.

    `triggers` says which traces are taken up. AttributeError if this Python is another.
    """
    if _patches.active:
        return False
    from multiprocessing.process import BaseProcess

    processes = Processes(registry, triggers or Triggers())
    _patches.also_end(processes.tasks)
    with _patches:
        _patches.replace(BaseProcess, "start", processes.starting)
        _patches.replace(BaseProcess, "join", processes.joining)
        _patches.replace(BaseProcess, "_bootstrap", processes.beginning)
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()


class Processes:
    """Both ends: who starts a process, and the process itself."""

    def __init__(self, registry: Registry, triggers: Triggers) -> None:
        self.tasks = Tasks("multiprocessing", registry=registry)
        self._triggers = triggers
        self._started: WeakKeyDictionary[Any, str] = WeakKeyDictionary()

    def starting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """To replace `start`: the time, and the trace, go with the process."""

        def start(process: Any) -> Any:
            if not self.tasks.depth.on:
                return original(process)
            name = task_of(process)
            vars(process)[MARK] = elapsed_ns(), None if process.daemon else onward()
            try:
                started = original(process)
            finally:
                vars(process).pop(MARK, None)
            if name:
                self._started[process] = name
            return started

        return start

    def joining(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """To replace `join`: what was killed could not tell that it failed."""

        def join(process: Any, *args: Any, **options: Any) -> Any:
            joined = original(process, *args, **options)
            code = process.exitcode
            if code is not None:
                name = self._started.pop(process, None)
                if name is not None and code < 0 and self.tasks.depth.on:
                    self.tasks.failed(self.tasks.of(PROCESS, name), signal_of(-code))
            return joined

        return join

    def beginning(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """To replace `_bootstrap`, with which a process begins, however it was made."""

        def _bootstrap(process: Any, *args: Any, **options: Any) -> Any:
            given_ns, sent = vars(process).pop(MARK, (None, None))
            name = task_of(process)
            if process.daemon or not name:
                CURRENT.set(None)
            if name and self.tasks.depth.on:
                vars(process)["run"] = self._running(process.run, name, given_ns, sent)
            return original(process, *args, **options)

        return _bootstrap

    def _running(
        self, run: Callable[[], Any], name: str, given_ns: int | None, sent: Any
    ) -> Callable[[], Any]:
        def measured() -> Any:
            task = self.tasks.of(PROCESS, name)
            if given_ns is not None:
                task.waited(elapsed_ns() - given_ns)
            with Arrival(self._triggers, sent), Run(task.operation):
                return run()

        return measured


def task_of(process: Any) -> str:
    """The name of what a process runs; empty if it is nobody's task, or cannot be told."""
    from multiprocessing.process import BaseProcess

    try:
        run = type(process).run
        name = name_of((run is BaseProcess.run and process._target) or run)
    except Exception as error:  # noqa: BLE001  one that is built otherwise: it runs without us
        REGISTRY.lost("attributes", "unreadable")
        faults.tell("multiprocessing", "a process", error)
        return ""
    return "" if name.startswith(MACHINERY) else name


def signal_of(number: int) -> str:
    """The name of a signal; of a real-time one its number."""
    try:
        return Signals(number).name
    except ValueError:
        return f"SIG{number}"
