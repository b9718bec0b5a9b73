"""uvicorn: its configuration loads the application; a signal that ended it kills it afterwards.

uvicorn finishes its requests, puts the signal's first handler back and raises the signal again:
the process dies without its end of the program, where the last readings would be sent. So they
are sent when the server has shut down.
"""

from __future__ import annotations

from asyncio import to_thread
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from nilometer.integrations.patches import Patches
from nilometer.integrations.servers import Served

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nilometer.trace.trigger import Triggers

_served = Served("uvicorn", "uvicorn.config", "Config", "load", "loaded_app", protocol="asgi")
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
    if flush is not None:
        server = import_module("uvicorn.server").Server
        _patches.replace(server, "shutdown", partial(_with_the_last, flush))
    return True


def uninstall() -> None:
    """Leave alone what is taken up from now on; what runs already stays measured."""
    _patches.undo()
    _served.uninstall()


def _with_the_last(
    flush: Callable[[], object], original: Callable[..., Awaitable[None]]
) -> Callable[..., Awaitable[None]]:
    async def shutdown(server: Any, *args: Any, **kwargs: Any) -> None:
        await original(server, *args, **kwargs)
        if getattr(server, "_captured_signals", True):  # else the process ends in order
            await to_thread(flush)

    return shutdown
