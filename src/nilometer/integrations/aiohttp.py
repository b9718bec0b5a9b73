"""aiohttp's client: each attempt of a request is timed, traced, sent on; its connections.

Attempts are seen by a middleware that is given to each request behind the service's own: hops
of a redirect and what is tried again are each a call of it. aiohttp has these since 3.12.
Of aiohttp's own tracing (`TraceConfig`), which sees no single attempt and could not sign each
hop, the callbacks alone, with a clock in them, take half as long again.
"""

from __future__ import annotations

from asyncio import CancelledError
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations import faults, http_costs
from nilometer.integrations.http_client import OURS, Client
from nilometer.integrations.http_pools import Owned, Retries
from nilometer.integrations.patches import Patches
from nilometer.measure import REGISTRY
from nilometer.trace import CURRENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.calls import Depth
    from nilometer.measure import Registry

_WAITED: Final = "_nilometer_waited"
"""On a cancellation that ended the wait for a connection: the pool's name. Whether it was a
timeout is only known further out."""

_patches: Final = Patches()


def install(*, registry: Registry = REGISTRY) -> bool:
    """Measure aiohttp's client sessions; False if that is done already.

    AttributeError or ImportError if this aiohttp is older than 3.12, or built otherwise.
    """
    if _patches.active:
        return False
    from aiohttp import ClientOSError, ClientSession, ServerDisconnectedError
    from aiohttp.client_middlewares import build_client_middlewares  # noqa: F401 - is it there?
    from aiohttp.connector import BaseConnector, TCPConnector, UnixConnector

    client = Client("aiohttp", registry, costs=http_costs.attempt)
    connections = Connections(registry, client.depth)
    retries, broken = Retries(registry, client.depth), (ClientOSError, ServerDisconnectedError)
    depth = client.depth

    def measured(original: Callable[..., Any]) -> Callable[..., Any]:
        def request(session: Any, *args: Any, **named: Any) -> Any:
            if depth.on:
                theirs = named.get("middlewares")
                if theirs is None:
                    theirs = session._middlewares
                ours = Attempts(client, connections, retries, broken)
                named["middlewares"] = (*theirs, ours)
            return original(session, *args, **named)

        return request

    _patches.also_end(depth, connections.pools)
    with _patches:
        _patches.swap(ClientSession, "_request", measured)
        _patches.swap(BaseConnector, "_wait_for_available_connection", connections.waiting)
        for owner in (TCPConnector, UnixConnector):
            _patches.swap(owner, "_create_connection", connections.making)
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()


class Attempts:
    """The middleware of one request: called for each of its attempts and hops."""

    __slots__ = ("_client", "_connections", "_retries", "_broken", "_failed")

    def __init__(
        self,
        client: Client,
        connections: Connections,
        retries: Retries,
        broken: tuple[type[Exception], ...],
    ) -> None:
        self._client = client
        self._connections = connections
        self._retries = retries
        self._broken = broken
        self._failed: Exception | None = None

    async def __call__(self, sent: Any, send: Callable[[Any], Any]) -> Any:
        url = sent.url
        host = url.raw_host
        if self._failed is not None:
            self._retries.count(host, self._failed)
            self._failed = None
        try:
            measured = self._client.request(sent.method, host, url.raw_path)
        except Exception as error:  # noqa: BLE001  it is sent all the same
            faults.ours("aiohttp", "a request", error, REGISTRY)
            return await send(sent)
        try:
            with measured as request:
                if CURRENT.get() is None:
                    response = await send(sent)
                else:
                    headers = sent.headers  # which look names up however they are spelt
                    onward = request.onward([name for name in OURS if name in headers])
                    headers.update(onward)
                    try:
                        response = await send(sent)
                    finally:  # a middleware may send the same one again
                        for name in onward:
                            del headers[name]
                request.answered(response.status)
        except BaseException as error:
            self._connections.failed(error, sent)
            if isinstance(error, self._broken):
                self._failed = error
            raise
        return response


def counts(connector: Any, connection: Any) -> tuple[int, int]:
    """A connection is acquired, or kept for the next request, or closed."""
    if not connection.is_connected():
        return 0, 0
    is_used = connection in connector._acquired
    return int(is_used), int(not is_used)


class Connections(Owned):
    """Connections of aiohttp's connectors."""

    def __init__(self, registry: Registry, depth: Depth) -> None:
        super().__init__(counts, "aiohttp", registry, depth)

    def making(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Follow each connection that a connector makes."""

        async def create(connector: Any, req: Any, *args: Any, **named: Any) -> Any:
            connection = await original(connector, req, *args, **named)
            return self.follow(lambda: pool_name(req.connection_key), connector, connection)

        return create

    def waiting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """See who waits until a connector's limit lets him have a connection."""

        async def wait(connector: Any, key: Any, *args: Any, **named: Any) -> Any:
            name = pool_name(key)
            try:
                with self.pools.wait(name, _never):
                    return await original(connector, key, *args, **named)
            except CancelledError as error:
                setattr(error, _WAITED, name)
                raise

        return wait

    def failed(self, error: BaseException, sent: Any) -> None:
        """Count the timeout, if it was one that ended a wait: of the connect, or of all."""
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, CancelledError):
            cause = cause.__cause__
        name = getattr(cause, _WAITED, None)
        if name is not None and (
            isinstance(error, TimeoutError)
            or getattr(getattr(sent, "_timer", None), "_cancelled", False)
        ):
            self.pools.timed_out(name)


def pool_name(key: Any) -> str:
    """Where a connection leads."""
    return f"{key.host}:{key.port}"


def _never(_: BaseException) -> bool:
    return False
