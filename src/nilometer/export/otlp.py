"""``otlp://host:4318`` and ``otlps://``: OTLP/HTTP in protobuf, on one kept-alive connection.

Spans, readings and events go to ``/v1/traces``, ``/v1/metrics`` and ``/v1/logs``. What the
receiver answers decides by OTLP's own rules: 429, 502, 503 and 504 are tried again, after the
time it asks for; any other refusal is final, counted by its status, and never repeated.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - a name lookup imports it: see nilometer.own on forks
import gzip
import os
import re
from collections import Counter
from concurrent.futures import thread as _for_gevent  # noqa: F401 - see open_otlp
from http.client import HTTPConnection, HTTPException, HTTPSConnection, RemoteDisconnected
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.clock import Clock
from nilometer.export.exporter import Undelivered
from nilometer.export.receipt import rejected_rows, retry_after_s
from nilometer.model import Batch
from nilometer.wire import otlp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from ssl import SSLContext
    from typing import Any

    from nilometer.export.address import Address
    from nilometer.model import Resource

PORT: Final = 4318  # assigned to OTLP over HTTP
TIMEOUT_S: Final = 10.0  # OTLP's default: long enough for a receiver that syncs to a slow disk
ROWS_MAX: Final = 8_192  # per request: half a ring of spans, 2 MB at 250 bytes a span
BYTES_MAX: Final = 4 << 20  # per request, uncompressed: gRPC's limit, which receivers inherit
ANSWER_BYTES_MAX: Final = 64 << 10  # an answer is a status and at most a sentence
TRY_AGAIN: Final = frozenset({429, 502, 503, 504})  # OTLP 1.x, "Retryable response codes"
TOO_LARGE: Final = 413
GZIP_LEVEL: Final = 1  # level 6 saves another tenth and takes three times as long
TOKEN_FILE_BYTES_MAX: Final = 1 << 16
OPTIONS: Final = ("compression", "timeout_s", "token_file", "header", "ca_file")


class Signal(NamedTuple):
    """One of OTLP's three requests, and the rows of a batch that go there."""

    rows: str
    path: str
    encode: Callable[[Batch], bytes]


_ABANDONED: Final[list[HTTPConnection]] = []  # one per fork of a fork: kept, never deleted

SIGNALS: Final = (
    Signal("spans", "/v1/traces", otlp.encode_traces),
    Signal("readings", "/v1/metrics", otlp.encode_metrics),
    Signal("events", "/v1/logs", otlp.encode_logs),
)


class Answer(NamedTuple):
    """What the receiver said."""

    status: int
    retry_after: str | None
    body: bytes


class _TryLaterError(Exception):
    """The receiver cannot take it now."""

    def __init__(self, because: str, retry_after_s: float | None = None) -> None:
        super().__init__(because)
        self.because = because
        self.retry_after_s = retry_after_s


def open_otlp(address: Address) -> Otlp:
    """The exporter of an ``otlp`` or ``otlps`` URL; ConfigError says what is wrong."""
    # gevent's name lookup imports concurrent.futures.thread when it is first used, and that
    # refuses to be imported once a process has begun to end: it is imported above.
    address.accepting(OPTIONS)
    if not address.host:
        address.refuse("a host is missing, as in otlp://127.0.0.1:4318")
    is_secure = address.scheme == "otlps"
    if address.all("ca_file") and not is_secure:
        address.refuse("ca_file is for otlps://")
    default = "none" if address.is_loopback else "gzip"
    compression = address.text("compression", default, choice=("none", "gzip"))
    headers = dict(_header(address, text) for text in address.all("header"))
    token_file = address.text("token_file")
    if token_file:
        _token(address, token_file)  # so that a wrong one is told at start
    return Otlp(
        address,
        compress=compression == "gzip",
        timeout_s=address.number("timeout_s", TIMEOUT_S, least=0.05, most=60),
        headers=headers,
        token_file=token_file,
        tls=_tls(address) if is_secure else None,
    )


