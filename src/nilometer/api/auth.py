"""Who may use the collector: holders of a token, or, where there are no tokens, this machine.

Without tokens the collector listens at loopback only, but a browser on this machine may carry a
stranger's request to it: a page whose name was rebound to 127.0.0.1 shows in Host, a page that
posts across origins shows in Origin. Both are refused, whatever path they ask for.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from nilometer.wire import otlp_reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping, Sequence

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]

AUTHORIZATION_BYTES_MAX: Final = 4096  # hashed before it is compared, so its length costs us


def digests_of(tokens: Sequence[bytes]) -> tuple[bytes, ...]:
    """What is compared in place of the tokens: all of one length, so time tells nothing."""
    return tuple(hashlib.sha256(token).digest() for token in tokens)


def is_loopback_name(host: str) -> bool:
    """Whether a Host header's value, with or without port, can only mean this machine.

    >>> [is_loopback_name(h) for h in ("localhost:4318", "[::1]", "127.0.0.1", "evil.example")]
    [True, True, True, False]
    """
    try:
        parts = urlsplit(f"//{host}")
        name = parts.hostname or ""
        _ = parts.port  # raises where it is no number
    except ValueError:
        return False
    if parts.netloc != host or "@" in host:
        return False
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class Guard:
    """The outermost ASGI application: lets a request in, or answers it itself.

    `refused` is called with the reason of every refusal, to be counted.
    """

    def __init__(
        self, app: App, *, tokens: Sequence[bytes] | None, refused: Callable[[str], None]
    ) -> None:
        self._app = app
        self._digests = None if tokens is None else digests_of(tokens)
        self._refused = refused

    def renew(self, tokens: Sequence[bytes]) -> None:
        """From now on these tokens open, and no others."""
        self._digests = digests_of(tokens)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # nothing here speaks websocket
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = _Headers(scope["headers"])
        refusal = _stranger(headers) if self._digests is None else self._without_token(headers)
        if refusal is None:
            await self._app(scope, receive, send)
            return
        status, reason, detail = refusal
        self._refused(reason)
        await _answer(scope["path"], headers, send, status, detail)

    def _without_token(self, headers: _Headers) -> tuple[int, str, str] | None:
        given = headers.all(b"authorization")
        if not given:
            return 401, "no-token", "this collector wants 'Authorization: Bearer <token>'"
        scheme, _, token = given[0].partition(b" ")
        too_long = len(token) > AUTHORIZATION_BYTES_MAX
        if (
            len(given) > 1
            or scheme.lower() != b"bearer"
            or too_long
            or not self._opens(token.strip())
        ):
            return 401, "wrong-token", "this token does not open this collector"
        return None

    def _opens(self, token: bytes) -> bool:
        """Compare with every token, never stopping early: time does not tell which it was."""
        digest = hashlib.sha256(token).digest()
        opens = False
        for known in self._digests or ():
            opens |= hmac.compare_digest(digest, known)
        return opens


def _stranger(headers: _Headers) -> tuple[int, str, str] | None:
    """Why a request is refused where there are no tokens; None if it is from this machine."""
    hosts = [host.decode("latin-1") for host in headers.all(b"host")]
    if len(hosts) > 1 or not all(is_loopback_name(host) for host in hosts):
        return (
            403,
            "foreign-host",
            (
                "without tokens this collector answers to loopback names only: "
                "ask for http://127.0.0.1, or start it with --token-file"
            ),
        )
    for origin in headers.all(b"origin"):
        host = origin.decode("latin-1").partition("://")[2]
        if not is_loopback_name(host):
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


async def _answer(path: str, given: _Headers, send: Send, status: int, detail: str) -> None:
    """Refuse in the sender's protocol: an exporter shows its user what it can read."""
    content_type = b"".join(given.all(b"content-type")[:1]).decode("latin-1")
    body, media_type = otlp_reply.encode_refusal(path, content_type, status, detail)
    headers = [
        (b"content-type", media_type.encode()),
        (b"content-length", b"%d" % len(body)),
    ]
    if status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="nilometer"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
