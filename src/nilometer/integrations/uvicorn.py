"""uvicorn: its configuration loads the application; a signal that ended it kills it afterwards.

uvicorn finishes its requests, puts the signal's first handler back and raises the signal again:
the process dies without its end of the program, where the last readings would be sent. So they
are sent when the server has shut down.
"""

from __future__ import annotations

from asyncio import to_thread
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.patches import Patches
from nilometer.integrations.servers import Served

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nilometer.trace.trigger import Triggers

END_S_MAX: Final = 2.0  # as at the end of any other process

_served = Served("uvicorn", "uvicorn.config", "Config", "load", "loaded_app", protocol="asgi")
_patches = Patches()


def install(*, triggers: Triggers | None = None) -> bool:
    """Measure what uvicorn takes up from now on; False if that is done already."""
    if not _served.install(triggers=triggers):
        return False
    _patches.replace(import_module("uvicorn.server").Server, "shutdown", _sent)
    return True


def uninstall() -> None:
    """Leave alone what is taken up from now on; what runs already stays measured."""
    _patches.undo()
    _served.uninstall()


def _sent(original: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    async def shutdown(server: Any, *args: Any, **kwargs: Any) -> None:
        await original(server, *args, **kwargs)
        if getattr(server, "_captured_signals", True):  # else the process ends in order
            import nilometer

            await to_thread(nilometer.flush, END_S_MAX)

    return shutdown
