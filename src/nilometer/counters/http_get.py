"""GET over HTTP/1.1 from servers that count: one connection, bounded time and size.

Redirects are not followed: the figures would be another server's, and so would be the password.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nilometer.counters.http_reply import Reply, ReplyError, read_body, read_head
from nilometer.counters.link import Link, Place, why
from nilometer.counters.target import hidden

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from typing import BinaryIO

    from nilometer.counters.backend import BackendError

REPLY_BYTES_MAX: Final = 32 << 20
"""RabbitMQ describes a queue in 150 bytes with the columns that we ask for, and a broker of
100,000 queues, which is more than it bears, in 15 MB; twice that."""

SAID_CHARS_MAX: Final = 200  # of what a server says to explain an error


class Http:
    """One server that is asked by GET; `failed` makes an error of a reason.

    The connection stays open between requests and is made again if the server hung up.
    """

    def __init__(
        self,
        where: Place,
        failed: Callable[[str], BackendError],
        *,
        tls: ssl.SSLContext | None = None,
        user: str = "",
        password: str = "",
        token: str = "",
    ) -> None:
        self._where = where
        self._failed = failed
        self._tls = tls
        self._headers = {
            "Host": _host(where),
            "User-Agent": "nilometer",
            "Accept-Encoding": "identity",
        }
        self._user = user
        if user:
            self._headers["Authorization"] = _basic(user, password)
        elif token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._sendable = all(
            " " <= char <= "~" for char in self._headers.get("Authorization", "")
        )
        self._link: Link | None = None
        self._incoming: BinaryIO | None = None

    def get(self, path: str, *, accept: str = "*/*") -> bytes:
        """The body of the answer to GET. Raises BackendError."""
        asked = f"GET {path.partition('?')[0]}"
        if not self._sendable:
            raise self._failed(f"{asked}: the token has characters that HTTP cannot send")
        if not all("!" <= char <= "~" for char in path):  # it could end our head, and add to it
            raise self._failed(f"{asked!a}: a path is written in visible ASCII, with %20")
        reused = self._incoming is not None
        try:
            return self._got(path, accept)
        except (ConnectionError, ReplyError) as error:
            self.close()
            if not reused:
                raise self._failed(f"{asked}: {_told(error)}") from error
        except OSError as error:
            self.close()
            raise self._failed(f"{asked}: {why(error)}") from error
        try:  # it may have hung up between two reads, as servers do
            return self._got(path, accept)
        except (OSError, ReplyError) as error:
            self.close()
            raise self._failed(f"{asked}: {_told(error)}") from error

    def _got(self, path: str, accept: str) -> bytes:
        link, incoming = self._connected()
        link.begin()
        headers = {**self._headers, "Accept": accept}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        link.sendall(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode("ascii"))
        reply = read_head(incoming)
        if reply.status == OK:
            return self._body(path, reply, incoming)
        said = read_body(incoming, reply, SAID_CHARS_MAX).decode(errors="replace")
        self.close()
        refusal = self._refusal(reply, said[:SAID_CHARS_MAX])
        raise self._failed(f"GET {path.partition('?')[0]}: {refusal}")

    def _refusal(self, reply: Reply, said: str) -> str:
        status = f"{reply.status} {reply.reason}"
        if reply.status in {401, 403}:
            who = (
                f"user {self._user!r} with this password" if self._user else "anonymous readers"
            )
            return f"{status}: it does not let {who} in"
        moved = reply.headers.get("location")
        if moved is not None and reply.status // 100 == 3:
            place = hidden(moved)[:SAID_CHARS_MAX]
            return f"{status}: it sends us on to {place!r}; name that place itself"
        return f"{status}: {' '.join(said.split())!r}"

    def _body(self, path: str, reply: Reply, incoming: BinaryIO) -> bytes:
        body = read_body(incoming, reply, REPLY_BYTES_MAX)
        if len(body) > REPLY_BYTES_MAX:
            self.close()
            raise self._failed(
                f"GET {hidden(path)}: the answer is longer than {REPLY_BYTES_MAX} bytes"
            )
        if not reply.is_whole:
            self.close()
        return body

    def _connected(self) -> tuple[Link, BinaryIO]:
        if self._link is None or self._incoming is None:
            self._link = Link(self._where, tls=self._tls)
            self._incoming = self._link.makefile()
        return self._link, self._incoming

    def close(self) -> None:
        """Hang up; the next request connects again."""
        if self._link is not None:
            self._link.close()
        self._link = self._incoming = None


OK: Final = 200


def _told(error: Exception) -> str:
    if isinstance(error, OSError):
        return why(error)
    return f"no HTTP: {str(error)[:SAID_CHARS_MAX]}"


def _host(where: Place) -> str:
    """What the header says; a name in other letters as those who look it up write it."""
    if where.socket:
        return "localhost"
    try:
        return where.shown.encode("ascii" if where.shown.isascii() else "idna").decode()
    except UnicodeError:
        return "localhost"  # a name that is none: connecting says so


def _basic(user: str, password: str) -> str:
    from base64 import b64encode

    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()
