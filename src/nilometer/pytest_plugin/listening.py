"""Hears every SQL statement and HTTP request of this process, whoever makes it.

Engines and clients exist long before the first test: applications make them when imported. So
SQLAlchemy is heard by an event of all engines, and not by the integration, which measures those
that are made after it. That costs a statement 3 us while somebody listens, and nothing before.
HTTP clients are heard through their integrations, which replace what all clients share.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib import import_module
from typing import Any, Final

from nilometer.integrations import http_client
from nilometer.integrations.arrivals import Arrivals
from nilometer.integrations.statement import READ_CHARS_MAX, normalised
from nilometer.pytest_plugin.callers import caller
from nilometer.pytest_plugin.recording import REQUESTS, STATEMENTS, Call, heard

NAMES_STRINGS: Final = frozenset(["mysql", "mariadb", "sqlite"])  # in double quotes


def _statement(
    connection: Any, _cursor: Any, statement: str, _values: Any, _context: Any, _many: bool
) -> None:
    """SQLAlchemy is about to execute a statement, on whatever engine."""

    def call() -> Call | None:
        where = caller()
        if where is None:
            return None
        dialect = connection.dialect.name
        return Call(STATEMENTS, shown_statement(statement, dialect in NAMES_STRINGS), where)

    heard(call)


def _request(method: str, host: str, path: str) -> None:
    """An HTTP client is about to send a request."""
    heard(lambda: Call(REQUESTS, f"{method} {host}{path.partition('?')[0]}", caller() or ""))


def shown_statement(statement: str, double_quotes_strings: bool) -> str:
    """A statement without its values, remembered: reading one takes up to 0.1 ms."""
    if len(statement) > READ_CHARS_MAX:
        return normalised(statement, double_quotes_strings=double_quotes_strings)
    return _remembered(statement, double_quotes_strings)


@lru_cache(maxsize=1_000)  # 8 kB of text each at most
def _remembered(statement: str, double_quotes_strings: bool) -> str:
    return normalised(statement, double_quotes_strings=double_quotes_strings)


class Listening:
    """Hears from `begin` to `end`; libraries that are imported later are heard from then on."""

    def __init__(self) -> None:
        self.is_on = False
        self._installed: list[Any] = []
        self._hears_engines = False
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
        for module in self._installed:
            module.uninstall()
        self._installed.clear()
        if self._hears_engines:
            from sqlalchemy import event
            from sqlalchemy.engine import Engine

            event.remove(Engine, "before_cursor_execute", _statement)
            self._hears_engines = False
        self.is_on = False

    def _arrived(self, library: str) -> None:
        name = LIBRARIES[library]
        if name:
            module = import_module(f"nilometer.integrations.{name}")
            if module.install() and module not in self._installed:
                self._installed.append(module)
        elif not self._hears_engines:
            from sqlalchemy import event
            from sqlalchemy.engine import Engine

            event.listen(Engine, "before_cursor_execute", _statement)
            self._hears_engines = True


LIBRARIES: Final = {
    "sqlalchemy.engine": "",
    "urllib3.connectionpool": "urllib3",
    "httpx": "httpx",
}
"""The module after whose import each is heard, and the integration that hears it."""

LISTENING: Final = Listening()
"""The one of this process."""
