"""ddtrace's integrations of HTTP clients and of logging."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import http_clients, lines
from bench.peers.ddtrace_library import off, tracer

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.pairs import Loop


def patched(library: str, loop: Callable[[], Loop]) -> tuple[Loop, Loop]:
    """A client before and after it was patched."""
    from ddtrace import patch

    bare = loop()
    patch(**{library: True})
    return bare, loop()


def in_a_span(library: str, loop: Callable[[], Loop]) -> tuple[Loop, Loop]:
    tracer.trace("root")
    return patched(library, loop)


CLIENTS = {
    "urllib3": ("urllib3", http_clients.urllib3_requests),
    "requests": ("requests", http_clients.requests_requests),
    "httpx": ("httpx", http_clients.httpx_requests),
    "httpx asyncio": ("httpx", http_clients.httpx_async_requests),
    "aiohttp": ("aiohttp", http_clients.aiohttp_requests),
}


def cases(name: str) -> dict[str, Callable[[], tuple[Loop, Loop]]]:
    return {
        f"{name} untraced": off(lambda: patched(*CLIENTS[name])),
        f"{name} traced": lambda: patched(*CLIENTS[name]),
    }


CASES = {case: pair for name in CLIENTS for case, pair in cases(name).items()}
CASES |= {
    "log line with trace id": off(lambda: patched("logging", lines.logged)),
    "log line with trace id in a request": lambda: in_a_span("logging", lines.logged),
}
