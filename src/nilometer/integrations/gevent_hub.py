"""gevent's hubs: how long they wait, and which greenlets hold them.

A hub's loop has watchers for just before and just after it waits; one of ours is the last of
the former and the first of the latter. gevent's libuv has none of the former: there nobody
knows when it waits, and what the hub runs itself is not told from that.
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


class Spawned:
    """What is called with each greenlet that gevent starts."""

    def __init__(self, greenlet_class: Any) -> None:
        self._class = greenlet_class
        greenlet_class.add_spawn_callback(self.note)

    def note(self, greenlet: Any) -> None:
        """Keep what it runs."""
        note(greenlet, greenlet._run)

    def end(self) -> None:
        """Be called no more."""
        self._class.remove_spawn_callback(self.note)


def begin(hubs: Hubs, hub: Any) -> None:
    """Watch the hub of this thread."""
    watchers: list[Any] = []

    def leave() -> None:
        for watcher in watchers:
            watcher.stop()
            watcher.close()
        watchers.clear()

    watch = hubs.watch(leave)
    loop = hub.loop
    try:
        before = loop.prepare(ref=False, priority=loop.MINPRI)
    except TypeError:  # says libuv
        return
    after = loop.check(ref=False, priority=loop.MAXPRI)
    watchers += before, after
    before.start(watch.wait_begins)
    after.start(watch.wait_ends)


def install(*, slow_callback_s: float = SLOW_CALLBACK_S, registry: Registry = REGISTRY) -> bool:
    """Measure gevent's hubs, that of this thread too; False if that is done already."""
    if _patches.active:
        return False
    kind = import_module("gevent.hub").Hub
    existing = import_module("gevent._hub_local").get_hub_if_exists
    held = Held("gevent", "gevent_hub", slow_callback_s, registry, costs.hub_switch)
    hubs = Hubs(held, lambda greenlet: isinstance(greenlet, kind), "gevent")

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
        _patches.also_end(Spawned(import_module("gevent.greenlet").Greenlet))
        _patches.replace(kind, "__init__", making)
        if (hub := existing()) is not None:
            begin(hubs, hub)
    return True


def uninstall() -> None:
    """Leave nothing behind; each thread's hub is left at its next switch."""
    _patches.undo()
