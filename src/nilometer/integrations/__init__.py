"""Measuring libraries and servers that are not ours.

Each integration is a module of this package with ``install()`` and ``uninstall()``; those of
servers take ``install(triggers=...)``, and ``flush=...`` where a server ends its process so
that nobody else can send the last readings, and ``watch_forks=...`` where one forks without
telling Python. `Chosen` installs them when the library they serve
is first imported: a library that is never imported costs nothing, and is not loaded by us. One
that fails is said once, listed for `nilometer doctor`, and the service runs on.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import partial
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.arrivals import Arrivals
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

LIBRARIES: Final = {
    "gunicorn": "gunicorn.workers.base",
    "gunicorn_asgi": "gunicorn.workers.gasgi",
    "uvicorn": "uvicorn.config",
    "uwsgi": "sys",  # its own module is no import; whether we run in it is asked at once
    "pyuwsgi": "pyuwsgi",
    "wsgiref": "wsgiref.simple_server",
    "werkzeug": "werkzeug.serving",
    "dispatcher": "werkzeug.middleware.dispatcher",
    "waitress": "waitress.server",
    "eventlet_wsgi": "eventlet.wsgi",
    "gevent_wsgi": "gevent.pywsgi",
    "django": "django.core.handlers.base",
    "falcon": "falcon.app",
    "sqlalchemy": "sqlalchemy.engine.base",
    "sqlalchemy_orm": "sqlalchemy.orm",
    "oslo_db": "oslo_db.api",
    "oslo_db_engines": "oslo_db.sqlalchemy.engines",
    "sqlite3": "sqlite3",
    "psycopg": "psycopg",
    "psycopg2": "psycopg2",
    "pymysql": "pymysql.connections",
    "mysqlclient": "MySQLdb.connections",
    "requests": "urllib3.connectionpool",
    "urllib3": "urllib3.connectionpool",
    "httpx": "httpx",
    "httpcore": "httpcore",
    "aiohttp": "aiohttp",
    "keystoneauth1": "keystoneauth1.session",
    "redis": "redis",
    "pymongo": "pymongo",
    "pymemcache": "pymemcache.client.base",
    "memcache": "memcache",
    "pylibmc": "pylibmc",
    "gevent": "gevent.greenlet",
    "eventlet": "eventlet.greenthread",
    "threads": "concurrent.futures.thread",
    "thread_pools": "concurrent.futures.thread",
    "process_pools": "concurrent.futures.process",
    "asyncio": "asyncio.base_events",
    "uvloop": "uvloop",
    "gevent_hub": "gevent.hub",
    "gevent_pools": "gevent.pool",
    "gevent_threads": "gevent.threadpool",
    "eventlet_hub": "eventlet.greenthread",
    "eventlet_pools": "eventlet.greenpool",
    "threading": "threading",
    "multiprocessing": "multiprocessing.process",
    "multiprocessing_pool": "multiprocessing.pool",
    "processes": "concurrent.futures.process",
    "celery": "celery.app.trace",
    "celery_sender": "celery.app.amqp",
    "celery_worker": "celery.worker.request",
    "oslo_config": "oslo_config.cfg",
    "osprofiler": "osprofiler",  # before any of its modules: they import each other
    "oslo_serializer": "oslo_messaging.rpc.dispatcher",
    "oslo_messaging": "oslo_messaging",
    "oslo_messaging_amqp": "oslo_messaging._drivers.amqpdriver",
    "pika": "pika",
    "kombu": "kombu.messaging",
    "monasca_persister": "monasca_persister.persister",
    "logging": "logging",
    "logging_lines": "logging",
}
"""The module after whose import each integration is installed, by the integration's name."""

NOT_AUTOMATIC: Final = frozenset({"logging"})
"""Those that change what the service itself shows; they are installed by name only."""


PARAMETERS: Final = "parameters"
"""Whether those of databases show what statements were given: it can change while they stay."""


class Chosen:
    """Integrations that wait for their libraries, are installed, or have failed and why.

    What is `given` goes to those whose ``install`` asks for it by that name, and `fail` to
    those that may yet fail later, with another module of their library.
    """

    def __init__(
        self,
        names: Iterable[str],
        **given: Any,
    ) -> None:
        self.waiting = {name: LIBRARIES[name] for name in names}
        self.installed: dict[str, ModuleType] = {}
        self.failed: dict[str, str] = {}
        self.given = given
        self._arrivals = Arrivals(self._arrived)

    def begin(self, before: Chosen | None = None) -> None:
        """Install what is imported already, and the rest when it is.

        What was installed `before`, and is given the same here, stays: what it measures exists
        already, or is just being made, and would be lost. The rest of it ends.
        """
        if before is not None:
            self._take_over(before)
        for library in set(self.waiting.values()):
            if library in sys.modules:
                self._arrived(library)
        self._arrivals.expect(self.waiting.values())

    def end(self) -> None:
        """Take all off again."""
        self._arrivals.end()
        self.waiting.clear()
        for name, module in reversed(self.installed.items()):
            try:
                module.uninstall()
            except Exception as error:  # noqa: BLE001  the others must come off all the same
                self._fail(name, error)
        self.installed.clear()

    def _take_over(self, before: Chosen) -> None:
        to_show_otherwise = []
        for name, module in list(before.installed.items()):
            given, was = self._given_to(module), before._given_to(module)
            if name in self.waiting and given | {PARAMETERS: None} == was | {PARAMETERS: None}:
                del self.waiting[name], before.installed[name]
                self.installed[name] = module
                if given != was:
                    to_show_otherwise.append(name)
        if to_show_otherwise:
            from nilometer.integrations.databases import show_parameters

            show_parameters(self.given[PARAMETERS], to_show_otherwise)
        before.end()
        self.failed = before.failed  # where those that stay tell of what fails yet
        for name in self.failed.keys() - self.installed.keys():
            del self.failed[name]

    def _given_to(self, module: Any) -> dict[str, Any]:
        wanted = signature(module.install).parameters
        return {name: value for name, value in self.given.items() if name in wanted}

    def _arrived(self, library: str) -> None:
        for name in [name for name, awaited in self.waiting.items() if awaited == library]:
            del self.waiting[name]
            try:
                self._install(name)
            except Exception as error:  # noqa: BLE001  the service runs on, unmeasured there
                self._fail(name, error)

    def _install(self, name: str) -> None:
        module: Any = import_module(f"{__name__}.{name}")
        given = self._given_to(module)
        if "fail" in signature(module.install).parameters:
            given["fail"] = partial(self._fail, name)
        try:
            done = module.install(**given)
        except Exception:
            with suppress(Exception):  # why it failed is what is told
                module.uninstall()  # what was done before
            raise
        if done:
            self.installed[name] = module

    def _fail(self, name: str, error: Exception) -> None:
        self.failed[name] = repr(error)
        REGISTRY.counter("nilometer.lost").bind(what="integration", reason=name).add()
        from logging import getLogger  # 4 ms of import that only a failure needs

        getLogger("nilometer").warning(
            "integration %s fails, %s runs unmeasured: %r [integration-fails]",
            name,
            LIBRARIES[name],
            error,
        )


def automatic() -> list[str]:
    """The integrations that a program gets which asks for all."""
    return [name for name in LIBRARIES if name not in NOT_AUTOMATIC]
