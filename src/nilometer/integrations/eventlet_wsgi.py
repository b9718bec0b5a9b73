"""eventlet's WSGI server, under which OpenStack's APIs grew up."""

from __future__ import annotations

from nilometer.integrations.servers import Served

_served = Served("eventlet", "eventlet.wsgi", "Server", "__init__", "app")
install = _served.install
uninstall = _served.uninstall
