"""The hubs of gevent and eventlet: one for each thread, told of by its greenlets' switches.

Both libraries run all that they run by switching greenlets, and greenlet tells each thread's
switches to one function. A hub that was there before is measured if it is this thread's; those
of other threads cannot be reached.
"""

from __future__ import annotations

import threading
from importlib import import_module
from pathlib import Path
from types import CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from nilometer.integrations.event_loops import Held, Source, source_of, source_of_code

if TYPE_CHECKING:
    from collections.abc import Callable

_RUN: Final = "nilometer_run"
_THREAD_S: Final = threading.Thread._bootstrap.__name__  # type: ignore[attr-defined]
_OURS: Final = str(Path(__file__).parent.parent)

UNKNOWN: Final = Source("greenlet")
"""One that has ended, and that the library did not spawn."""

HUB: Final = Source("hub")
"""What a hub runs itself: what is not spawned, and its own work."""


def note(greenlet: Any, run: Any) -> None:
    """Keep on a greenlet what it runs: one that has ended cannot say it any more.

    Of a function only its code is kept, as what it closes over may be large, or the greenlet.
    """
    try:
        if type(run) is MethodType:
            run = _of_thread(run.__self__) if run.__name__ == _THREAD_S else run.__func__
        is_plain = type(run) is FunctionType and not hasattr(run, "__wrapped__")
        setattr(greenlet, _RUN, run.__code__ if is_plain else source_of(run))
    except Exception:  # noqa: BLE001  the function is somebody's; its frame may say it, too
        return


def _of_thread(thread: Any) -> Any:
    """What a thread runs, where threads are greenlets."""
    return getattr(thread, "_target", None) or thread.run.__func__


def noted(greenlet: Any, library: str) -> Source:
    """What it runs: as was noted, else its outermost function that is not the library's.

    `library` is where the library's own files lie.
    """
    run: CodeType | Source | None = getattr(greenlet, _RUN, None)
    if isinstance(run, Source):
        return run
    frame = None if run is not None else greenlet.gr_frame
    while frame is not None:
        if not frame.f_code.co_filename.startswith((library, _OURS)):
            run = frame.f_code
        frame = frame.f_back
    return UNKNOWN if run is None else source_of_code(run)


class Hubs:
    """The hubs of one library; ``is_hub(greenlet)`` says whether one is this thread's."""

    def __init__(self, held: Held, is_hub: Callable[[Any], bool], library: str) -> None:
        self._held = held
        self._is_hub = is_hub
        self._files = str(Path(import_module(library).__file__ or "").parent)
        self._greenlet: Any = import_module("greenlet")
        self._watches: WeakSet[Any] = WeakSet()
        self._is_over = False

    def watch(self, leave: Callable[[], object] = lambda: None) -> Any:
        """Hear of this thread's switches from now on; the watch is to be told of its waits.

        ``leave()`` is called when that ends, in this thread.
        """
        is_inside = False

        def change(watch: Any) -> None:
            nonlocal is_inside
            if not watch.on:
                is_inside = not self._unlink(watch)
            elif not is_inside:  # of somebody else's, who went on telling us
                self._link(watch)
            watch.armed = watch.on
            if self._is_over:
                leave()

        def told(greenlet: Any, elapsed: int) -> None:
            try:
                self._tell(greenlet, elapsed, watch.waited)
            except Exception as error:  # noqa: BLE001  ours, and none of the hub's
                self._held.failed(error)

        watch = self._held.watch(told, change)
        self._watches.add(watch)
        if watch.on:
            change(watch)
        return watch

    def _link(self, watch: Any) -> None:
        """Trace, and tell whoever did; not our watch of a hub that this thread had before."""
        traces = self._greenlet.gettrace()
        watch.previous = traces.previous if traces in self._watches else traces
        self._greenlet.settrace(watch)

    def _unlink(self, watch: Any) -> bool:
        """Trace no more; False if somebody else tells us what he is told."""
        traces = self._greenlet.gettrace()
        if traces is watch:
            self._greenlet.settrace(watch.previous)
            return True
        while isinstance(traces, type(watch)):
            if traces.previous is watch:
                traces.previous = watch.previous
                return True
            traces = traces.previous
        return False

    def _tell(self, greenlet: Any, elapsed: int, waited: bool) -> None:
        if greenlet is not None and not self._is_hub(greenlet):
            key, context = getattr(greenlet, _RUN, None), greenlet.gr_context
            self._held.tell(greenlet, key, self._source, elapsed, context)
        elif waited:  # else it waits where nobody tells us
            self._held.tell(None, HUB, self._source, elapsed)

    def _source(self, greenlet: Any) -> Source:
        return HUB if greenlet is None else noted(greenlet, self._files)

    def failed(self, error: Exception) -> None:
        """Tell that a hub runs unmeasured."""
        self._held.failed(error)

    def end(self) -> None:
        """Let each thread leave its watch; it does at its next switch."""
        self._is_over = True
        self._held.end()
        for watch in list(self._watches):
            watch.armed = True  # also of what was off: to be asked once more
