"""asyncio's loops: how long they wait, and which callbacks and coroutines hold them.

Every callback, and every step of a task, is run by one method of its handle; that is measured.
A loop waits in its selector, whose ``select`` is timed while the loop runs. uvloop has neither:
see `uvloop`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.event_loops import SLOW_CALLBACK_S, Held, Source, key_of, source_of
from nilometer.integrations.patches import Patches
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.measure import Registry

_patches: Final = Patches()

CANCELLED: Final = Source("cancelled")
"""A callback that cancelled itself while it ran: its handle has forgotten what it was."""


def called(callback: Any) -> Any:
    """What a callback calls: of a step of a task, its coroutine."""
    get_coro = getattr(getattr(callback, "__self__", None), "get_coro", None)
    return (get_coro and get_coro()) or callback


def source_of_callback(callback: Any) -> Source:
    """The function of what a callback calls."""
    return CANCELLED if callback is None else source_of(callback)


class Loops:
    """The loops that run, with what was put into their selectors."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self._running: dict[Any, Patches] = {}
        held.also_follow(self.follow)

    def begin(self, loop: Any) -> None:
        """Time how long this loop waits, unless it has no selector."""
        for other in list(self._running):
            if other.is_closed():  # it ran when we came, so nobody told us of its end
                self.end_of(other)
        if hasattr(loop, "_selector") and loop not in self._running:
            self._running[loop] = Patches()
            self.follow()

    def follow(self) -> None:
        """Take over what the levels say now."""
        for loop, patches in list(self._running.items()):
            if not self._held.on:
                patches.undo()
            elif not patches.active:
                patches.swap(loop._selector, "select", self._held.idle)

    def end_of(self, loop: Any) -> None:
        """Leave its selector as it was."""
        patches = self._running.pop(loop, None)
        if patches is not None:
            patches.undo()

    def running(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """For the place of a loop's ``run_forever``."""

        def run_forever(loop: Any, *args: Any, **named: Any) -> Any:
            try:
                self.begin(loop)
            except Exception as error:  # noqa: BLE001  it runs all the same
                self._held.failed(error)
            try:
                return original(loop, *args, **named)
            finally:
                self.end_of(loop)

        return run_forever

    def told(self, handle: Any, elapsed: int) -> None:
        """What held a loop."""
        try:
            what = called(handle._callback)
            context = handle._context
            self._held.tell(what, key_of(what), source_of_callback, elapsed, context)
        except Exception as error:  # noqa: BLE001  ours, and none of the loop's
            self._held.failed(error)

    def end(self) -> None:
        """Leave all selectors as they were."""
        self._held.end()
        self._running.clear()


def install(*, slow_callback_s: float = SLOW_CALLBACK_S, registry: Registry = REGISTRY) -> bool:
    """Measure asyncio's loops, the one that runs in this thread too; False if already done."""
    if _patches.active:
        return False
    from asyncio import events
    from asyncio.base_events import BaseEventLoop

    loops = Loops(held := Held("asyncio", "asyncio", slow_callback_s, registry))
    with _patches:
        _patches.also_end(loops)
        run = held.run(events.Handle._run, loops.told)
        held.while_on(lambda patches: patches.swap(events.Handle, "_run", lambda _: run))
        _patches.replace(BaseEventLoop, "run_forever", loops.running)
        running = events._get_running_loop()
        if running is not None:
            loops.begin(running)
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()
