"""gevent: its WSGI server is given the application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nilometer.integrations.dispatch import marked
from nilometer.integrations.servers import Served
from nilometer.integrations.serving import Load

if TYPE_CHECKING:
    from nilometer.integrations.patches import Patches


def _load(server: Any) -> Load:
    """Greenlets of its pool, of which each serves a connection; it may have none."""
    pool = server.pool
    return Load() if pool is None else Load(len(pool), pool.free_count())


def _arrivals(server: Any, patches: Patches) -> None:
    """A request is there when its first line has come."""
    patches.replace(server.handler_class, "read_request", marked)


_served = Served(
    "gevent",
    "gevent.pywsgi",
    "WSGIServer",
    "__init__",
    "application",
    load=_load,
    arrivals=_arrivals,
)
install = _served.install
uninstall = _served.uninstall
