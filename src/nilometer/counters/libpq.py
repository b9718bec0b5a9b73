"""PostgreSQL's own client library, called directly: connect, ask, never wait for ever.

psycopg brings this library along and is the better way to use it; but importing psycopg takes
150 ms, ten times what a read takes, and all that is needed here is a text in and texts out. The
library finds servers, services, passwords and certificates as all of PostgreSQL's programs do.
"""

from __future__ import annotations

import ctypes
import select
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nilometer import clock
from nilometer.counters.hang_up import until_ended

if TYPE_CHECKING:
    from collections.abc import Mapping

SYSTEM: Final = "libpq.so.5"

_OK, _BAD = 0, 1  # ConnStatusType
_POLL_FAILED, _POLL_READING, _POLL_WRITING, _POLL_OK = 0, 1, 2, 3
_TUPLES_OK, _FATAL = 2, 7  # ExecStatusType
_SQLSTATE = ord("C")  # PG_DIAG_SQLSTATE

_POINTER, _TEXT, _INT = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
_TEXTS = ctypes.POINTER(_TEXT)
_PROTOTYPES: Final[Mapping[str, tuple[Any, tuple[Any, ...]]]] = {
    "PQconnectStartParams": (_POINTER, (_TEXTS, _TEXTS, _INT)),
    "PQconnectPoll": (_INT, (_POINTER,)),
    "PQstatus": (_INT, (_POINTER,)),
    "PQsocket": (_INT, (_POINTER,)),
    "PQerrorMessage": (_TEXT, (_POINTER,)),
    "PQhost": (_TEXT, (_POINTER,)),
    "PQport": (_TEXT, (_POINTER,)),
    "PQdb": (_TEXT, (_POINTER,)),
    "PQparameterStatus": (_TEXT, (_POINTER, _TEXT)),
    "PQsendQuery": (_INT, (_POINTER, _TEXT)),
    "PQconsumeInput": (_INT, (_POINTER,)),
    "PQisBusy": (_INT, (_POINTER,)),
    "PQgetResult": (_POINTER, (_POINTER,)),
    "PQresultStatus": (_INT, (_POINTER,)),
    "PQresultErrorField": (_TEXT, (_POINTER, _INT)),
    "PQresultErrorMessage": (_TEXT, (_POINTER,)),
    "PQntuples": (_INT, (_POINTER,)),
    "PQnfields": (_INT, (_POINTER,)),
    "PQgetisnull": (_INT, (_POINTER, _INT, _INT)),
    "PQgetvalue": (_TEXT, (_POINTER, _INT, _INT)),
    "PQclear": (None, (_POINTER,)),
    "PQfinish": (None, (_POINTER,)),
}
_RECEIVER = ctypes.CFUNCTYPE(None, _POINTER, _POINTER)
_silent = _RECEIVER(lambda _argument, _result: None)  # it would write warnings to our stderr


class PostgresError(Exception):
    """What the server or the library said; `state` is the SQLSTATE, if the server said it."""

    def __init__(self, message: str, state: str = "") -> None:
        super().__init__(" ".join(message.split()) or "no reason given")
        self.state = state


class MissingError(PostgresError):
    """The library is not installed."""


@cache
def library() -> ctypes.CDLL:
    """The library that psycopg brought, else the system's. Raises MissingError."""
    tried = []
    for path in (*_bundled(), SYSTEM):
        try:
            loaded = ctypes.CDLL(path)
        except OSError as error:
            tried.append(str(error))
            continue
        for name, (result, arguments) in _PROTOTYPES.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = result, arguments
        loaded.PQsetNoticeReceiver.argtypes = (_POINTER, _RECEIVER, _POINTER)
        loaded.PQsetNoticeReceiver.restype = _POINTER
        return loaded
    raise MissingError("; ".join(tried))


def _bundled() -> list[str]:
    """Where the wheel of psycopg keeps it; finding it imports nothing."""
    spec = find_spec("psycopg_binary")
    if spec is None or spec.origin is None:
        return []
    beside = Path(spec.origin).parent.parent / "psycopg_binary.libs"
    return [str(path) for path in sorted(beside.glob("libpq-*.so*"))]


