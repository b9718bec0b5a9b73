"""werkzeug's development server, which Flask runs."""

from __future__ import annotations

from nilometer.integrations.dispatch import request_line
from nilometer.integrations.servers import Served

_served = Served(
    "werkzeug",
    "werkzeug.serving",
    "BaseWSGIServer",
    "__init__",
    "app",
    arrivals=request_line("RequestHandlerClass"),
)
install = _served.install
uninstall = _served.uninstall
