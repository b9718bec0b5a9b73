"""waitress: its server objects are given the application."""

from __future__ import annotations

from typing import Any

from nilometer.integrations.servers import Served
from nilometer.integrations.serving import Load


def _load(server: Any) -> Load:
    threads = server.task_dispatcher
    used = threads.active_count
    return Load(used, len(threads.threads) - used, len(threads.queue))


_served = Served(
    "waitress", "waitress.server", "BaseWSGIServer", "__init__", "application", load=_load
)
install = _served.install
uninstall = _served.uninstall
