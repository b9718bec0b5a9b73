"""eventlet's hubs: how long they wait, and which greenlets hold them.

Its hub upon asyncio waits by asyncio's loop: that is measured there.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations import costs
from nilometer.integrations.event_loops import SLOW_CALLBACK_S, Held
from nilometer.integrations.hubs import Hubs, note
from nilometer.integrations.patches import Patches
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.measure import Registry

_patches: Final = Patches()


def begin(hubs: Hubs, hub: Any) -> None:
    """Watch the hub of this thread."""
    patches = Patches()
    watch = hubs.watch(patches.undo)

    def waiting(original: Callable[..., Any]) -> Callable[..., Any]:
        begins, ends = watch.wait_begins, watch.wait_ends

        def wait(seconds: Any = None) -> Any:
            begins()
            try:
                return original(seconds)
            finally:
                ends()

        return wait

    patches.swap(hub, "wait", waiting)


def behind(function: Any, args: Any) -> Any:
    """What is called by a function of eventlet's own that is spawned with it."""
    is_own = getattr(function, "__name__", "") in ("_spawn_n_impl", "__thread_body")
    return args[0] if is_own and args else function


def main_noting(original: Callable[..., Any]) -> Callable[..., Any]:
    """For the place of a green thread's ``main``."""

    def main(greenlet: Any, function: Any, args: Any, named: Any) -> Any:
        note(greenlet, behind(function, args))
        return original(greenlet, function, args, named)

    return main


def spawn_noting(original: Callable[..., Any]) -> Callable[..., Any]:
    """For the place of ``_spawn_n``."""

    def spawn(seconds: Any, function: Any, args: Any, named: Any) -> Any:
        made = original(seconds, function, args, named)
        note(made[1], behind(function, args))
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

    def making(original: Callable[..., Any]) -> Callable[..., Any]:
        def init(hub: Any, *args: Any, **named: Any) -> None:
            original(hub, *args, **named)
            try:
                begin(hubs, hub)
            except Exception as error:  # noqa: BLE001  it runs all the same
                hubs.failed(error)

        return init

    with _patches:
        _patches.also_end(hubs)
        _patches.replace(kind, "__init__", making)
        _patches.swap(greenthread.GreenThread, "main", main_noting)
        _patches.swap(greenthread, "_spawn_n", spawn_noting)
        if (hub := getattr(local, "hub", None)) is not None:
            begin(hubs, hub)
    return True


def uninstall() -> None:
    """Leave nothing behind; each thread's hub is left at its next switch."""
    _patches.undo()
