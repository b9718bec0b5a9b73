"""Being told before and after eventlet or gevent puts green threads in the place of threads.

`nilometer run` begins before the first line of a program, so our threads are native when the
program patches itself, however early it does. One that stays native shares the locks of logging
and of the service with greenlets, and a green lock that two native threads fight over loses
greenlets: requests hang (docs/adr/0009-the-pump-follows-the-service.md).

Green threads end without a word where a worker takes a new hub after it was forked, as those of
oslo.service do: they are begun anew there.
"""

from __future__ import annotations

import _thread
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.arrivals import Arrivals

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.patches import Patches

PATCHING: Final = {
    "eventlet.patcher": ("monkey_patch",),
    "gevent.monkey": ("patch_all", "patch_thread"),
}
"""What patches threads, by module."""

HUBS: Final = "eventlet.hubs"
"""Whose `use_hub` leaves behind all that greenlets of the hub before were to do."""

ALIAS: Final = ("eventlet", "monkey_patch")
"""Where the first of them is known, too, once its package is complete."""

PAUSE_S: Final = 1.0
"""How long each may hold up a program that patches itself. Threads that rest end at once, but
one may be waiting for a receiver, or in the service's own function."""


class Greening:
    """Calls `before` and `after` whenever the program patches its threads, or their hub.

    `before` is told how many seconds it may take.
    """

    def __init__(self, before: Callable[[float], None], after: Callable[[], None]) -> None:
        self._before = before
        self._after = after
        self._depth = 0  # one of them calls the other
        self._patches: Patches | None = None
        self._arrivals = Arrivals(self._follow)

    def begin(self) -> None:
        """From now on, also where the library is imported later."""
        for module in (*PATCHING, HUBS):
            if module in sys.modules:
                self._follow(module)
            else:
                self._arrivals.expect([module])

    def end(self) -> None:
        """Leave nothing behind."""
        self._arrivals.end()
        if self._patches is not None:
            self._patches.undo()

    def _follow(self, module: str) -> None:
        from nilometer.integrations.patches import Patches  # only where there are greenlets

        patches = self._patches = self._patches or Patches()
        if module == HUBS:
            patches.replace(sys.modules[module], "use_hub", self._with_another_hub)
            return
        owner, alias = sys.modules[module], sys.modules.get(ALIAS[0])
        for name in PATCHING[module]:
            original = getattr(owner, name, None)
            if original is None:  # being imported just now, by another thread
                continue
            patches.replace(owner, name, self._announced)
            if name == ALIAS[1] and getattr(alias, name, None) is original:
                patches.replace(alias, name, self._announced)

    def _announced(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def patch(*args: Any, **kwargs: Any) -> Any:
            self._depth += 1
            if self._depth == 1:
                self._before(PAUSE_S)
            try:
                return original(*args, **kwargs)
            finally:
                self._depth -= 1
                if not self._depth:
                    self._after()

        return patch

    def _with_another_hub(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def use_hub(*args: Any, **kwargs: Any) -> Any:
            if self._depth or not _has_hub():
                return original(*args, **kwargs)
            self._before(
                0.0
            )  # not waiting: that would be a turn of the hub, maybe the parent's
            try:
                return original(*args, **kwargs)
            finally:
                self._after()

        return use_hub


def _has_hub() -> bool:
    """Whether the caller is where our green threads are: in the hub of the main thread."""
    is_patched = getattr(sys.modules.get("eventlet.patcher"), "is_monkey_patched", None)
    if is_patched is None or not is_patched("thread"):
        return False  # ours are native
    if _thread.get_native_id() != os.getpid():
        return False
    return hasattr(getattr(sys.modules[HUBS], "_threadlocal", None), "hub")
