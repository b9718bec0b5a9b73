"""Who may use the collector: holders of a token, or, where there are no tokens, this machine.

Without tokens the collector listens at loopback only, but a browser on this machine may carry a
stranger's request to it: a page whose name was rebound to 127.0.0.1 shows in Host, a page that
posts across origins shows in Origin. Both are refused, whatever path they ask for.

A token comes as each client can send it: `Authorization: Bearer`, HTTP Basic's password under
any name, or OpenStack's `X-Auth-Token`. A browser brings it once, to the page that asks for it,
and has a session then: that opens whatever can be looked at, and pages.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from nilometer.api.queries import RETRY_AFTER_S
from nilometer.wire import otlp_reply
from nilometer.wire.loopback import is_foreign_host, is_foreign_origin

OPEN_PATHS: Final = frozenset({"/dropwizard/ping"})
"""What tells no more than that somebody listens here."""

LOGIN: Final = "/login"
ASSETS: Final = "/static"
"""What a browser may see before it has a session: the page that asks for the token."""

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence

    from nilometer.api.keys import Keys
    from nilometer.api.keystone import Keystone

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]
    Words = Callable[[int, str], Any]


Refused = tuple[int, str, str]
"""HTTP status, the word it is counted by, and what is said."""

KEYSTONE_PATH: Final = "/v2.0"
"""Where keystone's tokens open: Monasca's API, the one that knows of projects."""

IDENTITY: Final = "keystone"
"""In the state of a request that keystone's token opened: whose."""


