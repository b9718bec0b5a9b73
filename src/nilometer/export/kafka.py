"""``kafka://host:9092/topic``: OTLP in protobuf, as messages that all replicas have.

Each request of OTLP is one message; its key names the process, so that what one process tells
stays in one partition. A message counts as delivered when the cluster has acknowledged it
(``acks=all``, idempotent: what librdkafka sends again is there once). What was not acknowledged
in time is given again with the same id, by which the collector knows it.
"""

from __future__ import annotations

import ctypes
import threading
from collections import Counter
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final

from nilometer.clock import Clock
from nilometer.errors import ConfigError, to_install
from nilometer.export.exporter import Undelivered
from nilometer.model import Batch
from nilometer.wire import kafka, otlp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from nilometer.export.address import Address
    from nilometer.model import Resource

OPTIONS: Final = ("others", *kafka.SIGNALS, "compression", "timeout_s", "properties")
COMPRESSIONS: Final = ("none", "gzip", "snappy", "lz4", "zstd")
TIMEOUT_S: Final = 10.0  # as OTLP's: long enough for a leader that is being elected
ROWS_MAX: Final = 4_096  # per message: at 200 bytes a span less than BYTES_MAX
BYTES_MAX: Final = (
    900_000  # of a value: brokers take messages of a million unless told otherwise
)
FILE_BYTES_MAX: Final = 1 << 16
WAIT_S_MIN: Final = 0.002
WAIT_S_MAX: Final = 0.05
"""Between two looks for acknowledgements, doubled each time: librdkafka's own waiting would
stop a hub of greenlets."""
RECONNECT_S_MAX: Final = 2.0  # librdkafka's own is 10 s, as long as one attempt may take
GRACE_S: Final = 2.0  # librdkafka gives up by itself after timeout_s, and looks once a second

_ENCODE: Final[Mapping[str, tuple[str, Callable[[Batch], bytes]]]] = {
    "traces": ("spans", otlp.encode_traces),
    "metrics": ("readings", otlp.encode_metrics),
    "logs": ("events", otlp.encode_logs),
}


def open_kafka(address: Address) -> Kafka:
    """The exporter of a ``kafka`` URL; ConfigError says what is wrong."""
    address.accepting(OPTIONS)
    topics = _topics(address)
    timeout_s = address.number("timeout_s", TIMEOUT_S, least=1, most=60)
    settings: dict[str, Any] = {
        "reconnect.backoff.max.ms": int(RECONNECT_S_MAX * 1000),
        **_properties(address),
        "client.id": "nilometer",
        "acks": "all",
        "enable.idempotence": True,
        "compression.type": address.text("compression", "lz4", choice=COMPRESSIONS),
        "message.timeout.ms": int(timeout_s * 1000),
        "log_level": 0,  # else it writes to standard error
    }
    make = _producer_class(address)
    _refuse_unusable(address, make, settings)
    settings["bootstrap.servers"] = _servers(address)
    return Kafka(make, settings, topics, timeout_s=timeout_s)


