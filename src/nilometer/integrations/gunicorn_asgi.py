"""gunicorn's own worker for ASGI applications."""

from __future__ import annotations

from nilometer.integrations.servers import Served

_served = Served(
    "gunicorn",
    "gunicorn.workers.gasgi",
    "ASGIWorker",
    "load_wsgi",
    "asgi",
    protocol="asgi",
)
install = _served.install
uninstall = _served.uninstall
