"""The standard library's WSGI server, and so Django's runserver."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.dispatch import request_line
from nilometer.integrations.patches import Patches
from nilometer.integrations.servers import Served

if TYPE_CHECKING:
    from nilometer.trace.trigger import Triggers

_served = Served(
    "wsgiref",
    "wsgiref.simple_server",
    "WSGIServer",
    "set_app",
    "application",
    arrivals=request_line("RequestHandlerClass"),
)
_patches = Patches()

_OURS: Final = "NILOMETER_"


def install(*, triggers: Triggers | None = None) -> bool:
    """Measure what this server takes up from now on; False if that is done already.

    It puts the variables of the process into each request's environ, which frameworks walk
    through for headers. Ours, by which `nilometer run` hands settings on, are left out there:
    requests look as they do without us. Children inherit them all the same.
    """
    if not _served.install(triggers=triggers):
        return False
    handler = import_module("wsgiref.handlers").BaseHandler
    _patches.swap(handler, "os_environ", _without_settings)
    return True


def uninstall() -> None:
    """Leave alone what is taken up from now on; requests to what runs stay measured."""
    _patches.undo()
    _served.uninstall()


def _without_settings(variables: Any) -> Any:
    return {key: value for key, value in variables.items() if not key.startswith(_OURS)}