class Kafka:
    """Gives batches to one cluster; see the module. It connects with the first batch."""

    waits = True

    def __init__(
        self,
        make: Callable[[dict[str, Any]], Any],
        settings: Mapping[str, Any],
        topics: Mapping[str, str],
        *,
        timeout_s: float = TIMEOUT_S,
        clock: Clock = Clock(),  # noqa: B008 - a tuple of functions
    ) -> None:
        self._make = make
        self._settings = settings
        self._topics = topics
        self._timeout_s = timeout_s
        self._clock = clock
        self._producer: Any = None
        self._course: _Course | None = None
        self._heard = ""  # the last fault that the client told

    def __call__(self, batch: Batch, /) -> None:
        course = self._course
        if course is None or course.batch is not batch:
            course = self._course = _Course(batch)
        if self._producer is None:
            self._heard = ""
            self._producer = self._make({**self._settings, "error_cb": self._hear})
        producer = self._producer
        while asked := course.unasked():
            for message in asked:
                message.give(producer, self._topics[message.signal])
            self._await(producer, asked)
            course.divide()
        if any(message.is_fatal for message in course.messages):
            self._producer = None  # librdkafka says that this one is of no use any more
        self._course = course if course.messages else None
        course.tell(self._heard)

    def _hear(self, error: Any) -> None:
        self._heard = error.str()

    def _await(self, producer: Any, asked: list[_Message]) -> None:
        """Return when each is acknowledged or refused, or nothing of that is to be expected."""
        deadline_ns = self._clock.elapsed_ns() + int((self._timeout_s + GRACE_S) * 1e9)
        pause, wait_s = threading.Event(), WAIT_S_MIN
        while any(message.is_under_way for message in asked):
            if self._producer is not producer:
                raise ConnectionAbortedError("closed before it was acknowledged")
            if producer.poll(0):
                continue
            if self._clock.elapsed_ns() > deadline_ns:
                producer.purge()
                producer.poll(0)
                return
            pause.wait(wait_s)
            wait_s = min(2 * wait_s, WAIT_S_MAX)

    def abandon(self) -> None:
        """In a forked child: let go of the parent's client without using it.

        Its threads are not in the child, and who took it down there would wait for them.
        """
        if self._producer is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._producer))
        self._producer = self._course = None

    def close(self) -> None:
        """Hang up; what was not acknowledged is forgotten."""
        self._producer = self._course = None


class _Message:
    """One request, and what became of it; the same id however often it is given."""

    def __init__(self, signal: str, rows: tuple[Any, ...], body: bytes, key: bytes) -> None:
        self.signal = signal
        self.rows = rows
        self.is_under_way = False
        self.is_fatal = False
        self.is_too_large = False
        self.is_taken = False
        self.because = ""
        self._body = body
        self._key = key
        self._headers = {kafka.SIGNAL: signal, kafka.DELIVERY: token_hex(12)}

    @property
    def is_unasked(self) -> bool:
        """Whether it was not given in this attempt."""
        return not (self.is_under_way or self.is_taken or self.because)

    def give(self, producer: Any, topic: str) -> None:
        """Hand it to the client, which calls `_answered` in a later poll."""
        self.is_under_way = True
        try:
            producer.produce(
                topic,
                self._body,
                self._key,
                headers=self._headers,
                on_delivery=self._answered,
            )
        except BufferError:  # another time: a full queue is emptied by the cluster only
            self.is_under_way, self.because = False, "the client's queue is full"

    def _answered(self, error: Any, _message: Any) -> None:
        self.is_under_way = False
        self.is_taken = error is None
        if error is not None:
            self.because = error.str()
            self.is_fatal = error.fatal()
            self.is_too_large = error.name() in ("MSG_SIZE_TOO_LARGE", "_MSG_SIZE_TOO_LARGE")


