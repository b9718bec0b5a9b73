"""Falcon's routes, told to whoever measures the request: WSGI, ASGI and WebSockets."""

from __future__ import annotations

from importlib import import_module

from nilometer.integrations.exchange import Routing
from nilometer.integrations.patches import Patches
from nilometer.integrations.routes import tell

_patches = Patches()


def install() -> bool:
    """Tell the route of each request from now on; False if that is done already."""
    if _patches.active:
        return False
    # Where Falcon itself learns the template; its ASGI application inherits this.
    app = import_module("falcon.app").App
    _patches.swap(app, "_get_responder", lambda original: Routing(original, tell))
    return True


def uninstall() -> None:
    """Leave Falcon alone."""
    _patches.undo()
