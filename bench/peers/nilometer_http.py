"""Nilometer's integrations of HTTP clients and of logging, in both twins."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import nilometer
from bench import http_clients, lines
from bench.peers.nilometer_databases import paired
from bench.peers.nilometer_library import RING_SHARE
from nilometer.trace import drain_spans, start_root
from nilometer.trace.trigger import Triggers

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


def unsigned(integration: str, loop: Callable[[], Loop]) -> Pair:
    """In a trace that no key began: its requests carry what OpenTelemetry's do."""
    made = sent(integration, loop)
    start_root("request", request=Triggers(spans_per_trace=10**9).begin()).start()
    return made._replace(after=drain_spans, calls_max=RING_SHARE)


CLIENTS = {
    "urllib3": ("urllib3", http_clients.urllib3_requests),
    "requests": ("urllib3", http_clients.requests_requests),
    "httpx": ("httpx", http_clients.httpx_requests),
    "httpx asyncio": ("httpx", http_clients.httpx_async_requests),
    "aiohttp": ("aiohttp", http_clients.aiohttp_requests),
    "keystoneauth1": ("keystoneauth1", http_clients.keystoneauth1_requests),
}


def cases(name: str) -> dict[str, Callable[[], Pair]]:
    """Switched off, untraced, traced, and as others trace: without a signature."""
    client = CLIENTS[name]
    return {
        f"{name} switched off": lambda: sent(*client, level="off"),
        f"{name} untraced": lambda: sent(*client),
        f"{name} traced": lambda: sent(*client, active=True),
        f"{name} traced, not signed": lambda: unsigned(*client),
    }


CASES = {case: pair for name in CLIENTS for case, pair in cases(name).items()}
CASES |= {
    "log line switched off": lambda: sent("logging_lines", lines.logged, level="off"),
    "log line untraced": lambda: sent("logging_lines", lines.logged),
    "log line traced": lambda: sent("logging_lines", lines.logged, active=True),
    "log line with trace id": lambda: sent("logging", lines.logged),
    "log line with trace id in a request": lambda: sent("logging", lines.logged, active=True),
}
