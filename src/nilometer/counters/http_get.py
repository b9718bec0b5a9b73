"""GET over HTTP/1.1 from servers that count: one connection, bounded time and size.

Redirects are not followed: the figures would be another server's, and so would be the password.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nilometer.counters.link import Link, Place, why

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from http.client import HTTPConnection, HTTPResponse

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
        self._headers = {"User-Agent": "nilometer", "Accept-Encoding": "identity"}
        self._user = user
        if user:
            self._headers["Authorization"] = _basic(user, password)
        elif token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._sendable = all(
            " " <= char <= "~" for char in self._headers.get("Authorization", "")
        )
        self._link: Link | None = None
        self._connection: HTTPConnection | None = None

    def get(self, path: str, *, accept: str = "*/*") -> bytes:
        """The body of the answer to GET. Raises BackendError."""
        from http.client import HTTPException  # 40 ms with what it brings

        asked = f"GET {path.partition('?')[0]}"
        if not self._sendable:  # http.client would say so, and what it is
            raise self._failed(f"{asked}: the token has characters that HTTP cannot send")
        reused = self._connection is not None
        try:
            return self._got(path, accept)
        except (ConnectionError, HTTPException) as error:
            self.close()
            if not reused:
                raise self._failed(f"{asked}: {_told(error)}") from error
        except OSError as error:
            self.close()
            raise self._failed(f"{asked}: {why(error)}") from error
        try:  # it may have hung up between two reads, as servers do
            return self._got(path, accept)
        except (OSError, HTTPException) as error:
            self.close()
            raise self._failed(f"{asked}: {_told(error)}") from error

    def _got(self, path: str, accept: str) -> bytes:
        connection, link = self._connected()
        link.begin()
        connection.request("GET", path, headers={**self._headers, "Accept": accept})
        response = connection.getresponse()
        if response.status == OK:
            return self._body(path, response)
        said = response.read(SAID_CHARS_MAX).decode(errors="replace")
        moved = response.getheader("Location")
        self.close()
        refusal = self._refusal(response, moved, said)
        raise self._failed(f"GET {path.partition('?')[0]}: {refusal}")

    def _refusal(self, response: HTTPResponse, moved: str | None, said: str) -> str:
        status = f"{response.status} {response.reason}"
        if response.status in {401, 403}:
            who = (
                f"user {self._user!r} with this password" if self._user else "anonymous readers"
            )
            return f"{status}: it does not let {who} in"
        if moved is not None and response.status // 100 == 3:
            place = moved[:SAID_CHARS_MAX]
            return f"{status}: it sends us on to {place!r}; name that place itself"
        return f"{status}: {' '.join(said.split())!r}"

    def _body(self, path: str, response: HTTPResponse) -> bytes:
        body = response.read(REPLY_BYTES_MAX + 1)
        if len(body) > REPLY_BYTES_MAX:
            self.close()
            raise self._failed(f"GET {path}: the answer is longer than {REPLY_BYTES_MAX} bytes")
        if response.will_close:
            self.close()
        else:
            response.close()
        return body

    def _connected(self) -> tuple[HTTPConnection, Link]:
        if self._connection is None or self._link is None:
            from http.client import HTTPConnection

            self._link = Link(self._where, tls=self._tls)
            self._connection = HTTPConnection(self._where.host or "localhost", self._where.port)
            self._connection.sock = _Lent(self._link)
        return self._connection, self._link

    def close(self) -> None:
        """Hang up; the next request connects again."""
        if self._link is not None:
            self._link.close()
        self._link = self._connection = None


class _Lent:
    """A link as http.client uses sockets; it closes them before the last answer is read."""

    def __init__(self, link: Link) -> None:
        self.sendall = link.sendall
        self.makefile = link.makefile

    def close(self) -> None:
        """Nothing: who made the link closes it."""


OK: Final = 200


def _told(error: Exception) -> str:
    if isinstance(error, OSError):
        return why(error)
    return f"no HTTP: {type(error).__name__}: {str(error)[:SAID_CHARS_MAX]!r}"


def _basic(user: str, password: str) -> str:
    from base64 import b64encode

    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()
