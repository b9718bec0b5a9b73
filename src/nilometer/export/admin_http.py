"""One HTTP request from one connection, and its answer: bounded in size and in time.

Written by hand, as the process is not ours: `http.server` makes a thread for each connection,
or waits for whoever is slow for ever. Every answer closes its connection.
"""

from __future__ import annotations

import threading
from _socket import SHUT_WR
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from nilometer.clock import elapsed_ns

if TYPE_CHECKING:
    from _socket import socket as Socket  # noqa: N812 - a class
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    Done = TypeVar("Done")

HEAD_BYTES_MAX: Final = 8192  # curl's is 100 bytes, a browser's with its cookies some thousand
BODY_BYTES_MAX: Final = 1024  # the name of a level has 6
ASK_S_MAX: Final = 1.0
"""From connecting to the end of the request: a client on this machine takes 1 ms. Others wait
meanwhile, as there is one thread."""
ANSWER_S_MAX: Final = 5.0  # a MB in that time is a modem's speed
LOOK_S: Final = 0.02
"""Between two looks of a green thread at a client that is slow: a look costs 20 us."""

DISCARD_S: Final = 0.2
"""How long the rest of a refused request is read: closed before, the answer would be lost."""

REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}


class Request(NamedTuple):
    """What was asked; header names are in lower case, and may come more than once."""

    method: str
    path: str
    parameters: Mapping[str, str]
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for key, value in self.headers if key == name]

    def is_true(self, name: str) -> bool:
        """Whether a parameter says so, in the words that Java's servlets take."""
        return self.parameters.get(name, "").lower() == "true"


class Answer(NamedTuple):
    """What is said to it."""

    status: int
    body: bytes
    media_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def line(cls, status: int, text: str, *headers: tuple[str, str]) -> Answer:
        """One line of text."""
        return cls(status, f"{text}\n".encode(), headers=headers)

    def encoded(self, *, head_only: bool = False) -> bytes:
        """All its bytes."""
        head = [
            f"HTTP/1.1 {self.status} {REASONS.get(self.status, '')}",
            f"Content-Type: {self.media_type}",
            f"Content-Length: {len(self.body)}",
            "Connection: close",
            "X-Content-Type-Options: nosniff",
            *(f"{name}: {value}" for name, value in self.headers),
        ]
        said = "\r\n".join([*head, "", ""]).encode()
        return said if head_only else said + self.body


class Unusable(Exception):  # noqa: N818 - it is the client's
    """A request that is answered without a look at what it wants."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Patience:
    """Waits for sockets as the thread may: a green one lets the others have their turns.

    The sockets are none of eventlet's or gevent's: these belong to one hub, and a forked child
    could not close them. So a green thread looks again and again.
    """

    def __init__(self, *, is_green: bool) -> None:
        self._is_green = is_green
        self._pause = threading.Event()

    def until(
        self, deadline_ns: int, sock: Socket, act: Callable[[], Done], look_s: float = LOOK_S
    ) -> Done:
        """What `act` returns once the socket is ready for it; TimeoutError after that time."""
        if not self._is_green:
            sock.settimeout(max(0.001, (deadline_ns - elapsed_ns()) / 1e9))
            return act()
        sock.setblocking(False)
        while True:
            try:
                return act()
            except BlockingIOError:
                if elapsed_ns() >= deadline_ns:
                    raise TimeoutError("timed out") from None
                self._pause.wait(look_s)


def read_request(sock: Socket, patience: Patience) -> Request:
    """The request of a connection. Raises Unusable, or OSError where there is nobody."""
    deadline_ns = elapsed_ns() + int(ASK_S_MAX * 1e9)
    read = b""
    while b"\r\n\r\n" not in read:
        if len(read) > HEAD_BYTES_MAX:
            raise Unusable(431, f"a request's head has {HEAD_BYTES_MAX} bytes at most")
        read += _received(sock, patience, deadline_ns)
    head, _, body = read.partition(b"\r\n\r\n")
    request = parse_head(head)
    length = _length(request)
    while len(body) < length:
        body += _received(sock, patience, deadline_ns)
    return request._replace(body=body[:length])


def _received(sock: Socket, patience: Patience, deadline_ns: int) -> bytes:
    try:
        if elapsed_ns() >= deadline_ns:  # a socket's own timeout begins anew with each byte
            raise TimeoutError
        got = patience.until(deadline_ns, sock, partial(sock.recv, HEAD_BYTES_MAX))
    except TimeoutError:
        raise Unusable(408, f"a request has to be here within {ASK_S_MAX:g} s") from None
    if not got:
        raise ConnectionResetError("gone before it had asked")
    return got


def parse_head(head: bytes) -> Request:
    """What a head asks for. Raises Unusable.

    >>> parse_head(b"GET /metrics?pretty=true HTTP/1.1\\r\\nHost: c1")[:3]
    ('GET', '/metrics', {'pretty': 'true'})
    """
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
        raise Unusable(400, "this is no request of HTTP/1.1")
    headers = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip() or "\n" in line:
            raise Unusable(400, "a header is not 'name: value'")
        headers.append((name.lower(), value.strip()))
    try:
        split = urlsplit(f"//x{words[1]}")
        parameters = dict(parse_qsl(split.query, keep_blank_values=True, max_num_fields=20))
    except ValueError:
        raise Unusable(400, "the path cannot be read") from None
    return Request(words[0], unquote(split.path), parameters, tuple(headers))


def _length(request: Request) -> int:
    if request.all("transfer-encoding"):
        raise Unusable(501, "send the length of a body, not its chunks")
    given = request.all("content-length")
    if not given:
        return 0
    if len(given) > 1 or not (given[0].isascii() and given[0].isdigit()):
        raise Unusable(400, "Content-Length is no number")
    if len(given[0]) > len(str(BODY_BYTES_MAX)) or int(given[0]) > BODY_BYTES_MAX:
        raise Unusable(413, f"a body has {BODY_BYTES_MAX} bytes at most")
    return int(given[0])


def write(sock: Socket, patience: Patience, data: bytes) -> None:
    """Send all of it, or raise OSError: TimeoutError where the client does not take it."""
    deadline_ns = elapsed_ns() + int(ANSWER_S_MAX * 1e9)
    left = memoryview(data)
    while left:
        if elapsed_ns() >= deadline_ns:
            raise TimeoutError("the client is too slow")
        sent = patience.until(deadline_ns, sock, partial(sock.send, left))
        left = left[sent:]


def discard(sock: Socket, patience: Patience) -> None:
    """Read what else comes, and forget it, until the client hangs up or time is up."""
    sock.shutdown(SHUT_WR)
    deadline_ns = elapsed_ns() + int(DISCARD_S * 1e9)
    receive = partial(sock.recv, HEAD_BYTES_MAX)
    while elapsed_ns() < deadline_ns and patience.until(deadline_ns, sock, receive):
        pass
