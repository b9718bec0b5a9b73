"""Which route a request took, if its framework says so: the template, never the path.

A path may hold anything a client likes to send, so it never becomes a dimension. Each reader
here knows one framework's key in the WSGI environ or the ASGI scope.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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


def tell(request: Any, route: str) -> None:
    """For frameworks that leave nothing in the carrier: put the route of this request there.

    One that the service itself has named stays.
    """
    for name in ("scope", "environ", "env"):  # ASGI's; Django's and Falcon's of WSGI
        carrier = getattr(request, name, None)
        if isinstance(carrier, dict):
            carrier.setdefault("http.route", route)
            return


def reader(readers: Mapping[str, Callable[[Any], object]]) -> Callable[[Any], str | None]:
    """The function that reads a route by the first key that is there and says something."""

    def route_of(carrier: Mapping[str, Any]) -> str | None:
        for key, read in readers.items():
            if key in carrier:
                route = read(carrier[key])
                if isinstance(route, str) and route:
                    return route[:ROUTE_LENGTH_MAX]
        return None

    return route_of
