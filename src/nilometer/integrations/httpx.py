"""httpx, both kinds: each request that its network transports send is timed and traced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.http_client import Client
from nilometer.integrations.patches import Patches
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.http_client import Request
    from nilometer.measure import Registry

_patches: Final = Patches()


def install(*, registry: Registry = REGISTRY) -> bool:
    """Measure httpx's requests; False if that is done already."""
    if _patches.active:
        return False
    import httpx

    client = Client("httpx", registry)
    depth = client.depth

    def with_onward(request: Request, sent: Any) -> Any:
        """What goes out: a copy, as httpx makes the request after a redirect of this one."""
        onward = request.onward(sent.headers)
        if not onward:
            return sent
        headers = [*sent.headers.raw, *((k.encode(), v.encode()) for k, v in onward.items())]
        return httpx.Request(
            sent.method,
            sent.url,
            headers=headers,
            stream=sent.stream,
            extensions=sent.extensions,
        )

    def measured(original: Callable[..., Any]) -> Callable[..., Any]:
        def handle_request(transport: Any, sent: Any) -> Any:
            if not depth.on:
                return original(transport, sent)
            with client.request(sent.method, sent.url.host, sent.url.path) as request:
                response = original(transport, with_onward(request, sent))
                request.answered(response.status_code)
            return response

        return handle_request

    def measured_async(original: Callable[..., Any]) -> Callable[..., Any]:
        async def handle_async_request(transport: Any, sent: Any) -> Any:
            if not depth.on:
                return await original(transport, sent)
            with client.request(sent.method, sent.url.host, sent.url.path) as request:
                response = await original(transport, with_onward(request, sent))
                request.answered(response.status_code)
            return response

        return handle_async_request

    _patches.also_end(depth)
    with _patches:
        _patches.replace(httpx.HTTPTransport, "handle_request", measured)
        _patches.replace(httpx.AsyncHTTPTransport, "handle_async_request", measured_async)
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()
