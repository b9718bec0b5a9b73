"""waitress: its server objects are given the application."""

from __future__ import annotations

from nilometer.integrations.servers import Served

_served = Served("waitress", "waitress.server", "BaseWSGIServer", "__init__", "application")
install = _served.install
uninstall = _served.uninstall
