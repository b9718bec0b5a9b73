"""Hears every SQL statement, HTTP request and message of this process, whoever makes it.

Engines and clients exist long before the first test: applications make them when imported. So
SQLAlchemy is heard by an event of all engines, and not by the integration, which measures those
that are made after it. That costs a statement 3 us while somebody listens, and nothing before.
HTTP clients are heard through their integrations, which replace what all clients share.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, Final

from nilometer.integrations import http_client
from nilometer.integrations.arrivals import Arrivals
from nilometer.integrations.callers import caller
from nilometer.integrations.patches import Patches
from nilometer.pytest_plugin.brokers import CHANNELS, listen_to_channels
from nilometer.pytest_plugin.clients import STANDARD, listen_to_connections
from nilometer.pytest_plugin.drivers import CURSORS, listen_to_cursors, listen_to_sqlite
from nilometer.pytest_plugin.recording import REQUESTS, STATEMENTS, Call, heard
from nilometer.pytest_plugin.statements import double_quotes_strings_in, shown_statement

ENGINES: Final = "sqlalchemy.engine"
SQLITE: Final = "sqlite3"
CLIENTS: Final = {"urllib3.connectionpool": "urllib3", "httpx": "httpx", "aiohttp": "aiohttp"}
"""HTTP clients by the module after whose import they are heard, and their integrations."""

LIBRARIES: Final = (ENGINES, SQLITE, *CURSORS, *CLIENTS, STANDARD, *CHANNELS)


def _statement(
    connection: Any, _cursor: Any, statement: str, _values: Any, _context: Any, _many: bool
) -> None:
    """SQLAlchemy is about to execute a statement, on whatever engine."""

    def call() -> Call | None:
        where = caller()
        if where is None:
            return None
        dialect = connection.dialect.name
        return Call(
            STATEMENTS, shown_statement(statement, double_quotes_strings_in(dialect)), where
        )

    heard(STATEMENTS, call)


def _request(method: str, host: str, path: str) -> None:
    """An HTTP client is about to send a request."""
    heard(
        REQUESTS,
        lambda: Call(REQUESTS, f"{method} {host}{path.partition('?')[0]}", caller() or ""),
    )


class Listening:
    """Hears from `begin` to `end`; libraries that are imported later are heard from then on."""

    def __init__(self) -> None:
        self.is_on = False
        self.unheard: dict[str, str] = {}  # HTTP clients that are there, and why not
        self._clients: list[Any] = []
        self._heard: set[str] = set()
        self._patches = Patches()
        self._arrivals = Arrivals(self._arrived)

    def begin(self) -> None:
        """Hear from now on. Called again, it takes up what somebody has taken off."""
        http_client.watcher = _request
        for library in LIBRARIES:
            if library in sys.modules:
                self._arrived(library)
        if not self.is_on:
            self._arrivals.expect(name for name in LIBRARIES if name not in sys.modules)
            self.is_on = True

    def end(self) -> None:
        """Hear no more, and leave nothing behind."""
        self._arrivals.end()
        http_client.watcher = None
        for client in self._clients:
            client.uninstall()
        self._clients.clear()
        self._patches.undo()
        if ENGINES in self._heard:
            from sqlalchemy import event
            from sqlalchemy.engine import Engine

            event.remove(Engine, "before_cursor_execute", _statement)
        self._heard.clear()
        self.unheard.clear()
        self.is_on = False

    def _arrived(self, library: str) -> None:
        if library in CLIENTS:
            self._take_up(CLIENTS[library])
        elif library not in self._heard:
            self._heard.add(library)
            self._listen_to(library)

    def _take_up(self, name: str) -> None:
        client = import_module(f"nilometer.integrations.{name}")
        try:
            if client.install() and client not in self._clients:
                self._clients.append(client)
        except (AttributeError, ImportError) as error:  # of a version that is built otherwise
            self.unheard[name] = str(error)

    def _listen_to(self, library: str) -> None:
        if library == ENGINES:
            from sqlalchemy import event
            from sqlalchemy.engine import Engine

            event.listen(Engine, "before_cursor_execute", _statement)
        elif library == SQLITE:
            listen_to_sqlite(sys.modules[library], self._patches)
        elif library == STANDARD:
            listen_to_connections(sys.modules[library], self._patches)
        elif library in CHANNELS:
            listen_to_channels(sys.modules[library], self._patches)
        else:
            listen_to_cursors(sys.modules[library], self._patches)


LISTENING: Final = Listening()
"""The one of this process."""
