"""What wrappers of HTTP clients and of `logging` cost a call, untraced: see `costs`."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from nilometer.measure.overhead import extra_ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.measure import Registry

_ANSWER: Final = SimpleNamespace(status=200, status_code=200)
_POOL: Final = SimpleNamespace(host="localhost")
_SENT: Final = SimpleNamespace(
    method="GET", url=SimpleNamespace(raw_host="localhost", raw_path="/")
)
_HANDLER: Final = SimpleNamespace(level=0, _name="calibration")
_LOGGER: Final = SimpleNamespace(handlers=[_HANDLER], propagate=False)
_RECORD: Final = SimpleNamespace(levelno=20, levelname="INFO")


def request() -> float:
    """One request of urllib3, and so about one of httpx."""
    integration = import_module("nilometer.integrations.urllib3")
    client = import_module("nilometer.integrations.http_client").Client

    def measured(registry: Registry) -> Callable[[], object]:
        ours = client("calibration", registry, is_watched=False)
        return partial(_urlopen, integration.requesting(ours)(_answered))

    return extra_ns(measured, partial(_urlopen, _answered))


def attempt() -> float:
    """One request of aiohttp."""
    integration = import_module("nilometer.integrations.aiohttp")
    client = import_module("nilometer.integrations.http_client").Client

    def measured(registry: Registry) -> Callable[[], object]:
        ours = client("calibration", registry, is_watched=False)
        made = partial(integration.Attempts, ours, None, None, ())
        return lambda: _run(made()(_SENT, _answered_later))

    return extra_ns(measured, lambda: _run(_answered_later(_SENT)))


def openstack_request() -> float:
    """One request of a session of keystoneauth1, without those that are sent for it."""
    integration = import_module("nilometer.integrations.keystoneauth1")

    def measured(registry: Registry) -> Callable[[], object]:
        calls = integration.calls_of("calibration", registry)
        return partial(_openstack, integration.requesting(calls)(_answered))

    return extra_ns(measured, partial(_openstack, _answered))


def log_line() -> float:
    """One line, to one handler."""
    lines = import_module("nilometer.integrations.logging_lines").Lines

    def measured(registry: Registry) -> Callable[[], object]:
        ours = lines(registry)
        handle = ours.timing(_nothing)
        call_handlers = ours.counting(lambda _, record: handle(_HANDLER, record))
        return partial(call_handlers, _LOGGER, _RECORD)

    return extra_ns(measured, partial(_nothing, _LOGGER, _RECORD))


def _urlopen(make_request: Any) -> None:
    make_request(_POOL, None, "GET", "/", headers=None, timeout=None)


def _openstack(request: Any) -> None:
    request(None, "/", "GET", endpoint_filter={"service_type": "compute"})


def _run(coroutine: Any) -> None:
    for _ in coroutine.__await__():
        """Nothing in it waits."""


def _answered(*_: object, **__: object) -> Any:
    return _ANSWER


async def _answered_later(_: object) -> Any:
    return _ANSWER


def _nothing(*_: object) -> None:
    """Do nothing."""
