"""gevent: its WSGI server is given the application."""

from __future__ import annotations

from nilometer.integrations.servers import Served

_served = Served("gevent", "gevent.pywsgi", "WSGIServer", "__init__", "application")
install = _served.install
uninstall = _served.uninstall
