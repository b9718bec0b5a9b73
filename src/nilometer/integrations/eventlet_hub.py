"""eventlet's hubs: how long they wait, and which greenlets hold them.

Its hub upon asyncio waits by asyncio's loop: that is measured there.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from nilometer.integrations import costs
from nilometer.integrations.event_loops import SLOW_CALLBACK_S, Held
from nilometer.integrations.hubs import Hubs, note
from nilometer.integrations.patches import Patches
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.measure import Registry

_patches: Final = Patches()


class Waits:
    """The hubs whose waiting is told to the watch of their thread."""

    def __init__(self, hubs: Hubs) -> None:
        self._watched = hubs
        self._hubs: WeakSet[Any] = WeakSet()
        self._ours: WeakSet[Any] = WeakSet()

    def begin(self, hub: Any) -> None:
        """Watch the hub of this thread."""
        watch = self._watched.watch()
        begins, ends, original = watch.wait_begins, watch.wait_ends, hub.wait

        def wait(seconds: Any = None) -> Any:
            begins()
            try:
                return original(seconds)
            finally:
                ends()

        hub.wait = wait
        self._hubs.add(hub)
        self._ours.add(wait)

    def end(self) -> None:
        """Leave them as they were, those of other threads too."""
        for hub in list(self._hubs):
            if vars(hub).get("wait") in self._ours:
                del hub.wait
        self._watched.end()


def behind(function: Any, args: Any) -> Any:
    """What is called by a function of eventlet's own that is spawned with it."""
    try:
        is_own = function.__name__ in ("_spawn_n_impl", "__thread_body")
        return args[0] if is_own and args else function
    except Exception:  # noqa: BLE001  somebody's object, which has no name, or does not say it
        return function


def main_noting(original: Callable[..., Any]) -> Callable[..., Any]:
    """For the place of a green thread's ``main``."""

    def main(greenlet: Any, function: Any, args: Any, kwargs: Any) -> Any:
        note(greenlet, behind(function, args))
        return original(greenlet, function, args, kwargs)

    return main


def spawn_noting(original: Callable[..., Any]) -> Callable[..., Any]:
    """For the place of ``_spawn_n``."""

    def spawn(seconds: Any, func: Any, args: Any, kwargs: Any) -> Any:
        made = original(seconds, func, args, kwargs)
        note(made[1], behind(func, args))
        return made

    return spawn


def install(*, slow_callback_s: float = SLOW_CALLBACK_S, registry: Registry = REGISTRY) -> bool:
    """Measure eventlet's hubs, that of this thread too; False if that is done already."""
    if _patches.active:
        return False
    kind = import_module("eventlet.hubs.hub").BaseHub
    local = import_module("eventlet.hubs")._threadlocal
    greenthread = import_module("eventlet.greenthread")
    held = Held("eventlet", "eventlet_hub", slow_callback_s, registry, costs.hub_switch)

    def is_hub(greenlet: Any) -> bool:
        return greenlet is getattr(getattr(local, "hub", None), "greenlet", None)

    hubs = Hubs(held, is_hub, "eventlet")
    waits = Waits(hubs)

    def making(original: Callable[..., Any]) -> Callable[..., Any]:
        def init(hub: Any, *args: Any, **named: Any) -> None:
            original(hub, *args, **named)
            try:
                waits.begin(hub)
            except Exception as error:  # noqa: BLE001  it runs all the same
                hubs.failed(error)

        return init

    with _patches:
        _patches.also_end(waits)
        _patches.replace(kind, "__init__", making)
        _patches.swap(greenthread.GreenThread, "main", main_noting)
        _patches.swap(greenthread, "_spawn_n", spawn_noting)
        if (hub := getattr(local, "hub", None)) is not None:
            waits.begin(hub)
    return True


def uninstall() -> None:
    """Leave nothing behind; each thread's hub is left at its next switch."""
    _patches.undo()
