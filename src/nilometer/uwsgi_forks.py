"""A part of `assembly`: a uWSGI is told from other programs, and its forks are watched.

It forks in C and tells Python nothing. So whatever is measured in it, none of our threads may
run before, and each worker needs to be told to start its own: also where nobody asked for the
integration that measures its requests.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final, Protocol

from nilometer.export.threads import await_uwsgi, call_after_uwsgi_forks, forks_later
from nilometer.integrations.arrivals import Arrivals
from nilometer.integrations.uwsgi_process import AS_MODULE, is_here

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.export import Pump

DECORATORS: Final = "uwsgidecorators"
"""uWSGI's module that takes the hook after its forks for itself."""

PAUSE_S: Final = 1.0
"""How long a program that becomes a uWSGI may wait for our threads, which rest as a rule."""


class System(Protocol):
    """What runs in this process, as far as a fork matters to it."""

    pid: int
    pump: Pump

    def start_threads(self) -> None:
        """Start those that are needed."""

    def pause_threads(self, timeout_s: float) -> None:
        """End them for now."""


class UwsgiForks:
    """Sees to it that `resume` runs in each worker and `flush` when it ends."""

    def __init__(
        self,
        system: Callable[[], System | None],
        resume: Callable[[], None],
        flush: Callable[[], object],
    ) -> None:
        self._system = system
        self._resume = resume
        self._flush = flush
        self._arrivals = Arrivals(self._arrived)
        self._is_there = False

    def begin(self) -> None:
        """From now on, also where the program becomes a uWSGI later."""
        if is_here():
            self._await()
        else:
            self._arrivals.expect([AS_MODULE])

    def end(self) -> None:
        """Leave the import system; what uWSGI was told stays."""
        self._arrivals.end()
        self._is_there = False
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def watch(self) -> None:
        """Take uWSGI's hooks once its module is there; let threads run where they may."""
        self._hook()
        system = self._system()
        if system is None:
            return
        if forks_later():
            if system.pump.is_running:
                system.pause_threads(PAUSE_S)
        elif system.pid != os.getpid():
            self._after_fork()
        elif not system.pump.is_running:
            system.start_threads()

    def find_spec(self, _name: str, _path: object = None, _target: object = None) -> None:
        """Asked by every import: uWSGI's module is none, and the application may take a hook.

        A worker that was told nothing is told by the first thing that it imports.
        """
        if "uwsgi" not in sys.modules:
            return
        if not self._is_there:
            self._is_there = True
            self.watch()
            return
        self._hook()
        system = self._system()
        if system is not None and system.pid != os.getpid():
            self._after_fork()

    def _await(self) -> None:
        self._hook()
        self._arrivals.expect([DECORATORS])
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)  # finds nothing

    def _arrived(self, name: str) -> None:
        if name == AS_MODULE:
            self._await()
        self.watch()

    def _hook(self) -> None:
        await_uwsgi()
        call_after_uwsgi_forks(self._after_fork, self._flush)

    def _after_fork(self) -> None:
        """What our hooks of Python's fork would have done; where they ran, again is no harm."""
        for name in (
            "measure.registry",
            "trace.twin",
            "trace.trigger",
            "integrations.http_meters",
        ):
            module = sys.modules.get(f"nilometer.{name}")
            if module is not None:
                module.after_fork()
        self._resume()
