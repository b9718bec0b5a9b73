"""Falcon's routes, told to whoever measures the request: WSGI, ASGI and WebSockets."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nilometer.integrations.patches import Patches
from nilometer.integrations.routes import tell, tell_carrier

if TYPE_CHECKING:
    from collections.abc import Callable

_patches = Patches()


def install() -> bool:
    """Tell the route of each request from now on; False if that is done already."""
    if _patches.active:
        return False
    # Where Falcon itself learns the template; its ASGI application inherits this.
    _patches.swap(import_module("falcon.app").App, "_get_responder", _told)
    return True


def uninstall() -> None:
    """Leave Falcon alone."""
    _patches.undo()


def _told(original: Callable[..., Any]) -> Callable[..., Any]:
    def get_responder(app: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        found = original(app, request, *args, **kwargs)
        template = found[-1] if type(found) is tuple and found else None
        if type(template) is str:
            carrier = getattr(request, "env", None)
            if type(carrier) is dict:
                tell_carrier(carrier, template)
            else:
                tell(request, template)
        return found

    return get_responder
