"""A connection on which nothing can wait for ever: to a port or a socket, with TLS if asked."""

from __future__ import annotations

import io
import socket
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer import clock
from nilometer.counters.backend import BackendError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from nilometer.counters.target import Target

CONNECT_S: Final = 2.0
"""A server on this machine or in the same network accepts in milliseconds."""

ANSWER_S: Final = 10.0
"""From a request to the last byte of its answer, also if each byte comes just in time: the
longest answer allowed, 32 MiB, needs 3 s at 100 Mbit/s."""


class Place(NamedTuple):
    """Where a server is: a host and a port, or the path of a socket."""

    host: str = ""
    port: int = 0
    socket: str = ""

    @property
    def shown(self) -> str:
        """As people write it."""
        if self.socket:
            return self.socket
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def place(target: Target, port: int) -> Place:
    """Where a target says its backend is; this machine and `port` by default."""
    if path := target.option("socket"):
        return Place(socket=path)
    return Place(target.host or "127.0.0.1", target.port or port)


def places(target: Target, port: int) -> list[Place]:
    """Where a target says its backend is, and in its option `others` where to ask if nobody
    answers there. Raises ConfigError."""
    found = [place(target, port)]
    for said in filter(None, target.option("others").split(",")):
        host, colon, number = said.rpartition(":")
        if not colon or said.endswith("]"):
            host, number = said, str(port)
        is_number = number.isascii() and number.isdigit() and len(number) <= len("65535")
        is_host = bool(host) and (":" not in host or host[0] + host[-1] == "[]")
        if not (is_host and is_number and 0 < int(number) < 2**16):
            target.refuse(f"others={said!r}; it is HOST:PORT, with commas between several")
        found.append(Place(host.strip("[]"), int(number)))
    return found


def secure(target: Target) -> bool:
    """Whether the target asks for TLS: ``tls=yes``, or a scheme that says so."""
    default = "yes" if target.scheme in SECURE else "no"
    said = target.option("tls", default)
    if said not in {"yes", "no"}:
        target.refuse(f"tls={said!r}; choose from yes, no")
    return said == "yes"


SECURE: Final = frozenset({"https", "rediss"})


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody accepts connections on this port; asks nothing of them."""
    with socket.socket() as probe:
        probe.settimeout(0.2)  # the loopback answers in microseconds
        return probe.connect_ex((host, port)) == 0


class Link:
    """A connection whose requests and answers each end by a deadline.

    `begin` sets the deadline; all that follows raises TimeoutError beyond it.
    """

    def __init__(self, where: Place, *, tls: ssl.SSLContext | None = None) -> None:
        """Connect. Raises OSError."""
        self._until_ns = 0
        if where.socket:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(CONNECT_S)
            try:
                sock.connect(where.socket)
            except OSError:
                sock.close()
                raise
        else:
            try:
                sock = socket.create_connection((bare(where.host), where.port), CONNECT_S)
            except UnicodeError as error:
                raise OSError(f"not the name of a host: {error}") from error
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            sock = _wrapped(sock, tls, where.host)
        self._sock = sock
        self.begin()

    def begin(self) -> None:
        """Whatever is sent and read from now on has `ANSWER_S` together."""
        self._until_ns = clock.elapsed_ns() + int(ANSWER_S * 1e9)

    def _left(self) -> socket.socket:
        left_s = (self._until_ns - clock.elapsed_ns()) / 1e9
        if left_s <= 0:
            raise TimeoutError(f"no whole answer in {ANSWER_S:g} s")
        self._sock.settimeout(left_s)
        return self._sock

    def sendall(self, data: bytes) -> None:
        """Send all of it. Raises OSError."""
        self._left().sendall(data)

    def makefile(self, _mode: str = "rb") -> io.BufferedReader:
        """What comes in, as a file; closing it leaves the connection open."""
        return io.BufferedReader(_Incoming(self))

    def receive_into(self, buffer: memoryview) -> int:
        """What came in by now, some bytes at least; none at its end. Raises OSError."""
        try:
            return self._left().recv_into(buffer)
        except TimeoutError:
            raise TimeoutError(f"no whole answer in {ANSWER_S:g} s") from None

    def close(self) -> None:
        """Hang up."""
        self._sock.close()


def bare(host: str) -> str:
    """The host in bytes: of texts even addresses are looked at for foreign letters, 4 ms."""
    return host.encode() if host.isascii() else host  # type: ignore[return-value]


def _wrapped(sock: socket.socket, tls: ssl.SSLContext, host: str) -> socket.socket:
    """The same connection with TLS, which has the time that connecting has."""
    try:
        return tls.wrap_socket(sock, server_hostname=host)
    except OSError:
        sock.close()
        raise


class _Incoming(io.RawIOBase):
    def __init__(self, link: Link) -> None:
        self._link = link

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return self._link.receive_into(buffer)


def tls_context(target: Target) -> ssl.SSLContext | None:
    """TLS as the target asks for it, checking the server by ``ca=FILE`` or the machine's own
    authorities; None without TLS. Raises ConfigError."""
    if not secure(target):
        return None
    import ssl  # 12 ms that only TLS needs

    file = target.option("ca")
    try:
        return ssl.create_default_context(cafile=file or None)
    except OSError as error:
        target.refuse(f"ca={file!r} cannot be read: {error}")


TLS_OPTIONS: Final = ("tls", "ca")


def why(error: Exception) -> str:
    """The reason in an error of a connection, in words."""
    if isinstance(error, TimeoutError):
        return str(error) if "answer" in str(error) else f"no connection in {CONNECT_S:g} s"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there (connection refused)"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}"


class ReplyError(ValueError):
    """A reply that is an error, or that is none of the protocol."""


class KeptLink:
    """A connection that stays open from read to read; `greet` says what is to be said first.

    `failed` makes an error of a reason.
    """

    def __init__(
        self,
        where: Place,
        greet: Callable[[Link], None],
        failed: Callable[[str], BackendError],
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._where = where
        self._greet = greet
        self._failed = failed
        self._tls = tls
        self._link: Link | None = None

    def asked(self, ask: Callable[[Link], str]) -> str:
        """What `ask` gives; once more if a connection that was kept is gone meanwhile.

        Servers hang up on those who say nothing for long, as we do while the run lasts. Raises
        BackendError, also for a ReplyError of `ask`.
        """
        reused = self._link is not None
        try:
            return self._told(ask)
        except ConnectionError as error:
            self.close()
            if not reused:
                raise self._failed(why(error)) from error
        except OSError as error:
            self.close()
            raise self._failed(why(error)) from error
        try:
            return self._told(ask)
        except OSError as error:
            self.close()
            raise self._failed(why(error)) from error

    def _told(self, ask: Callable[[Link], str]) -> str:
        """As `asked`, once. Raises OSError, BackendError."""
        try:
            if self._link is None:
                self._link = Link(self._where, tls=self._tls)
                self._greet(self._link)
            self._link.begin()
            return ask(self._link)
        except ReplyError as error:
            self.close()
            raise self._failed(str(error)) from error

    def close(self) -> None:
        """Hang up; the next to ask connects again."""
        if self._link is not None:
            self._link.close()
        self._link = None


def unreadable(name: str, instance: str, reason: str) -> BackendError:
    """The error of a backend that could not be read, in the form they all have."""
    return BackendError(f"{name} at {instance}: {reason}")
