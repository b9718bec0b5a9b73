"""urllib3, and with it requests: each attempt of a request is timed, traced and sent on.

The one place that all requests of both libraries pass, once per attempt, is the pool's
`_make_request`; `urlopen` calls itself again for retries and would count them twice.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations import http_client
from nilometer.integrations.http_client import Client
from nilometer.integrations.http_pools import Owned, Retries
from nilometer.integrations.patches import Patches
from nilometer.integrations.standing import switched
from nilometer.measure import REGISTRY
from nilometer.trace import CURRENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.calls import Depth
    from nilometer.integrations.http_client import Target
    from nilometer.measure import Registry

_patches: Final = Patches()


def install(*, registry: Registry = REGISTRY) -> bool:
    """Measure urllib3's requests; False if that is done already.

    AttributeError if this urllib3 is built otherwise; then it is left as it was.
    """
    if _patches.active:
        return False
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.util.retry import Retry

    client = Client("urllib3", registry)
    connections = Connections(registry, client.depth)
    _patches.also_end(client.depth, connections.pools)
    with _patches:
        _patches.swap(HTTPConnectionPool, "_make_request", requesting(client))
        _patches.swap(HTTPConnectionPool, "_get_conn", connections.waiting)
        for owner in (HTTPConnectionPool, HTTPSConnectionPool):
            _patches.swap(owner, "_new_conn", connections.making)
        _patches.swap(Retry, "increment", _retrying(Retries(registry, client.depth)))
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()


def is_installed() -> bool:
    """Whether requests are measured, and so sent on with our headers."""
    return _patches.active


def counts(pool: Any, connection: Any) -> tuple[int, int]:
    """A connection is let out, or its pool's, or closed."""
    if connection.sock is None:
        return 0, 0
    queue = pool.pool  # None if the pool is closed
    is_idle = queue is not None and connection in list(queue.queue)
    return int(not is_idle), int(is_idle)


class Connections(Owned):
    """Connections that urllib3's pools have opened."""

    def __init__(self, registry: Registry, depth: Depth) -> None:
        super().__init__(counts, "urllib3", registry, depth)
        self._depth = depth

    def making(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Follow each connection that a pool makes."""

        def new(pool: Any) -> Any:
            return self.follow(lambda: pool_name(pool), pool, original(pool))

        return new

    def waiting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """See who waits for a pool that blocks; the others make one more connection."""
        from urllib3.exceptions import EmptyPoolError

        def is_timeout(error: BaseException) -> bool:
            return isinstance(error, EmptyPoolError)

        def get(pool: Any, *args: Any, **named: Any) -> Any:
            if not pool.block or pool.pool is None or pool.pool.qsize():
                return original(pool, *args, **named)
            with self.pools.wait(pool_name(pool), is_timeout):
                return original(pool, *args, **named)

        return switched(self._depth, original, get)


def pool_name(pool: Any) -> str:
    """Where a pool leads."""
    return f"{pool.host}:{pool.port}"


def requesting(client: Client) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """To replace a pool's `_make_request`."""
    traced = CURRENT.get

    def measured(original: Callable[..., Any]) -> Callable[..., Any]:
        sends = http_client.Sends(client, original)

        def make_request(
            pool: Any, conn: Any, method: str, url: str, *rest: Any, **named: Any
        ) -> Any:
            try:
                host, path = (
                    (pool.host, url) if url.startswith("/") else _target(pool.host, url)
                )
                send, target = sends[method, host]
            except Exception:  # noqa: BLE001  not what a method or path is: urllib3's to refuse
                return original(pool, conn, method, url, *rest, **named)
            if http_client.watcher is not None:
                client.tell(target, path)
            if http_client.has_handed_out and not rest:
                named["headers"] = _judged(named.get("headers"), target, traced() is None)
            if traced() is None:
                response = send(pool, conn, method, url, *rest, **named)
                target.answers[response.status // 100]()
                return response
            with target.span(path) as its_span:
                if not rest:  # else it is not urlopen that calls, and its headers lie elsewhere
                    named["headers"] = _with_onward(named.get("headers"), target)
                response = send(pool, conn, method, url, *rest, **named)
                target.answered(its_span, response.status)
            return response

        return switched(client.depth, original, make_request)

    return measured


def _retrying(retries: Retries) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`increment` gives the retries that are left, or raises where there are none."""

    def measured(original: Callable[..., Any]) -> Callable[..., Any]:
        def increment(
            left: Any,
            method: Any = None,
            url: Any = None,
            response: Any = None,
            error: Any = None,
            _pool: Any = None,
            _stacktrace: Any = None,
        ) -> Any:
            fewer = original(left, method, url, response, error, _pool, _stacktrace)
            if _pool is None or (response is None and error is None):
                return fewer  # somebody counts what he sends again himself
            if error is not None or not response.get_redirect_location():
                host, _ = _target(_pool.host, url)
                retries.count(host, response.status if error is None else error)
            return fewer

        return increment

    return measured


def _target(host: str, url: str) -> tuple[str, str]:
    """Whom a request is for, and the path: the pool's host may be a proxy's."""
    if "://" not in url:
        return host, url
    from urllib3.util import parse_url

    try:
        parsed = parse_url(url)
    except ValueError:  # urllib3's to refuse
        return "", url
    return parsed.host or "", parsed.path or "/"


def _judged(present: Any, target: Target, is_untraced: bool) -> Any:
    """Without headers of ours that somebody was handed out, unless they reach a neighbour.

    In a traced request they are made anew, by the span of this very request. Those who send
    them outside of it, as from a thread of their own, send what they were given.
    """
    if present is None or (is_untraced and http_client.hosts.admit(target.host)):
        return present
    return http_client.without_handed_out(present)


def _with_onward(present: Any, target: Target) -> Any:
    """A copy with ours added: the mapping may be shared by all requests of a session.

    An ordinary one, which is a third of the work, unless a header occurs several times.
    """
    store = getattr(present, "_store", None)
    if type(store) is OrderedDict and hasattr(present, "lower_items"):
        pairs: Any = store.values()  # requests' own mapping would look up each name once more
        names: Any = store
    else:
        pairs = () if present is None else present.items()
        names = [name.lower() for name, _ in pairs]
    onward = target.onward(names)
    if not onward:
        return present
    joined = dict(pairs)
    if len(joined) < len(pairs):
        joined = present.copy()
    joined.update(onward)
    return joined
