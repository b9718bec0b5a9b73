"""gunicorn's own worker for ASGI applications."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from nilometer.clock import elapsed_ns
from nilometer.integrations.dispatch import ATTRIBUTE
from nilometer.integrations.http_phases import ARRIVED_KEY
from nilometer.integrations.servers import Served
from nilometer.integrations.serving import Load

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.patches import Patches

_PROTOCOL: Final = "gunicorn.asgi.protocol"


def _load(worker: Any) -> Load:
    return Load(connections=worker.nr_conns)


def _arrivals(_worker: Any, patches: Patches) -> None:
    """A request is there when its head is complete; its task may have to wait for others."""
    protocol = getattr(sys.modules.get(_PROTOCOL), "ASGIProtocol")  # noqa: B009  may be None
    patches.replace(protocol, "_on_headers_complete", _marking)
    patches.replace(protocol, "_build_http_scope", _handing_on)


def _marking(original: Callable[..., Any]) -> Callable[..., Any]:
    def headers_complete(protocol: Any) -> Any:
        setattr(protocol, ATTRIBUTE, elapsed_ns())
        return original(protocol)

    return headers_complete


def _handing_on(original: Callable[..., Any]) -> Callable[..., Any]:
    def scope(protocol: Any, *args: Any) -> Any:
        built = original(protocol, *args)
        built[ARRIVED_KEY] = vars(protocol).pop(ATTRIBUTE, 0)
        return built

    return scope


_served = Served(
    "gunicorn",
    "gunicorn.workers.gasgi",
    "ASGIWorker",
    "load_wsgi",
    "asgi",
    protocol="asgi",
    load=_load,
    arrivals=_arrivals,
)
install = _served.install
uninstall = _served.uninstall
