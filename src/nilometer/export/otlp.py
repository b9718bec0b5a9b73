"""``otlp://host:4318`` and ``otlps://``: OTLP/HTTP in protobuf, on kept-alive connections.

Spans, readings and events go to ``/v1/traces``, ``/v1/metrics`` and ``/v1/logs``, each on a
connection of its own and all at once: a receiver that answers after its commit makes a flush
wait for one commit and not for three, and a process that ends has little time. What the
receiver answers decides by OTLP's own rules: 429, 502, 503 and 504 are tried again, after the
time it asks for; any other refusal is final, counted by its status, and never repeated.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - a name lookup imports it: see nilometer.own on forks
import gzip
import re
from collections import Counter, deque
from concurrent.futures import thread as _for_gevent  # noqa: F401 - see open_otlp
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.clock import Clock
from nilometer.export.exporter import Undelivered
from nilometer.export.lane import Lane
from nilometer.export.receipt import rejected_rows, retry_after_s
from nilometer.export.token_file import read_token
from nilometer.model import Batch
from nilometer.wire import otlp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from ssl import SSLContext
    from typing import Any

    from nilometer.export.address import Address
    from nilometer.export.lane import Answer
    from nilometer.model import Resource

PORT: Final = 4318  # assigned to OTLP over HTTP
TIMEOUT_S: Final = 10.0  # OTLP's default: long enough for a receiver that syncs to a slow disk
ROWS_MAX: Final = 8_192  # per request: half a ring of spans, 2 MB at 250 bytes a span
BYTES_MAX: Final = 4 << 20  # per request, uncompressed: gRPC's limit, which receivers inherit
TRY_AGAIN: Final = frozenset({429, 502, 503, 504})  # OTLP 1.x, "Retryable response codes"
TOO_LARGE: Final = 413
GZIP_LEVEL: Final = 1  # level 6 saves another tenth and takes three times as long
OPTIONS: Final = ("compression", "timeout_s", "token_file", "header", "ca_file")


class Signal(NamedTuple):
    """One of OTLP's three requests, and the rows of a batch that go there."""

    rows: str
    path: str
    encode: Callable[[Batch], bytes]


SIGNALS: Final = (
    Signal("spans", "/v1/traces", otlp.encode_traces),
    Signal("readings", "/v1/metrics", otlp.encode_metrics),
    Signal("events", "/v1/logs", otlp.encode_logs),
)


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
        self._lanes = {signal: Lane(self._connect, timeout_s) for signal in SIGNALS}
        self._course: _Course | None = None

    def __call__(self, batch: Batch, /) -> None:
        course = self._course_of(batch)
        headers = self._headers()
        try:
            while asked := self._ask(course, headers):
                self._hear(course, asked)
        except BaseException:  # an answer that nobody reads would be the next request's
            self.close()
            raise
        self._course = course if course.is_later else None
        course.tell()

    def _course_of(self, batch: Batch) -> _Course:
        """How far this batch has come: what comes again goes on where it was.

        A receiver knows a request that comes again by its content, and what was asked and not
        answered may have been taken: it is never cut anew.
        """
        course = self._course
        if course is None or course.batch is not batch:
            course = self._course = _Course(batch)
        course.is_later = False
        return course

    def _ask(self, course: _Course, headers: dict[str, str]) -> list[Signal]:
        """Write the next request of each signal; which were written."""
        asked = []
        for signal in SIGNALS:
            body = course.next_body(signal)
            if body is None:
                continue
            try:
                packed = gzip.compress(body, GZIP_LEVEL, mtime=0) if self._compress else body
                self._lanes[signal].ask(self._prefix + signal.path, packed, headers)
            except (OSError, HTTPException) as error:
                course.postpone(f"{type(error).__name__}: {error}")
            else:
                asked.append(signal)
        return asked

    def _hear(self, course: _Course, asked: list[Signal]) -> None:
        """Read the answers; all together may take as long as one."""
        deadline_ns = self._clock.elapsed_ns() + int(self._timeout_s * 1e9)
        for signal in asked:
            left_s = (deadline_ns - self._clock.elapsed_ns()) / 1e9
            try:
                answer = self._lanes[signal].hear(left_s)
            except (OSError, HTTPException) as error:
                course.postpone(f"{type(error).__name__}: {error}")
            else:
                course.answered(signal, answer, self._clock.wall_ns())

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/x-protobuf", "User-Agent": "nilometer"}
        if self._compress:
            headers["Content-Encoding"] = "gzip"
        headers |= self._given_headers
        if self._token_file:
            token = _token(self._address, self._token_file)
            headers["Authorization"] = f"Bearer {token}"
        return headers

    def _connect(self) -> HTTPConnection:
        host, port = self._address.host, self._address.port or PORT
        if self._tls is None:
            return HTTPConnection(host, port, timeout=self._timeout_s)
        return HTTPSConnection(host, port, timeout=self._timeout_s, context=self._tls)

    def abandon(self) -> None:
        """In a forked child: let go of the parent's connections without using them."""
        self._course = None
        for lane in self._lanes.values():
            lane.abandon()

    def close(self) -> None:
        """Close the connections."""
        for lane in self._lanes.values():
            lane.close()


