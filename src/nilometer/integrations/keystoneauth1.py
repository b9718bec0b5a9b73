"""keystoneauth1, which clients of OpenStack's services send through: their requests as a whole.

A session's request may be several that are sent: tried again, redirected, and authenticated
before. Those are requests of requests and urllib3, and are measured, traced and sent on there.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from nilometer.integrations import http_costs, urllib3
from nilometer.integrations.calls import Call, Calls, Depth
from nilometer.integrations.http_pools import Retries
from nilometer.integrations.http_words import METHODS
from nilometer.integrations.patches import Patches
from nilometer.integrations.standing import switched
from nilometer.measure import REGISTRY
from nilometer.model import SpanKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nilometer.measure import Registry

_patches: Final = Patches()

_left: ContextVar[tuple[int, int] | None] = ContextVar("_left", default=None)
"""Retries that the attempt around this one had left: of connects, and of statuses."""


def install(*, registry: Registry = REGISTRY) -> bool:
    """Measure keystoneauth1's sessions; False if that is done already.

    AttributeError if this keystoneauth1 is built otherwise; then it is left as it was.
    """
    if _patches.active:
        return False
    session: Any = import_module("keystoneauth1.session")
    onward: Any = Onward

    calls = calls_of("keystoneauth1", registry)
    again = registry.counter(
        "openstack.client.reauthentications",
        unit="{authentication}",
        description="Tokens that a service refused and that were asked for anew.",
    )
    _patches.also_end(calls.depth)
    with _patches:
        _patches.swap(session.Session, "request", requesting(calls))
        _patches.swap(
            session.Session,
            "_send_request",
            _retrying(Retries(registry, calls.depth), calls.depth),
        )
        _patches.swap(session.Session, "invalidate", _invalidating(again.add))
        if session.osprofiler_web is not None:
            _patches.swap(session, "osprofiler_web", onward)
    return True


def uninstall() -> None:
    """Leave nothing behind."""
    _patches.undo()


def calls_of(integration: str, registry: Registry) -> Calls:
    """Requests of sessions."""
    return Calls(
        integration,
        "openstack.client.request",
        description="Requests of OpenStack's clients, with all that is sent for one.",
        kind=SpanKind.INTERNAL,
        registry=registry,
        costs=http_costs.openstack_request,
    )


def requesting(calls: Calls) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """To replace a session's `request`."""

    def operation(method: object, service: object) -> Any:
        text = METHODS.get(str(method).upper(), "_OTHER")
        dimensions = {"http.request.method": text}
        if service:
            dimensions["openstack.service.type"] = str(service)
        name = f"{text} {service}" if service else text
        return calls.operation((method, service), name, dimensions)

    def measured(original: Callable[..., Any]) -> Callable[..., Any]:
        def request(session: Any, /, url: Any, method: Any, *args: Any, **named: Any) -> Any:
            try:
                wanted: Mapping[str, object] = named.get("endpoint_filter") or {}
                service = wanted.get("service_type")
                known = calls.known((method, service)) or operation(method, service)
            except Exception:  # noqa: BLE001  no method, or no service: keystoneauth1's to refuse
                return original(session, url, method, *args, **named)
            with Call(known) as call:
                response = original(session, url, method, *args, **named)
                if call.span is not None:
                    call.span.set_attribute("http.response.status_code", response.status_code)
            return response

        return switched(calls.depth, original, request)

    return measured


def _retrying(
    retries: Retries, depth: Depth
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """An attempt calls the next one within itself, with what is left; so does a redirect."""

    def measured(original: Callable[..., Any]) -> Callable[..., Any]:
        def send(session: Any, /, url: str, *args: Any, **named: Any) -> Any:
            connects, statuses = named.get("connect_retries"), named.get("status_code_retries")
            if connects is None or statuses is None:  # the first one is told them by position
                left = (args[5], args[6]) if len(args) > 6 else (0, 0)
            else:
                left = connects, statuses
                around = _left.get()
                if around is not None and left < around:
                    _count(retries, url, around, left, named.get("retriable_status_codes"))
            token = _left.set(left)
            try:
                return original(session, url, *args, **named)
            finally:
                _left.reset(token)

        return switched(depth, original, send)

    return measured


def _count(
    retries: Retries, url: str, around: tuple[int, int], left: tuple[int, int], codes: Any
) -> None:
    """Of a connect the error is being handled; of statuses it is one of those that are told."""
    is_connect = left[0] < around[0]
    reason = sys.exception() if is_connect else ",".join(map(str, codes or ()))
    retries.count(urlsplit(url).hostname or "", reason)


def _invalidating(
    count: Callable[[], None],
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def measured(original: Callable[..., Any]) -> Callable[..., Any]:
        def invalidate(*args: Any, **named: Any) -> Any:
            is_anew = original(*args, **named)
            if is_anew:
                count()
            return is_anew

        return invalidate

    return measured


class Onward:
    """Stands for `osprofiler.web`, whose headers sessions send to whatever host they ask.

    Where they would be ours, they are left to what sends the request, and asks for whom it is.
    """

    def __init__(self, module: Any) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def get_trace_id_headers(self) -> dict[str, str]:
        """OSProfiler's headers, unless they are ours."""
        function = self._module.get_trace_id_headers
        is_ours = function.__module__.startswith("nilometer.") and urllib3.is_installed()
        headers: dict[str, str] = {} if is_ours else function()
        return headers
