"""Which route a request took, if its framework says so: the template, never the path.

A path may hold anything a client likes to send, so it never becomes a dimension. Each reader
here knows one framework's key in the WSGI environ or the ASGI scope.

An application mounted under another knows only the rest of its path, and so does its template.
What it is mounted under is in `SCRIPT_NAME` or `root_path`, which proxies and clients may have
their say in: it is taken for what somebody mounted something under, or left out.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

ROUTE_LENGTH_MAX: Final = 200  # the longest template of OpenStack's APIs has 120 characters


def _werkzeug(request: Any) -> object:
    rule = getattr(request, "url_rule", None)  # Flask sets it on werkzeug's request
    return getattr(rule, "rule", None)


def _attribute(name: str) -> Callable[[Any], object]:
    return lambda value: getattr(value, name, None)


WSGI: Final[Mapping[str, Callable[[Any], object]]] = {
    "werkzeug.request": _werkzeug,
    "bottle.route": _attribute("rule"),
    "bfg.routes.route": _attribute("pattern"),  # Pyramid
    "routes.route": _attribute("routepath"),  # Routes, and so OpenStack's APIs
    "http.route": str,  # whoever wants to name it himself; Django and Falcon, by `tell`
}

ASGI: Final[Mapping[str, Callable[[Any], object]]] = {
    "route": _attribute("path"),  # Starlette, FastAPI
    "path_template": str,  # Litestar
    "http.route": str,
}


DISPATCHED: Final = "nilometer.dispatched"
"""In the environ: (mounts, SCRIPT_NAME before) of each `DispatcherMiddleware` passed."""

DISPATCHER: Final = "werkzeug.middleware.dispatcher"
"""The module that mounts applications, of which its integration tells."""

told: Final[set[str]] = set()
"""Such modules whose integration is installed."""

MOUNTED_UNDER_MAX: Final = 256
"""Prefixes whose templates are remembered; those with a parameter in them have no end."""

_templates: dict[tuple[int, str], tuple[Any, str]] = {}


def mounted_under(carrier: Mapping[str, Any]) -> str:
    """The template of what the application that answers is mounted under; "" if nothing."""
    if DISPATCHED in carrier:
        return _dispatched(carrier)
    if "app_root_path" in carrier:  # Starlette's Mount leaves it
        return _mounted(carrier)
    return ""


def is_unclear(carrier: Mapping[str, Any]) -> bool:
    """Whether it may be mounted under something that nobody tells.

    Then two applications with a template in common would be one route.
    """
    return (
        bool(carrier.get("SCRIPT_NAME"))
        and DISPATCHED not in carrier
        and DISPATCHER in sys.modules
        and DISPATCHER not in told
    )


def _dispatched(environ: Mapping[str, Any]) -> str:
    under, after = "", environ.get("SCRIPT_NAME", "")
    for mounts, before in reversed(environ[DISPATCHED]):
        script = after.removeprefix(before)
        if script in mounts:
            under = script + under
        after = before
    return under


def _mounted(scope: Mapping[str, Any]) -> str:
    prefix = scope.get("root_path", "").removeprefix(scope["app_root_path"])
    router = scope.get("router")
    key = id(router), prefix
    known = _templates.get(key)
    if known is None or known[0] is not router:
        template = _template(getattr(router, "routes", ()), prefix) or ""
        if len(_templates) >= MOUNTED_UNDER_MAX:
            _templates.clear()
        known = _templates[key] = router, template
    return known[1]


def _template(routes: Iterable[Any], prefix: str) -> str | None:
    """How the mounts that lead to this prefix were written, or None if none does."""
    if not prefix:
        return ""
    for route in routes:
        inner, regex = getattr(route, "routes", None), getattr(route, "path_regex", None)
        if inner is None:
            continue
        path, rest = "", prefix
        if regex is not None:
            match = regex.match(f"{prefix}/")
            if match is None:
                continue
            path, rest = route.path, f"/{match.group('path')}".rstrip("/")
        deeper = _template(inner, rest)
        if deeper is not None:
            return f"{path}{deeper}"
    return None


def tell(request: Any, route: str) -> None:
    """For frameworks that leave nothing in the carrier: put the route of this request there.

    One that the service itself has named stays.
    """
    for name in ("scope", "environ", "env"):  # ASGI's; Django's and Falcon's of WSGI
        carrier = getattr(request, name, None)
        if isinstance(carrier, dict):
            _tell_carrier(carrier, route)
            return


def _tell_carrier(carrier: dict[str, Any], route: str) -> None:
    if carrier.get("SCRIPT_NAME") or "app_root_path" in carrier or DISPATCHED in carrier:
        if is_unclear(carrier):
            return
        route = mounted_under(carrier) + route
    carrier.setdefault("http.route", route)


def _is_mount(route: Any) -> bool:
    """Whether this is Starlette's Mount, which found nothing in itself that fits."""
    return hasattr(route, "path_regex") and getattr(route, "routes", None) is not None


def reader(readers: Mapping[str, Callable[[Any], object]]) -> Callable[[Any], str | None]:
    """The function that reads a route by the first key that is there and says something."""

    def route_of(carrier: Mapping[str, Any]) -> str | None:
        for key, read in readers.items():
            if key in carrier:
                route = read(carrier[key])
                if isinstance(route, str) and route:
                    if key != "http.route":
                        if is_unclear(carrier):
                            continue
                        under = mounted_under(carrier)
                        route = under if _is_mount(carrier[key]) else under + route
                    return route[:ROUTE_LENGTH_MAX]
        return None

    return route_of