class Otlp:
    """Sends batches to one receiver; see the module."""

    waits = True

    def __init__(
        self,
        address: Address,
        *,
        compress: bool,
        timeout_s: float,
        headers: dict[str, str],
        token_file: str,
        tls: SSLContext | None,
        clock: Clock = Clock(),  # noqa: B008 - a tuple of functions
    ) -> None:
        self._address = address
        self._prefix = address.path.rstrip("/")
        self._compress = compress
        self._timeout_s = timeout_s
        self._given_headers = headers
        self._token_file = token_file
        self._tls = tls
        self._clock = clock
        self._connection: HTTPConnection | None = None

    def __call__(self, batch: Batch, /) -> None:
        left: dict[str, tuple[Any, ...]] = {}
        refused: Counter[tuple[str, str]] = Counter()
        because: list[str] = []
        later: _TryLaterError | None = None
        for signal in SIGNALS:
            rows: tuple[Any, ...] = getattr(batch, signal.rows)
            for start in range(0, len(rows), ROWS_MAX):
                chunk = rows[start : start + ROWS_MAX]
                try:
                    if later is None:
                        self._send(
                            signal, _only(batch.resource, signal, chunk), refused, because
                        )
                        continue
                except (OSError, HTTPException) as error:
                    later = _TryLaterError(f"{type(error).__name__}: {error}")
                except _TryLaterError as error:
                    later = error
                left[signal.rows] = left.get(signal.rows, ()) + chunk
        if later is not None:
            raise Undelivered(
                later.because,
                left=Batch(batch.resource, **left),
                refused=refused,
                retry_after_s=later.retry_after_s,
            )
        if refused:
            raise Undelivered(because[0], refused=refused)

    def _send(
        self,
        signal: Signal,
        batch: Batch,
        refused: Counter[tuple[str, str]],
        because: list[str],
    ) -> None:
        """Send rows of one signal, in as many requests as their size needs."""
        body = signal.encode(batch)
        answer = None if len(body) > BYTES_MAX else self._post(signal.path, body)
        if answer is None or answer.status == TOO_LARGE:
            rows: tuple[Any, ...] = getattr(batch, signal.rows)
            if len(rows) > 1:
                middle = len(rows) // 2
                for half in (rows[:middle], rows[middle:]):
                    self._send(signal, _only(batch.resource, signal, half), refused, because)
                return
            refused[signal.rows, "too_large"] += 1
            because.append(f"one of the {signal.rows} is too large to be sent")
        elif answer.status in TRY_AGAIN:
            raise _TryLaterError(
                f"{signal.path} answered {answer.status}",
                retry_after_s(answer.retry_after, self._clock.wall_ns()),
            )
        elif not 200 <= answer.status < 300:
            refused[signal.rows, f"http_{answer.status}"] += batch.rows
            because.append(f"{signal.path} answered {answer.status}{_sentence(answer)}")
        elif rejected := min(rejected_rows(answer.body), batch.rows):
            refused[signal.rows, "rejected"] += rejected
            because.append(f"{signal.path} rejected {rejected} of {batch.rows} {signal.rows}")

    def _post(self, path: str, body: bytes) -> Answer:
        headers = {"Content-Type": "application/x-protobuf", "User-Agent": "nilometer"}
        if self._compress:
            body = gzip.compress(body, GZIP_LEVEL, mtime=0)
            headers["Content-Encoding"] = "gzip"
        headers |= self._given_headers
        was_open = self._connection is not None
        try:
            return self._exchange(path, body, headers)
        except (RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            # Receivers close connections that rested for an interval; that is no fault yet.
            if not was_open:
                raise
            return self._exchange(path, body, headers)

    def _exchange(self, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        connection = self._connection or self._connect()
        self._connection = connection
        if self._token_file:
            token = _token(self._address, self._token_file)
            headers = {**headers, "Authorization": f"Bearer {token}"}
        try:
            connection.request("POST", self._prefix + path, body, headers)
            response = connection.getresponse()
            answer = response.read(ANSWER_BYTES_MAX + 1)
        except BaseException:
            self.close()
            raise
        if len(answer) > ANSWER_BYTES_MAX or response.will_close:
            self.close()
        return Answer(response.status, response.headers.get("Retry-After"), answer)

    def _connect(self) -> HTTPConnection:
        host, port = self._address.host, self._address.port or PORT
        if self._tls is None:
            return HTTPConnection(host, port, timeout=self._timeout_s)
        return HTTPSConnection(host, port, timeout=self._timeout_s, context=self._tls)

    def abandon(self) -> None:
        """In a forked child: forget the parent's connection without touching what it locks.

        A thread of the parent may have been reading from it, under a lock of its buffer that
        nobody lets go of here: closing would wait for ever, and so would deleting.
        """
        connection, self._connection = self._connection, None
        if connection is not None:
            _ABANDONED.append(connection)
            if connection.sock is not None:
                os.close(connection.sock.detach())

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _only(resource: Resource, signal: Signal, rows: tuple[Any, ...]) -> Batch:
    """A batch of nothing but these rows."""
    kinds: dict[str, tuple[Any, ...]] = {signal.rows: rows}
    return Batch(resource, **kinds)


def _sentence(answer: Answer) -> str:
    """What the receiver said about a refusal, as far as it can be read."""
    if answer.status in (401, 403):
        return "; look at token_file"
    words = "".join(_words(answer.body[:500].decode(errors="replace")))
    return f": {words[:200]}" if words else ""


def _words(text: str) -> Iterator[str]:
    for character in text:
        yield character if character.isprintable() else " "


def _header(address: Address, text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    value = value.strip()
    is_valid = re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name)
    if not (colon and is_valid and value.isascii() and value.isprintable()):
        address.refuse("a header is written header=Name:value, in printable ASCII")
    return name, value


def _token(address: Address, file: str) -> str:
    """The token, read anew each time, so that it can be renewed while the service runs."""
    try:
        mode = Path(file).stat().st_mode
        with Path(file).open("rb") as stream:
            content = stream.read(TOKEN_FILE_BYTES_MAX).decode("ascii")
    except (OSError, ValueError) as error:
        address.refuse(f"token_file {file}: {getattr(error, 'strerror', None) or 'not ASCII'}")
    if mode & 0o007:
        address.refuse(
            f"token_file {file} is open to every user of this machine; close it with: "
            f"chmod 600 {file}"
        )
    lines = [line.strip() for line in content.splitlines()]
    tokens = [line for line in lines if line and not line.startswith("#")]
    if not tokens:
        address.refuse(f"token_file {file} holds no token")
    return tokens[0]


def _tls(address: Address) -> SSLContext:
    import ssl

    try:
        return ssl.create_default_context(cafile=address.text("ca_file") or None)
    except (OSError, ssl.SSLError) as error:
        address.refuse(f"ca_file {address.text('ca_file')}: {error}")
