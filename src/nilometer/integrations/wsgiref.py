"""The standard library's WSGI server, and so Django's runserver."""

from __future__ import annotations

from nilometer.integrations.dispatch import request_line
from nilometer.integrations.servers import Served

_served = Served(
    "wsgiref",
    "wsgiref.simple_server",
    "WSGIServer",
    "set_app",
    "application",
    arrivals=request_line("RequestHandlerClass"),
)
install = _served.install
uninstall = _served.uninstall
