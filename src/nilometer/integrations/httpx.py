"""httpx, both kinds: each request that its network transports send is timed and traced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations import http_client
from nilometer.integrations.http_client import OURS, Client, Sends
from nilometer.integrations.patches import Patches
from nilometer.integrations.standing import switched
from nilometer.measure import REGISTRY
from nilometer.trace import CURRENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.http_client import Target
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
    """What sends in the place of a transport; ``headers`` is httpx's class of them."""

    __slots__ = ("_client", "_with_onward")

    def __init__(self, client: Client, headers: Any) -> None:
        self._client = client
        self._with_onward = _copier(headers)

    def sending(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """To replace `handle_request`."""
        client, with_onward = self._client, self._with_onward
        sends = Sends(client, original)

        def handle_request(transport: Any, request: Any) -> Any:
            try:
                url = request.url
                send, target = sends[request.method, url.host]
            except Exception:  # noqa: BLE001  not what a request is: httpx's to refuse
                return original(transport, request)
            if http_client.watcher is not None:
                client.tell(target, url.path)
            if _traced() is None:
                response = send(transport, request)
                target.answers[response.status_code // 100]()
                return response
            with target.span(url.path) as its_span:
                response = send(transport, with_onward(target, request))
                target.answered(its_span, response.status_code)
            return response

        return switched(client.depth, original, handle_request)

    def sending_later(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """To replace `handle_async_request`."""
        client, with_onward = self._client, self._with_onward
        sends = Sends(client, original)

        async def handle_async_request(transport: Any, request: Any) -> Any:
            try:
                url = request.url
                send, target = sends[request.method, url.host]
            except Exception:  # noqa: BLE001  not what a request is: httpx's to refuse
                return await original(transport, request)
            if http_client.watcher is not None:
                client.tell(target, url.path)
            if _traced() is None:
                response = await send(transport, request)
                target.answers[response.status_code // 100]()
                return response
            with target.span(url.path) as its_span:
                response = await send(transport, with_onward(target, request))
                target.answered(its_span, response.status_code)
            return response

        return switched(client.depth, original, handle_async_request)


class Spelt(dict[str, tuple[bytes, bytes]]):
    """Names of headers as httpx keeps them: as they are sent, and to be found by."""

    def __missing__(self, name: str) -> tuple[bytes, bytes]:
        self[name] = made = name.encode(), name.lower().encode()
        return made


def _copier(headers: Any) -> Callable[[Target, Any], Any]:
    """What makes of a request what goes out: a copy, as httpx makes the one after a redirect
    of the request itself.

    Headers that are kept as we know it are copied as a list, a fifth of making them anew.
    """
    as_known = {"_list": [(b"A", b"a", b"b")], "_encoding": None}
    is_known = getattr(headers([(b"A", b"b")]), "__dict__", None) == as_known
    ours, spelt = frozenset(name.encode() for name in OURS), Spelt()

    def names_of(present: Any) -> list[str]:
        if is_known and ours.isdisjoint([name for _, name, _ in present._list]):
            return []
        return [name.decode("latin-1").lower() for name, _ in present.raw]

    def joined(present: Any, onward: dict[str, str]) -> Any:
        if not is_known:
            added = ((name.encode(), value.encode()) for name, value in onward.items())
            return headers([*present.raw, *added])
        made = object.__new__(type(present))
        vars(made).update(vars(present))
        more = [(*spelt[name], value.encode()) for name, value in onward.items()]
        made._list = present._list + more
        return made

    def with_onward(target: Target, sent: Any) -> Any:
        present = sent.headers
        onward = target.onward(names_of(present))
        if not onward:
            return sent
        made = object.__new__(type(sent))  # which costs half of making one
        vars(made).update(vars(sent), headers=joined(present, onward))
        return made

    return with_onward
