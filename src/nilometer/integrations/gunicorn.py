"""gunicorn: each worker takes the application up after the fork.

A worker class of another project (uvicorn's) derives from gunicorn's bare `Worker` and is
served by that project's own integration, since what it runs need not be WSGI.
"""

from __future__ import annotations

from typing import Any

from nilometer.integrations.servers import Served


def _is_wsgi(worker: Any) -> bool:
    return any(
        kind.__module__.startswith("gunicorn.workers.")
        and kind.__module__ != "gunicorn.workers.base"
        for kind in type(worker).__mro__
    )


_served = Served(
    "gunicorn", "gunicorn.workers.base", "Worker", "load_wsgi", "wsgi", concerns=_is_wsgi
)
install = _served.install
uninstall = _served.uninstall
