"""Nilometer's integrations of HTTP clients and of logging, in both twins."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import nilometer
from bench import http_clients, lines
from bench.peers.nilometer_databases import paired

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.pairs import Loop, Pair


def sent(
    integration: str, loop: Callable[[], Loop], *, active: bool = False, level: str = "basic"
) -> Pair:
    """A client before and after it is measured."""
    bare = loop()
    import_module(f"nilometer.integrations.{integration}").install()
    nilometer.set_level(f"integrations.{integration}", level)
    return paired(bare, loop(), active=active)


CLIENTS = {
    "urllib3": ("urllib3", http_clients.urllib3_requests),
    "requests": ("urllib3", http_clients.requests_requests),
    "httpx": ("httpx", http_clients.httpx_requests),
    "httpx asyncio": ("httpx", http_clients.httpx_async_requests),
    "aiohttp": ("aiohttp", http_clients.aiohttp_requests),
    "keystoneauth1": ("keystoneauth1", http_clients.keystoneauth1_requests),
}


def cases(name: str) -> dict[str, Callable[[], Pair]]:
    """Switched off, untraced and traced."""
    client = CLIENTS[name]
    return {
        f"{name} switched off": lambda: sent(*client, level="off"),
        f"{name} untraced": lambda: sent(*client),
        f"{name} traced": lambda: sent(*client, active=True),
    }


CASES = {case: pair for name in CLIENTS for case, pair in cases(name).items()}
CASES |= {
    "log line switched off": lambda: sent("logging_lines", lines.logged, level="off"),
    "log line untraced": lambda: sent("logging_lines", lines.logged),
    "log line traced": lambda: sent("logging_lines", lines.logged, active=True),
    "log line with trace id": lambda: sent("logging", lines.logged),
    "log line with trace id in a request": lambda: sent("logging", lines.logged, active=True),
}
