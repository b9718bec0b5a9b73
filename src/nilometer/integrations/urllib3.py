"""urllib3, and with it requests: each attempt of a request is timed, traced and sent on.

The one place that all requests of both libraries pass, once per attempt, is the pool's
`_make_request`; `urlopen` calls itself again for retries and would count them twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.integrations.http_client import Client
from nilometer.integrations.patches import Patches
from nilometer.measure import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.measure import Registry

_patches: Final = Patches()


def install(*, registry: Registry = REGISTRY) -> bool:
    """Measure urllib3's requests; False if that is done already."""
    if _patches.active:
        return False
    from urllib3.connectionpool import HTTPConnectionPool

    client = Client(registry)

    def measured(original: Callable[..., Any]) -> Callable[..., Any]:
        def make_request(
            pool: Any, connection: Any, method: str, url: str, *rest: Any, **named: Any
        ) -> Any:
            host, path = _target(pool.host, url)
            with client.request(method, host, path) as request:
                if (
                    not rest
                ):  # else another caller than urlopen, with the headers who knows where
                    present = named.get("headers") or {}
                    onward = request.onward(present)
                    if onward:
                        named["headers"] = _joined(present, onward)
                response = original(pool, connection, method, url, *rest, **named)
                request.answered(response.status)
            return response

        return make_request

    _patches.replace(HTTPConnectionPool, "_make_request", measured)
    return True


def _target(host: str, url: str) -> tuple[str, str]:
    """Whom a request is for, and the path: the pool's host may be a proxy's."""
    if url.startswith("/") or "://" not in url:
        return host, url
    from urllib3.util import parse_url

    try:
        parsed = parse_url(url)
    except ValueError:  # urllib3's to refuse
        return "", url
    return parsed.host or "", parsed.path or "/"


def _joined(present: Any, onward: dict[str, str]) -> Any:
    """A copy with ours added: the mapping may be shared by all requests of a session."""
    copy = present.copy() if hasattr(present, "copy") else dict(present)
    copy.update(onward)
    return copy


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()
