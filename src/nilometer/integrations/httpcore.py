"""httpcore, below httpx: its connections, who waits for one, and connects tried again."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.calls import Depth
from nilometer.integrations.http_pools import HttpPools, Retries
from nilometer.integrations.patches import Patches
from nilometer.measure import REGISTRY
from nilometer.measure.decorate import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.measure import Registry

_patches: Final = Patches()


def install(*, registry: Registry = REGISTRY) -> bool:
    """Follow the connections of httpcore's pools; False if that is done already.

    AttributeError if this httpcore is built otherwise; then it is left as it was.
    """
    if _patches.active:
        return False
    import httpcore

    depth = Depth("httpcore", registry)
    pools, retries = HttpPools(connections_of, registry, depth), Retries(registry, depth)
    _patches.also_end(depth, pools)
    waits = _waiting(pools, httpcore.PoolTimeout)
    with _patches:
        for connection in (httpcore.HTTPConnection, httpcore.AsyncHTTPConnection):
            _patches.swap(connection, "_connect", _connecting(pools, retries))
        for module, name in (("_sync", "PoolRequest"), ("_async", "AsyncPoolRequest")):
            owner = getattr(import_module(f"httpcore.{module}.connection_pool"), name)
            _patches.swap(owner, "wait_for_connection", waits)
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()


def connections_of(connection: Any) -> tuple[int, int]:
    """Whether a connection is used, idle, or neither any more."""
    if connection.is_closed():
        return 0, 0
    is_idle = connection.is_idle()
    return int(not is_idle), int(is_idle)


class Backend:
    """A connection's backend, whose `sleep` is what comes before a connect is tried again."""

    __slots__ = ("_backend", "_retries", "_host")

    def __init__(self, backend: Any, retries: Retries, host: str) -> None:
        self._backend = backend
        self._retries = retries
        self._host = host

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def sleep(self, seconds: float) -> Any:
        """Count the retry; the coroutine of an asynchronous backend is passed on."""
        self._retries.count(self._host, sys.exception())
        return self._backend.sleep(seconds)


def _connecting(
    pools: HttpPools, retries: Retries
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def measured(original: Callable[..., Any]) -> Callable[..., Any]:
        def connect(connection: Any, *args: Any, **named: Any) -> Any:
            with pools.guarded("httpcore"):
                pools.watch(_name(connection._origin), connection)
                backend = connection._network_backend
                if connection._retries and not isinstance(backend, Backend):
                    host = connection._origin.host.decode("ascii")
                    connection._network_backend = Backend(backend, retries, host)
            return original(connection, *args, **named)

        return connect

    return measured


def _waiting(
    pools: HttpPools, timeout_class: type[BaseException]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def is_timeout(error: BaseException) -> bool:
        return isinstance(error, timeout_class)

    def measured(original: Callable[..., Any]) -> Callable[..., Any]:
        def wait(asked: Any, *args: Any, **named: Any) -> Any:
            if asked.connection is not None:
                return original(asked, *args, **named)
            with pools.wait(_name(asked.request.url.origin), is_timeout):
                return original(asked, *args, **named)

        async def wait_async(asked: Any, *args: Any, **named: Any) -> Any:
            if asked.connection is not None:
                return await original(asked, *args, **named)
            with pools.wait(_name(asked.request.url.origin), is_timeout):
                return await original(asked, *args, **named)

        return wait_async if kind_of(original) == "coroutine" else wait

    return measured


def _name(origin: Any) -> str:
    return f"{origin.host.decode('ascii', 'replace')}:{origin.port}"
