"""uvicorn: its configuration loads the application; a signal that ended it kills it afterwards.

uvicorn finishes its requests, puts the signal's first handler back and raises the signal again:
the process dies without its end of the program, where the last readings would be sent. So they
are sent when the server has shut down.
"""

from __future__ import annotations

import sys
from asyncio import to_thread
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from nilometer.clock import elapsed_ns
from nilometer.integrations.http_phases import ARRIVED_KEY
from nilometer.integrations.patches import Patches
from nilometer.integrations.servers import Served, Serving
from nilometer.integrations.serving import Load

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nilometer.trace.trigger import Triggers


def _load(server: Any) -> Load:
    """Tasks, of which each serves a request; how many more there may be, if that is limited."""
    used, limit = len(server.server_state.tasks), server.config.limit_concurrency
    idle = None if limit is None else max(0, limit - used)
    return Load(used, idle, connections=len(server.server_state.connections))


def _arrivals(config: Any, patches: Patches) -> None:
    """A request is there when its head is complete; its task may have to wait for others."""
    module = sys.modules.get(config.http_protocol_class.__module__)
    cycle = getattr(module, "RequestResponseCycle")  # noqa: B009  there may be no module
    patches.replace(cycle, "__init__", _marking)


def _marking(original: Callable[..., None]) -> Callable[..., None]:
    def begin(cycle: Any, *args: Any, **kwargs: Any) -> None:
        original(cycle, *args, **kwargs)
        cycle.scope[ARRIVED_KEY] = elapsed_ns()

    return begin


_served = Served(
    "uvicorn",
    "uvicorn.config",
    "Config",
    "load",
    "loaded_app",
    protocol="asgi",
    arrivals=_arrivals,
)
_servers = Serving("uvicorn", _load)
_patches = Patches()


def install(
    *, triggers: Triggers | None = None, flush: Callable[[], object] | None = None
) -> bool:
    """Measure what uvicorn takes up from now on; False if that is done already.

    `flush` sends what is measured so far. ImportError or AttributeError if uvicorn is not there
    or not as we know it.
    """
    if not _served.install(triggers=triggers):
        return False
    server = import_module("uvicorn.server").Server
    with _patches:
        _patches.replace(server, "startup", _watched)
        if flush is not None:
            _patches.replace(server, "shutdown", partial(_with_the_last, flush))
    return True


def uninstall() -> None:
    """Leave alone what is taken up from now on; requests to what runs stay measured."""
    _patches.undo()
    _servers.end()
    _served.uninstall()


def _watched(original: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    def startup(server: Any, *args: Any, **kwargs: Any) -> Awaitable[None]:
        _servers.begin(server)
        return original(server, *args, **kwargs)

    return startup


def _with_the_last(
    flush: Callable[[], object], original: Callable[..., Awaitable[None]]
) -> Callable[..., Awaitable[None]]:
    async def shutdown(server: Any, *args: Any, **kwargs: Any) -> None:
        await original(server, *args, **kwargs)
        if getattr(server, "_captured_signals", True):  # else the process ends in order
            await to_thread(flush)

    return shutdown