class _Course:
    """What has become of a batch so far: per signal the rows to send yet, in requests.

    It outlives an attempt that failed, with the borders of the requests as they are.
    """

    def __init__(self, batch: Batch) -> None:
        self.batch = batch  # what it is about: of one that failed, what was left of it
        self.is_later = False
        self._resource = batch.resource
        self._to_send: dict[Signal, deque[tuple[Any, ...]]] = {}
        for signal in SIGNALS:
            rows: tuple[Any, ...] = getattr(batch, signal.rows)
            chunks = (rows[at : at + ROWS_MAX] for at in range(0, len(rows), ROWS_MAX))
            self._to_send[signal] = deque(chunks)
        self._refused: Counter[tuple[str, str]] = Counter()
        self._because: list[str] = []
        self._retry_after_s: float | None = None

    def next_body(self, signal: Signal) -> bytes | None:
        """The next request of a signal, no larger than one may be; None if there is none."""
        to_send = self._to_send[signal]
        while to_send and not self.is_later:
            body = signal.encode(_of(self._resource, {signal.rows: to_send[0]}))
            if len(body) <= BYTES_MAX:
                return body
            self._halve(signal)
        return None

    def _halve(self, signal: Signal) -> None:
        """Make two requests of one that is too large; a row that is so alone is refused."""
        to_send = self._to_send[signal]
        rows = to_send.popleft()
        if len(rows) > 1:
            middle = len(rows) // 2
            to_send.extendleft((rows[middle:], rows[:middle]))
            return
        self._refuse(signal, "too_large", 1)
        self._because.append(f"one of the {signal.rows} is too large to be sent")

    def answered(self, signal: Signal, answer: Answer, now_ns: int) -> None:
        """Enter what the receiver said to the request of `next_body`."""
        if answer.status == TOO_LARGE:
            self._halve(signal)
            return
        if answer.status in TRY_AGAIN:
            wait_s = retry_after_s(answer.retry_after, now_ns)
            self.postpone(f"{signal.path} answered {answer.status}", wait_s)
            return
        rows = len(self._to_send[signal].popleft())
        if not 200 <= answer.status < 300:
            self._refuse(signal, f"http_{answer.status}", rows)
            self._because.append(f"{signal.path} answered {answer.status}{_sentence(answer)}")
        elif rejected := min(rejected_rows(answer.body), rows):
            self._refuse(signal, "rejected", rejected)
            self._because.append(f"{signal.path} rejected {rejected} of {rows} {signal.rows}")

    def _refuse(self, signal: Signal, reason: str, rows: int) -> None:
        self._refused[signal.rows, reason] += rows

    def postpone(self, because: str, wait_s: float | None = None) -> None:
        """The receiver cannot take it now: what is not sent is left for another time."""
        if not self.is_later:
            self._because.insert(0, because)
        self.is_later = True
        if wait_s is not None:
            self._retry_after_s = max(wait_s, self._retry_after_s or 0.0)

    def tell(self) -> None:
        """Raise Undelivered unless everything was taken."""
        refused, self._refused = self._refused, Counter()
        because, self._because = self._because, []
        retry_after_s, self._retry_after_s = self._retry_after_s, None
        if self.is_later:
            left = {s.rows: tuple(chain.from_iterable(c)) for s, c in self._to_send.items()}
            self.batch = _of(self._resource, left)
            raise Undelivered(
                because[0], left=self.batch, refused=refused, retry_after_s=retry_after_s
            )
        if refused:
            raise Undelivered(because[0], refused=refused)


def _of(resource: Resource, rows: Mapping[str, tuple[Any, ...]]) -> Batch:
    """A batch of nothing but these rows, by their kind."""
    readings, spans, events = (rows.get(kind, ()) for kind in ("readings", "spans", "events"))
    return Batch(resource, readings, spans, events)


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
    return read_token(file, origin=f"{address.origin}: {address.shown!r}")


def _tls(address: Address) -> SSLContext:
    import ssl

    try:
        return ssl.create_default_context(cafile=address.text("ca_file") or None)
    except (OSError, ssl.SSLError) as error:
        address.refuse(f"ca_file {address.text('ca_file')}: {error}")
