"""One kept-alive HTTP connection, asked and heard in two steps, so that several may wait.

A sender writes a request into each of its lanes and then reads the answers: three requests of
one flush wait for a receiver's commit together, in one thread, and not one after the other.
"""

from __future__ import annotations

import io
import os
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, RemoteDisconnected
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.clock import elapsed_ns
from nilometer.export.threads import where_threads_run

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

ANSWER_BYTES_MAX: Final = 64 << 10  # an answer is a status and at most a sentence
HEARD_BYTES_MAX: Final = 2 * ANSWER_BYTES_MAX  # with its head, and any "100 Continue" before it
WAIT_S_MIN: Final = 0.01  # for an answer whose time is up: what has come already is still read

_CLOSED_MEANWHILE: Final = (RemoteDisconnected, BrokenPipeError, ConnectionResetError)
_ABANDONED: Final[list[HTTPConnection]] = []  # one per fork of a fork: kept, never deleted


class Answer(NamedTuple):
    """What the receiver said."""

    status: int
    retry_after: str | None
    body: bytes


class Asked(NamedTuple):
    """A request under way, kept to be sent once more."""

    path: str
    body: bytes
    headers: Mapping[str, str]


class _Hearing(io.RawIOBase):
    """The bytes of an answer, until its time is up or there are too many of them.

    A socket's own timeout is for each piece: who sends a byte now and then would be listened to
    for ever.
    """

    def __init__(self, sock: socket.socket, until_ns: int) -> None:
        self._sock = sock
        self._file = sock.makefile("rb", buffering=0)
        self._until_ns = until_ns
        self._left = HEARD_BYTES_MAX

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left_s = (self._until_ns - elapsed_ns()) / 1e9
        if left_s <= 0:
            raise TimeoutError("the answer took too long")
        if self._left <= 0:
            raise HTTPException(f"more than {HEARD_BYTES_MAX} bytes of answer")
        self._sock.settimeout(left_s)
        read = self._file.readinto(buffer)
        self._left -= read or 0
        return read

    def close(self) -> None:
        self._file.close()
        super().close()


class _Response(HTTPResponse):
    """An answer that has to be there in time."""

    def __init__(self, until_ns: int, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = io.BufferedReader(_Hearing(sock, until_ns))


class Lane:
    """A connection, opened when it is needed. After each `ask` one `hear`, or `close`.

    Both raise OSError or HTTPException, and have closed the connection then.
    """

    def __init__(self, connect: Callable[[], HTTPConnection], timeout_s: float) -> None:
        self._connect = connect
        self._timeout_s = timeout_s
        self._connection: HTTPConnection | None = None
        self._opened_where = where_threads_run()
        self._again: Asked | None = None

    def ask(self, path: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Write a request."""
        asked = Asked(path, body, headers)
        # A green socket belongs to the hub of the thread that opened it: a worker that patched
        # itself hands over from native threads to green ones, who cannot use theirs.
        if self._opened_where != (here := where_threads_run()):
            self.abandon()
            self._opened_where = here
        # Receivers close connections that rested for an interval; that is no fault yet.
        self._again = asked if self._connection is not None else None
        try:
            self._write(asked)
        except _CLOSED_MEANWHILE:
            if self._again is None:
                raise
            self._again = None
            self._write(asked)

    def hear(self, timeout_s: float) -> Answer:
        """Read the answer."""
        try:
            return self._read(timeout_s)
        except _CLOSED_MEANWHILE:
            again, self._again = self._again, None
            if again is None:
                raise
            self._write(again)
            return self._read(timeout_s)

    def _write(self, asked: Asked) -> None:
        connection = self._connection or self._connect()
        self._connection = connection
        try:
            if connection.sock is not None:
                connection.sock.settimeout(self._timeout_s)
            connection.request("POST", asked.path, asked.body, asked.headers)
        except BaseException:
            self.close()
            raise

    def _read(self, timeout_s: float) -> Answer:
        connection = self._connection
        if connection is None or connection.sock is None:
            raise RemoteDisconnected("closed before the answer was read")
        try:
            until_ns = elapsed_ns() + int(max(WAIT_S_MIN, timeout_s) * 1e9)
            connection.response_class = partial(_Response, until_ns)  # type: ignore[assignment]
            response = connection.getresponse()
            body = response.read(ANSWER_BYTES_MAX + 1)
        except BaseException:
            self.close()
            raise
        if len(body) > ANSWER_BYTES_MAX or response.will_close:
            self.close()
        return Answer(response.status, response.headers.get("Retry-After"), body)

    def abandon(self) -> None:
        """Forget another process's or hub's connection without touching what it locks.

        A thread of a forked child's parent may have been reading from it, under a lock of its
        buffer that nobody lets go of here: closing would wait for ever, and so would deleting.
        """
        connection, self._connection = self._connection, None
        if connection is not None:
            _ABANDONED.append(connection)
            if connection.sock is not None:
                os.close(connection.sock.detach())

    def close(self) -> None:
        """Close the connection; the next `ask` opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
