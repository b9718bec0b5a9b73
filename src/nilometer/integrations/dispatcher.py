"""werkzeug's `DispatcherMiddleware`: routes with what their applications are mounted under."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nilometer.integrations.patches import Patches
from nilometer.integrations.routes import DISPATCHED, DISPATCHER, told

if TYPE_CHECKING:
    from collections.abc import Callable

_patches = Patches()


def install() -> bool:
    """Tell what each request is dispatched by from now on; False if that is done already."""
    if _patches.active:
        return False
    dispatcher = import_module(DISPATCHER).DispatcherMiddleware
    _patches.replace(dispatcher, "__call__", _told)
    told.add(DISPATCHER)
    return True


def uninstall() -> None:
    """Leave the dispatcher alone."""
    _patches.undo()
    told.discard(DISPATCHER)


def _told(original: Callable[..., Any]) -> Callable[..., Any]:
    def dispatch(dispatcher: Any, environ: Any, start_response: Any) -> Any:
        mark = (dispatcher.mounts, environ.get("SCRIPT_NAME", ""))
        environ[DISPATCHED] = (*environ.get(DISPATCHED, ()), mark)
        return original(dispatcher, environ, start_response)

    return dispatch
