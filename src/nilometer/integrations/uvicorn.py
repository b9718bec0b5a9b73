"""uvicorn: its configuration loads the application."""

from __future__ import annotations

from nilometer.integrations.servers import Served

_served = Served("uvicorn", "uvicorn.config", "Config", "load", "loaded_app", protocol="asgi")
install = _served.install
uninstall = _served.uninstall
