"""httpx, both kinds: each request that its network transports send is timed and traced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations import http_client
from nilometer.integrations.http_client import Client, Untraced
from nilometer.integrations.patches import Patches
from nilometer.measure import REGISTRY
from nilometer.trace import CURRENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.http_client import Request
    from nilometer.measure import Registry

_patches: Final = Patches()
_traced: Final = CURRENT.get


def install(*, registry: Registry = REGISTRY) -> bool:
    """Measure httpx's requests; False if that is done already."""
    if _patches.active:
        return False
    import httpx

    client = Client("httpx", registry)
    sender = Sender(client, httpx.Headers)
    _patches.also_end(client.depth)
    with _patches:
        _patches.swap(httpx.HTTPTransport, "handle_request", sender.sending)
        _patches.swap(httpx.AsyncHTTPTransport, "handle_async_request", sender.sending_later)
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()


class Sender:
    """What sends in the place of a transport; ``headers`` makes httpx's of raw ones."""

    __slots__ = ("_client", "_headers")

    def __init__(
        self, client: Client, headers: Callable[[list[tuple[bytes, bytes]]], Any]
    ) -> None:
        self._client = client
        self._headers = headers

    def sending(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """To replace `handle_request`."""
        client, depth = self._client, self._client.depth
        untraced = Untraced(client, original)

        def handle_request(transport: Any, sent: Any) -> Any:
            if not depth.on:
                return original(transport, sent)
            if _traced() is None and http_client.watcher is None:
                send, answers = untraced[sent.method, sent.url.host]
                response = send(transport, sent)
                answers[response.status_code // 100]()
                return response
            with client.request(sent.method, sent.url.host, sent.url.path) as request:
                response = original(transport, self._with_onward(request, sent))
                request.answered(response.status_code)
            return response

        return handle_request

    def sending_later(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """To replace `handle_async_request`."""
        client, depth = self._client, self._client.depth
        untraced = Untraced(client, original)

        async def handle_async_request(transport: Any, sent: Any) -> Any:
            if not depth.on:
                return await original(transport, sent)
            if _traced() is None and http_client.watcher is None:
                send, answers = untraced[sent.method, sent.url.host]
                response = await send(transport, sent)
                answers[response.status_code // 100]()
                return response
            with client.request(sent.method, sent.url.host, sent.url.path) as request:
                response = await original(transport, self._with_onward(request, sent))
                request.answered(response.status_code)
            return response

        return handle_async_request

    def _with_onward(self, request: Request, sent: Any) -> Any:
        """What goes out: a copy, as httpx makes the request after a redirect of this one."""
        if _traced() is None:
            return sent
        raw = sent.headers.raw  # iterating over the headers themselves makes a mapping of them
        onward = request.onward([name.decode("latin-1") for name, _ in raw])
        if not onward:
            return sent
        headers = [*raw, *((k.encode(), v.encode()) for k, v in onward.items())]
        copy = object.__new__(type(sent))  # which costs half of making one
        vars(copy).update(vars(sent), headers=self._headers(headers))
        return copy
