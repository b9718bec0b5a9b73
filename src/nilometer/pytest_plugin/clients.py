"""Hears what Python's own HTTP client sends, and with it urllib.request, xmlrpc and others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from nilometer.integrations.callers import caller
from nilometer.pytest_plugin.recording import REQUESTS, Call, heard

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.patches import Patches

STANDARD: Final = "http.client"
HEARD_ABOVE: Final = ("urllib3.", "nilometer.export.")
"""Whose requests are heard where urllib3 makes them, and nobody's where our exporters do."""


def listen_to_connections(module: Any, patches: Patches) -> None:
    """Hear all connections, those that exist already too."""
    patches.replace(module.HTTPConnection, "putrequest", _measured)


def _measured(original: Callable[..., Any]) -> Callable[..., Any]:
    def putrequest(connection: Any, method: str, url: str, *rest: Any, **named: Any) -> Any:
        def call() -> Call | None:
            where = caller(not_through=HEARD_ABOVE)
            if where is None:
                return None
            return Call(REQUESTS, f"{method} {_address(connection, url)}", where)

        heard(REQUESTS, call)
        return original(connection, method, url, *rest, **named)

    return putrequest


def _address(connection: Any, url: str) -> str:
    """Host and path; to a proxy the whole address is sent, or it was told the host before."""
    parts = urlsplit(url)
    host = parts.hostname or connection._tunnel_host or connection.host
    return f"{host}{parts.path or '/'}"
