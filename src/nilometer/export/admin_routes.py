"""What the admin endpoint answers: metrics, health and stacks as DropWizard's does, and levels.

Where tokens are set, everything but `/ping` wants one. Levels are changed with a token only.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.errors import ConfigError
from nilometer.export.admin_http import Answer, Request, Unusable
from nilometer.stacks import dump
from nilometer.wire import dropwizard
from nilometer.wire.credentials import opens
from nilometer.wire.loopback import is_foreign_host, is_foreign_origin

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = logging.getLogger("nilometer")

UNCACHED: Final = ("Cache-Control", dropwizard.UNCACHED)
LEVELS: Final = "/levels"


class Service(NamedTuple):
    """What there is to tell of a process.

    `metrics` draws all up to now, or returns None where that takes too long; `set_level` raises
    ConfigError. `digests` are of the tokens.
    """

    title: Callable[[], str]
    metrics: Callable[[], Mapping[str, Any] | None]
    health: Callable[[], Mapping[str, tuple[bool, str]]]
    levels: Callable[[], Mapping[str, str]]
    set_level: Callable[[str, str], None]
    digests: tuple[bytes, ...] = ()


def answer(service: Service, request: Request) -> Answer:
    """The answer to one request; never raises."""
    try:
        return _refusal(service, request) or _answer(service, request)
    except Unusable as error:
        return Answer.line(error.status, str(error))
    except Exception as error:  # noqa: BLE001 - a fault of ours stays ours
        log.debug("the admin endpoint failed at %s: %r", request.path, error)
        return Answer.line(500, f"a fault of nilometer's: {type(error).__name__}")


def _refusal(service: Service, request: Request) -> Answer | None:
    """Why this one gets nothing."""
    if request.path == "/ping":
        return None
    if service.digests:
        authorization = [value.encode("latin-1") for value in request.all("authorization")]
        plain = [value.encode("latin-1") for value in request.all("x-auth-token")]
        if opens(service.digests, authorization, plain):
            return None
        challenge = ("WWW-Authenticate", 'Bearer realm="nilometer"')
        return Answer.line(401, "this wants 'Authorization: Bearer <token>'", challenge)
    if is_foreign_host(request.all("host")) or is_foreign_origin(request.all("origin")):
        return Answer.line(403, "without tokens this answers to loopback names only")
    return None


def _answer(service: Service, request: Request) -> Answer:
    if request.path == LEVELS or request.path.startswith(f"{LEVELS}/"):
        return _levels(service, request)
    pages = {
        "/": _menu,
        "/metrics": _metrics,
        "/ping": _ping,
        "/healthcheck": _health,
        "/threads": _threads,
    }
    page = pages.get(request.path.rstrip("/") or "/")
    if page is None:
        raise Unusable(404, f"there are {', '.join([*pages, LEVELS])}")
    if request.method not in ("GET", "HEAD"):
        return Answer.line(405, "only read here", ("Allow", "GET, HEAD"))
    return page(service, request)


def _menu(service: Service, _: Request) -> Answer:
    pages = "/metrics?pretty=true\n/ping\n/healthcheck?pretty=true\n/threads\n/levels"
    return Answer.line(200, f"{service.title()}\n\n{pages}", UNCACHED)


def _metrics(service: Service, request: Request) -> Answer:
    told = service.metrics()
    if told is None:
        return Answer.line(503, "measuring is busy; ask again", ("Retry-After", "1"))
    return _json(200, told, request)


def _ping(_: Service, __: Request) -> Answer:
    return Answer.line(200, "pong", UNCACHED)


def _health(service: Service, request: Request) -> Answer:
    checks = service.health()
    return _json(dropwizard.health_status(checks), dropwizard.health(checks), request)


def _threads(_: Service, __: Request) -> Answer:
    return Answer(200, dump().encode(errors="replace"), headers=(UNCACHED,))


def _levels(service: Service, request: Request) -> Answer:
    prefix = request.path.removeprefix(LEVELS).removeprefix("/").removesuffix("/")
    if request.method in ("GET", "HEAD"):
        levels = service.levels()
        if not prefix:
            return _json(200, levels, request)
        while prefix not in levels:  # as instruments find theirs
            prefix = prefix.rpartition(".")[0]
        return Answer.line(200, levels[prefix], UNCACHED)
    if request.method != "PUT":
        return Answer.line(405, "read by GET, changed by PUT", ("Allow", "GET, HEAD, PUT"))
    if not service.digests:
        raise Unusable(403, "levels are changed with a token only: set admin_token_file")
    service_says = _level_in(request.body)
    try:
        service.set_level(prefix, service_says)
    except ConfigError as error:
        raise Unusable(400, str(error)) from None
    return _json(200, service.levels(), request)


def _level_in(body: bytes) -> str:
    """The name of a level, as text or as JSON text."""
    try:
        text = body.decode().strip()
        if not text.startswith('"'):
            return text
        value = json.loads(text)
    except ValueError:  # not UTF-8, or not JSON
        raise Unusable(400, "the body is no text; send a level's name") from None
    return str(value)


def _json(status: int, told: Mapping[str, Any], request: Request) -> Answer:
    body = dropwizard.encode(told, pretty=request.is_true("pretty"))
    return Answer(status, body, dropwizard.MEDIA_TYPE, (UNCACHED,))
