"""Spawned greenlets of gevent and eventlet start inside the span of whoever spawned them.

Both give each greenlet a context of its own (so spans never mix), and both start it empty, so a
spawned greenlet would be outside the request. After `install_gevent` or `install_eventlet` each
is started with our variable set, and nothing else: see `propagation` for why.
"""

from __future__ import annotations

from contextvars import Context
from importlib import import_module
from typing import Any

from nilometer.trace.current import CURRENT
from nilometer.trace.propagation import taken_along

_eventlet: list[tuple[Any, str, Any]] = []
"""What was replaced in eventlet: owner, attribute, what was there."""


def adopt(greenlet: Any) -> None:
    """Start this greenlet, made but not yet running, in the current span."""
    if greenlet.gr_context is not None or (current := taken_along()) is None:
        return
    context = Context()
    context.run(CURRENT.set, current)
    greenlet.gr_context = context


def install_gevent() -> bool:
    """Adopt each greenlet that gevent starts; False without gevent. Twice is as once."""
    try:
        gevent = import_module("gevent")
    except ImportError:
        return False
    gevent.Greenlet.add_spawn_callback(adopt)
    return True


def uninstall_gevent() -> None:
    """Leave gevent's greenlets alone again."""
    import_module("gevent").Greenlet.remove_spawn_callback(adopt)


def install_eventlet() -> bool:
    """Adopt each green thread that eventlet makes; False without eventlet. Twice is as once."""
    try:
        greenthread = import_module("eventlet.greenthread")
    except ImportError:
        return False
    if _eventlet:
        return True
    made = greenthread.GreenThread.__init__
    spawned = greenthread._spawn_n

    def adopting_init(self: Any, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        adopt(self)

    def adopting_spawn_n(*args: Any, **kwargs: Any) -> Any:
        result = spawned(*args, **kwargs)
        adopt(result[1])  # (hub, greenlet, ...)
        return result

    for owner, name, replacement in (
        (greenthread.GreenThread, "__init__", adopting_init),
        (greenthread, "_spawn_n", adopting_spawn_n),
    ):
        _eventlet.append((owner, name, getattr(owner, name)))
        setattr(owner, name, replacement)
    return True


def uninstall_eventlet() -> None:
    """Put eventlet's own functions back."""
    while _eventlet:
        owner, name, original = _eventlet.pop()
        setattr(owner, name, original)