class Guard:
    """The outermost ASGI application: lets a request in, or answers it itself.

    `refused` is called with the reason of every refusal, to be counted. Under KEYSTONE_PATH
    `keystone`, if there is one, is asked of tokens that are not ours. `words` has the JSON that
    dialects refuse with, by the path that each is under. Without `keys` all of this machine may
    come in. `is_page` says which paths people look at: whoever has no session is led to LOGIN.
    """

    def __init__(
        self,
        app: App,
        *,
        keys: Keys | None,
        refused: Callable[[str], None],
        keystone: Keystone | None = None,
        words: Mapping[str, Words] | None = None,
        is_page: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._app = app
        self._words = words or {}
        self._keystone = keystone
        self._keys = keys
        self._refused = refused
        self._is_page = is_page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # nothing here speaks websocket
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = _Headers(scope["headers"])
        refusal = _stranger(headers) if self._keys is None else self._without_token(headers)
        if refusal is not None and self._keys is not None:
            if self._may_look(scope, headers):
                refusal = None
            elif self._is_seen(scope, headers):
                await _lead_to_login(send, scope, headers)
                return
        if refusal is not None and self._keystone is not None:
            refusal = await self._unknown_to_keystone(scope, headers, refusal)
        if refusal is None or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        status, reason, detail = refusal
        self._refused(reason)
        body, media_type = self._told(scope["path"], headers, status, detail)
        await _answer(send, status, body, media_type)

    def _told(self, path: str, given: _Headers, status: int, detail: str) -> tuple[bytes, str]:
        """A refusal in the sender's protocol: an exporter shows its user what it can read."""
        for prefix, words in self._words.items():
            if is_under(path, prefix):
                return json.dumps(words(status, detail)).encode(), "application/json"
        content_type = b"".join(given.all(b"content-type")[:1]).decode("latin-1")
        return otlp_reply.encode_refusal(path, content_type, status, detail)

    async def _unknown_to_keystone(
        self, scope: Scope, headers: _Headers, refusal: Refused
    ) -> Refused | None:
        """The refusal, if keystone does not know the token either; else who came is noted."""
        tokens = headers.all(b"x-auth-token")
        is_there = is_under(scope["path"], KEYSTONE_PATH)
        if self._keystone is None or not is_there or len(tokens) != 1:
            return refusal
        found = await self._keystone.identity(tokens[0])
        if found == 503:
            return 503, "keystone", "keystone cannot be asked whose token this is; come again"
        if isinstance(found, int):
            return refusal
        scope["state"] = {**scope.get("state", {}), IDENTITY: found}
        return None

    def _without_token(self, headers: _Headers) -> Refused | None:
        authorization = headers.all(b"authorization")
        plain = headers.all(b"x-auth-token")
        if not (authorization or plain):
            return 401, "no-token", "this collector wants 'Authorization: Bearer <token>'"
        if self._keys is None or not self._keys.open(authorization, plain):
            return 401, "wrong-token", "this token does not open this collector"
        return None

    def _may_look(self, scope: Scope, headers: _Headers) -> bool:
        """Whether it is what everybody may see, or a session's: that changes nothing but on
        pages, which look for themselves where a form of theirs was filled in."""
        path = scope["path"]
        is_page = self._is_page(path)
        if is_page and (path == LOGIN or is_under(path, ASSETS)):
            return True
        looks = scope.get("method") in ("GET", "HEAD")
        cookies = headers.all(b"cookie")
        return (looks or is_page) and self._keys is not None and self._keys.know(cookies)

    def _is_seen(self, scope: Scope, headers: _Headers) -> bool:
        """Whether a person with a browser asks for a page, or sends one's form, and brought no
        token."""
        wants = b",".join(headers.all(b"accept"))
        brought = headers.all(b"authorization") or headers.all(b"x-auth-token")
        asks = scope.get("method") in ("GET", "HEAD", "POST") and self._is_page(scope["path"])
        return asks and not brought and b"text/html" in wants


def _stranger(headers: _Headers) -> Refused | None:
    """Why a request is refused where there are no tokens; None if it is from this machine."""
    if is_foreign_host(host.decode("latin-1") for host in headers.all(b"host")):
        return (
            403,
            "foreign-host",
            (
                "without tokens this collector answers to loopback names only: "
                "ask for http://127.0.0.1, or start it with --token-file"
            ),
        )
    if is_foreign_origin(origin.decode("latin-1") for origin in headers.all(b"origin")):
        return (
            403,
            "foreign-origin",
            (
                "without tokens this collector takes nothing from pages of other origins; "
                "start it with --token-file"
            ),
        )
    return None


class _Headers:
    def __init__(self, raw: Sequence[tuple[bytes, bytes]]) -> None:
        self._raw = raw

    def all(self, name: bytes) -> list[bytes]:
        """Every value of a header; more than one is suspicious where one is meant."""
        return [value for key, value in self._raw if key.lower() == name]


def is_under(path: str, prefix: str) -> bool:
    """Whether it is this path, or one below."""
    return path == prefix or path.startswith(f"{prefix}/")


def _form_was_on(headers: _Headers) -> str:
    """The page of ours that a form was sent from, as its browser tells; else the first."""
    told = b"".join(headers.all(b"referer")[:1]).decode("latin-1")
    host = b"".join(headers.all(b"host")[:1]).decode("latin-1")
    _, _, after = told.partition("://")
    netloc, slash, path = after.partition("/")
    return slash + path.partition("#")[0] if slash and netloc == host else "/"


async def _lead_to_login(send: Send, scope: Scope, given: _Headers) -> None:
    wanted = quote(scope["path"], safe="/")
    if scope["query_string"]:
        wanted += "?" + scope["query_string"].decode("latin-1")
    if scope["method"] == "POST":
        wanted = _form_was_on(given)
    headers = [
        (b"location", f"{LOGIN}?to={quote(wanted, safe='')}".encode()),
        (b"cache-control", b"no-store"),
        (b"content-length", b"0"),
    ]
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _answer(send: Send, status: int, body: bytes, media_type: str) -> None:
    headers = [
        (b"content-type", media_type.encode()),
        (b"content-length", b"%d" % len(body)),
    ]
    if status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="nilometer"'))
    if status == 503:
        headers.append((b"retry-after", b"%d" % RETRY_AFTER_S))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
