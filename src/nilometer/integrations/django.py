"""Django's routes, told to whoever measures the request: WSGI and ASGI, every handler of it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nilometer.integrations.patches import Patches
from nilometer.integrations.routes import tell

if TYPE_CHECKING:
    from collections.abc import Callable

_patches = Patches()


def install() -> bool:
    """Tell the route of each request resolved from now on; False if that is done already."""
    if _patches.active:
        return False
    handler = import_module("django.core.handlers.base").BaseHandler
    _patches.replace(handler, "resolve_request", _told)
    return True


def uninstall() -> None:
    """Leave Django alone."""
    _patches.undo()


def _told(original: Callable[..., Any]) -> Callable[..., Any]:
    def resolve_request(handler: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        match = original(handler, request, *args, **kwargs)
        route = getattr(match, "route", None)
        if isinstance(route, str):
            # Those of path() lack the slash that every path begins with; those of re_path() are
            # regular expressions, and stay what they are.
            tell(request, route if route.startswith("^") else f"/{route}")
        return match

    return resolve_request
