"""eventlet's WSGI server, under which OpenStack's APIs grew up."""

from __future__ import annotations

from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any

from nilometer.integrations.dispatch import request_line
from nilometer.integrations.patches import Patches
from nilometer.integrations.servers import Served, Serving
from nilometer.integrations.serving import Load

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.trace.trigger import Triggers


def _load(pool: Any) -> Load:
    """Greenlets of its pool, of which each serves a connection; one more may wait for room."""
    return Load(pool.running(), pool.free(), pool.waiting())


_served = Served(
    "eventlet",
    "eventlet.wsgi",
    "Server",
    "__init__",
    "app",
    arrivals=request_line("protocol"),
)
_pools = Serving("eventlet", _load)
_patches = Patches()


def install(*, triggers: Triggers | None = None) -> bool:
    """Measure what eventlet serves from now on; False if that is done already.

    `triggers` says which requests are traced. ImportError or AttributeError if eventlet is not
    there or not as we know it.
    """
    if not _served.install(triggers=triggers):
        return False
    _patches.replace(import_module("eventlet.wsgi"), "server", _with_its_pool)
    return True


def uninstall() -> None:
    """Leave alone what is served from now on; requests to what runs stay measured."""
    _patches.undo()
    _pools.end()
    _served.uninstall()


def _with_its_pool(original: Callable[..., Any]) -> Callable[..., Any]:
    """``eventlet.wsgi.server``, given the pool that it would make itself and show nobody."""
    wsgi: Any = import_module("eventlet.wsgi")
    asked = signature(original)

    def server(*args: Any, **kwargs: Any) -> Any:
        try:
            given = asked.bind(*args, **kwargs)
            size = given.arguments.get("max_size") or wsgi.DEFAULT_MAX_SIMULTANEOUS_REQUESTS
            pool = given.arguments.get("custom_pool")
            if pool is None:
                pool = given.arguments["custom_pool"] = wsgi.eventlet.GreenPool(size)
        except (TypeError, AttributeError):  # its own to refuse, or of another version
            return original(*args, **kwargs)
        _pools.begin(pool)
        return original(*given.args, **given.kwargs)

    return server