class _Course:
    """What has become of a batch so far: the messages that are still to be acknowledged."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch  # what it is about: of one that failed, what was left of it
        self._resource = batch.resource
        resource = batch.resource
        self._key = f"{resource.service}@{resource.host}:{resource.pid}".encode(
            "utf-8", "replace"
        )
        self._refused: Counter[tuple[str, str]] = Counter()
        self.messages = [
            message
            for signal, (kind, _) in _ENCODE.items()
            for message in self._made(signal, getattr(batch, kind))
        ]

    def _made(self, signal: str, rows: tuple[Any, ...]) -> Iterator[_Message]:
        """Messages of these rows, each no larger than one may be."""
        kind, encode = _ENCODE[signal]
        for at in range(0, len(rows), ROWS_MAX):
            chunk = rows[at : at + ROWS_MAX]
            body = encode(_of(self._resource, {kind: chunk}))
            if len(body) <= BYTES_MAX:
                yield _Message(signal, chunk, body, self._key)
            else:
                yield from self._halves(signal, chunk)

    def _halves(self, signal: str, rows: tuple[Any, ...]) -> Iterator[_Message]:
        """Two messages of what is too large for one; a row that is so alone is refused."""
        if len(rows) == 1:
            self._refused[_ENCODE[signal][0], "too_large"] += 1
            return
        middle = len(rows) // 2
        yield from self._made(signal, rows[:middle])
        yield from self._made(signal, rows[middle:])

    def unasked(self) -> list[_Message]:
        """The messages that are to be given in this attempt."""
        return [message for message in self.messages if message.is_unasked]

    def divide(self) -> None:
        """Forget what was taken; what the broker found too large becomes smaller messages."""
        left: list[_Message] = []
        for message in self.messages:
            if message.is_too_large:
                left += self._halves(message.signal, message.rows)
            elif not message.is_taken:
                left.append(message)
        self.messages = left

    def tell(self, heard: str) -> None:
        """Raise Undelivered unless everything was taken; `heard` is what the client said."""
        refused, self._refused = self._refused, Counter()
        if not self.messages:
            if refused:
                raise Undelivered("a row is too large for a message", refused=refused)
            return
        because = next((one.because for one in self.messages if one.because), "not in time")
        rows: dict[str, tuple[Any, ...]] = {}
        for message in self.messages:
            kind = _ENCODE[message.signal][0]
            rows[kind] = rows.get(kind, ()) + message.rows
            message.because, message.is_under_way, message.is_fatal = "", False, False
        self.batch = _of(self._resource, rows)
        told = f"{because}; {heard}" if heard and heard != because else because
        raise Undelivered(told, left=self.batch, refused=refused)


def _of(resource: Resource, rows: Mapping[str, tuple[Any, ...]]) -> Batch:
    """A batch of nothing but these rows, by their kind."""
    readings, spans, events = (rows.get(kind, ()) for kind in ("readings", "spans", "events"))
    return Batch(resource, readings, spans, events)


# ---- the URL ---------------------------------------------------------------------------------


def _topics(address: Address) -> dict[str, str]:
    topic = address.path.strip("/") or kafka.TOPIC
    topics = {signal: address.text(signal, topic) for signal in kafka.SIGNALS}
    for name in topics.values():
        if not kafka.is_topic(name):
            address.refuse(f"no topic can be called {name!r}: letters, digits, '.', '_', '-'")
    return topics


def _servers(address: Address) -> str:
    if not address.host:
        address.refuse("a host is missing, as in kafka://127.0.0.1:9092/nilometer")
    host = f"[{address.host}]" if ":" in address.host else address.host
    others = [one for text in address.all("others") for one in text.split(",") if one]
    for place in others:
        if "@" in place:
            address.refuse("a password in a URL ends up in logs; use properties=FILE")
        if not kafka.is_place(place):
            address.refuse(f"others={place!r} is not host:port")
    return ",".join([f"{host}:{address.port or kafka.PORT}", *others])


def _properties(address: Address) -> dict[str, str]:
    file = address.text("properties")
    if not file:
        return {}
    try:
        mode = Path(file).stat().st_mode
        with Path(file).open("rb") as stream:
            lines = stream.read(FILE_BYTES_MAX).decode().splitlines()
        if mode & 0o007:
            raise ValueError(
                f"open to every user of this machine; close it with: chmod 600 {file}"
            )
        return kafka.properties(lines)
    except UnicodeDecodeError:
        address.refuse(f"properties {file}: not UTF-8")
    except (OSError, ValueError) as error:
        address.refuse(f"properties {file}: {getattr(error, 'strerror', None) or error}")


def _producer_class(address: Address) -> Callable[[dict[str, Any]], Any]:
    try:
        from confluent_kafka import Producer
    except ImportError as error:
        raise ConfigError(
            f"{address.origin}: {address.shown!r} needs {error.name}: {to_install('kafka')}",
            slug="kafka-not-installed",
        ) from None
    return Producer


def _refuse_unusable(
    address: Address, make: Callable[[dict[str, Any]], Any], settings: dict[str, Any]
) -> None:
    """Have librdkafka look at the properties; without brokers it connects to nobody."""
    try:
        make(settings)
    except Exception as error:  # noqa: BLE001 - KafkaException is known where it is installed
        said = error.args[0] if error.args else error
        because = said.str() if hasattr(said, "str") else str(said)
        address.refuse(f"properties {address.text('properties')}: {because}")
