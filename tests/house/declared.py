"""Prints {integration: {instrument: [kind, unit, level]}} of every integration that makes any.

`wsgi` and `asgi` are the middleware that the integrations of servers put around applications.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from inspect import signature

from nilometer.integrations import LIBRARIES
from nilometer.integrations.backlog import Backlogs
from nilometer.integrations.serving import Servers
from nilometer.measure import Registry

SERVERS = (
    *("gunicorn", "gunicorn_asgi", "uvicorn", "uwsgi", "waitress"),
    *("wsgiref", "werkzeug", "eventlet_wsgi", "gevent_wsgi"),
)

# pylibmc is in C, and comes ready-made for Python 3.11 at most; Monasca's persister is a
# service in an environment of its own; pyuwsgi would take the place of uWSGI's program.
ABSENT = {"monasca_persister", "pyuwsgi", *(() if sys.version_info < (3, 12) else ("pylibmc",))}
HERE = [name for name in LIBRARIES if name not in ABSENT]


def made_by_installing(name: str, registry: Registry) -> None:
    import_module(LIBRARIES[name])
    module = import_module(f"nilometer.integrations.{name}")
    if "registry" not in signature(module.install).parameters:
        return
    module.install(registry=registry)
    if name == "sqlalchemy":  # which waits for an engine
        engine = import_module("sqlalchemy").create_engine("sqlite://")
        module.instrument(engine, registry=registry)
    module.uninstall()


def made_by_serving(name: str, registry: Registry) -> None:
    if name in SERVERS:
        Backlogs(registry)
        Servers(registry)
    else:
        import_module(f"nilometer.integrations.{name}").Middleware(print, registry=registry)


def made_by_a_service(name: str, registry: Registry) -> None:
    import_module(f"nilometer.integrations.{name}").Meters(registry)


if __name__ == "__main__":
    found = {}
    ways = {name: made_by_installing for name in HERE if name not in SERVERS}
    ways |= dict.fromkeys((*SERVERS, "wsgi", "asgi"), made_by_serving)
    ways["monasca_persister"] = made_by_a_service
    for name, make in ways.items():
        registry = Registry()
        make(name, registry)
        found[name] = {
            one.name: (one.kind, one.unit, one.level.name.lower())
            for one in registry.instruments()
            if not one.name.startswith("nilometer.")
        }
    print(json.dumps(found))