class Connection:
    """One connection. Whatever it waits for it waits for no longer than it is told."""

    def __init__(self, parameters: Mapping[str, str], *, timeout_s: float) -> None:
        """Connect, with the words of PostgreSQL's connection strings. Raises PostgresError."""
        self._pq = library()
        self._timeout_s = timeout_s
        names = [name.encode() for name in parameters]
        values = [value.encode() for value in parameters.values()]
        array = _TEXT * (len(names) + 1)
        self._connection = self._pq.PQconnectStartParams(
            array(*names, None), array(*values, None), 0
        )
        try:
            self._connect()
        except BaseException:
            self.close()
            raise
        self._pq.PQsetNoticeReceiver(self._connection, _silent, None)

    def _connect(self) -> None:
        if not self._connection or self._pq.PQstatus(self._connection) == _BAD:
            raise self._error()
        until_ns = _deadline(self._timeout_s)
        polled = _POLL_WRITING
        while polled != _POLL_OK:
            if polled == _POLL_FAILED:
                raise self._error()
            self._wait(select.POLLIN if polled == _POLL_READING else select.POLLOUT, until_ns)
            polled = self._pq.PQconnectPoll(self._connection)

    def ask(self, statement: str, *, timeout_s: float) -> list[list[str | None]]:
        """The rows of a statement. Raises PostgresError; after a timeout it must be closed."""
        self._timeout_s = timeout_s
        until_ns = _deadline(timeout_s)
        if not self._pq.PQsendQuery(self._connection, statement.encode()):
            raise self._error()
        rows: list[list[str | None]] = []
        failed: PostgresError | None = None
        while True:
            while self._pq.PQisBusy(self._connection):
                self._wait(select.POLLIN, until_ns)
                if not self._pq.PQconsumeInput(self._connection):
                    raise self._error()
            result = self._pq.PQgetResult(self._connection)
            if not result:
                break
            try:
                failed = failed or self._failure(result)
                rows = self._rows(result)
            finally:
                self._pq.PQclear(result)
        if failed:
            raise failed
        return rows

    def _failure(self, result: int) -> PostgresError | None:
        if self._pq.PQresultStatus(result) != _FATAL:
            return None
        state = self._pq.PQresultErrorField(result, _SQLSTATE)
        return PostgresError(_text(self._pq.PQresultErrorMessage(result)), _text(state))

    def _rows(self, result: int) -> list[list[str | None]]:
        if self._pq.PQresultStatus(result) != _TUPLES_OK:
            return []
        width = range(self._pq.PQnfields(result))
        return [
            [
                None
                if self._pq.PQgetisnull(result, row, column)
                else _text(self._pq.PQgetvalue(result, row, column))
                for column in width
            ]
            for row in range(self._pq.PQntuples(result))
        ]

    def _wait(self, event: int, until_ns: int) -> None:
        left_ms = (until_ns - clock.elapsed_ns()) / 1e6
        descriptor = self._pq.PQsocket(self._connection)
        if descriptor < 0:
            raise self._error()
        poll = select.poll()
        poll.register(descriptor, event)
        if left_ms <= 0 or not poll.poll(left_ms):
            raise PostgresError(f"no answer within {self._timeout_s:g} s")

    def _error(self) -> PostgresError:
        return PostgresError(_text(self._pq.PQerrorMessage(self._connection)))

    @property
    def place(self) -> str:
        """Host, port and database as they turned out to be."""
        host = _text(self._pq.PQhost(self._connection))
        port = _text(self._pq.PQport(self._connection))
        where = f"{host}/.s.PGSQL.{port}" if host.startswith("/") else f"{host}:{port}"
        return f"{where}/{_text(self._pq.PQdb(self._connection))}"

    @property
    def version(self) -> str:
        """The server's, without what its packagers add."""
        said = _text(self._pq.PQparameterStatus(self._connection, b"server_version"))
        return said.partition(" ")[0]

    def close(self) -> None:
        """Let go of it, and wait until the server has: what it did is counted then."""
        connection, self._connection = self._connection, None
        if connection:
            with until_ended(self._pq.PQsocket(connection)):
                self._pq.PQfinish(connection)


def _text(said: bytes | None) -> str:
    return (said or b"").decode("utf-8", "replace")


def _deadline(timeout_s: float) -> int:
    return clock.elapsed_ns() + int(timeout_s * 1e9)
