"""Metrics as Monasca's API puts them into Kafka: names x hosts x processes x tenants.

The plan is that of upstream's JMeter file: 600 names, 1,500 hosts, 22 processes, 10 tenants. A
stride spreads what follows each other over all of them, so that a short run has as many series
as it has messages.
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer.clock import elapsed_ns, wall_ns

if TYPE_CHECKING:
    from collections.abc import Iterator

STRIDE: Final = 104_729  # a prime, so that it meets every series before it meets one again
FLUSH_S: Final = 30.0
SILENT: Final = 2  # of syslog's levels: what is wrong we say ourselves
AT_ONCE: Final = 1000  # messages between two looks at the clock: 10 ms at 100,000 a second
TICK_S: Final = 0.01
"""Messages that fall due within it go together: to wake for each cost half a millisecond."""
WAIT_S: Final = 0.1  # at most, so that it can be stopped, and hears what Kafka took
REACH_S: Final = 5.0  # Kafka on another continent answers within one
NOTE_NS: Final = 50_000_000  # between two points of the curve: 72,000 an hour, 10 MB


class Plan(NamedTuple):
    """How many of each, and so how many series: all of them together."""

    names: int = 600
    hosts: int = 1500
    processes: int = 22
    tenants: int = 10

    @property
    def series(self) -> int:
        """How many series there are."""
        return self.names * self.hosts * self.processes * self.tenants

    def message(self, number: int, at_ms: int) -> bytes:
        """The message of that number; none of them needs escapes."""
        at = number * _stride(self.series) % self.series
        at, name = divmod(at, self.names)
        at, host = divmod(at, self.hosts)
        tenant, process = divmod(at, self.processes)
        return (
            f'{{"metric":{{"name":"bench.metric_{name}","dimensions":{{"hostname":"host-{host}",'
            f'"process":"p{process}","service":"bench"}},"timestamp":{at_ms},"value":'
            f'{number % 1000}.5,"value_meta":null}},"meta":{{"tenantId":"tenant-{tenant}",'
            f'"region":"bench"}},"creation_time":{at_ms // 1000}}}'
        ).encode()


def _stride(series: int) -> int:
    """One that shares no factor with them."""
    stride = STRIDE
    while math.gcd(stride, series) > 1:
        stride += 2
    return stride


class Load:
    """Produces in a thread of its own; `sent` and `taken` may be read meanwhile.

    Raises ConnectionError if no Kafka answers.
    """

    def __init__(
        self, brokers: str, topic: str, plan: Plan, *, total: int, per_second: float
    ) -> None:
        from confluent_kafka import KafkaException, Producer  # an extra, which only this needs

        self.sent = 0
        self.taken = 0  # of these Kafka says so
        self.failed = 0
        self.because = ""  # why the first one failed
        self.is_over = False
        self.curve: list[tuple[int, int]] = []  # when how many were taken
        self._noting = threading.Lock()
        self._noted_ns = 0
        self._plan = plan
        self._topic = topic
        self._total = total
        self._per_second = per_second
        self._stop = threading.Event()
        self._producer: Any = Producer(
            {
                "bootstrap.servers": brokers,
                "linger.ms": 5,
                "queue.buffering.max.messages": 1_000_000,
                "log_level": SILENT,
            }
        )
        try:
            self._producer.list_topics(topic, timeout=REACH_S)
        except KafkaException as error:
            raise ConnectionError(error.args[0].str()) from error
        self._thread = threading.Thread(target=self._run, name="bench-load", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more, and wait for what was sent."""
        self._stop.set()
        if self._thread.ident is not None:  # it began
            self._thread.join(FLUSH_S)

    def note(self) -> None:
        """Remember how many were taken until now; it does so by itself, too, as they are."""
        with self._noting:
            self._noted_ns = elapsed_ns()
            self.curve.append((self._noted_ns, self.taken))

    def _run(self) -> None:
        began_ns, due = elapsed_ns(), 0
        for number in self._numbers():
            if number == due:
                due = self._due(began_ns, number)
            self._produce(self._plan.message(number, wall_ns() // 1_000_000))
            self.sent = number + 1
        self._producer.flush(FLUSH_S)
        self.note()
        self.is_over = True

    def _numbers(self) -> Iterator[int]:
        for number in range(self._total):
            if self._stop.is_set():
                return
            yield number

    def _due(self, began_ns: int, number: int) -> int:
        """Up to which number messages may be sent, once that is more than this one."""
        self._producer.poll(0)
        if not self._per_second:
            return number + AT_ONCE
        due = 0
        while due <= number and not self._stop.is_set():
            left_s = number / self._per_second - (elapsed_ns() - began_ns) / 1e9
            if left_s > 0:
                self._stop.wait(min(max(left_s, TICK_S), WAIT_S))
                self._producer.poll(0)
            due = int((elapsed_ns() - began_ns) / 1e9 * self._per_second) + 1
        return max(due, number + 1)

    def _produce(self, message: bytes) -> None:
        from confluent_kafka import KafkaException

        while not self._stop.is_set():
            try:
                self._producer.produce(self._topic, message, on_delivery=self._delivered)
            except BufferError:  # it is slower than we are
                self._producer.poll(0.1)
            except KafkaException as error:
                self._delivered(error, message)
                return
            else:
                return

    def _delivered(self, error: object, _message: object) -> None:
        if error is None:
            self.taken += 1
            if elapsed_ns() - self._noted_ns >= NOTE_NS:
                self.note()
        else:
            self.failed += 1
            self.because = self.because or str(error)


class Offsets(NamedTuple):
    """How far a group is in each partition of a topic, and where that ends."""

    done: tuple[int, ...] = ()
    end: tuple[int, ...] = ()

    @property
    def lag(self) -> int:
        """How many messages it has not committed yet."""
        return self.left_of(self)

    def left_of(self, earlier: Offsets) -> int:
        """How many of those it has not committed yet that were there earlier."""
        return sum(
            max(0, end - done) for end, done in zip(earlier.end, self.done, strict=False)
        )


class Lag:
    """How far a group has committed, as Kafka knows it."""

    def __init__(self, brokers: str, topic: str, group: str) -> None:
        from confluent_kafka import Consumer  # an extra, which only this needs

        self._topic = topic
        self._consumer: Any = Consumer(
            {
                "bootstrap.servers": brokers,
                "group.id": group,
                "enable.auto.commit": False,
                "log_level": SILENT,
            }
        )

    def read(self) -> Offsets | None:
        """So far; None while Kafka does not say."""
        from confluent_kafka import KafkaException, TopicPartition

        try:
            known = self._consumer.list_topics(self._topic, timeout=5).topics[self._topic]
            if known.error is not None:
                return None
            parts = [TopicPartition(self._topic, one) for one in sorted(known.partitions)]
            found = []
            for part in self._consumer.committed(parts, timeout=5):
                low, high = self._consumer.get_watermark_offsets(part, timeout=5, cached=False)
                found.append((max(low, part.offset), high))  # below zero: none is committed yet
        except (KafkaException, KeyError):
            return None
        return Offsets(*zip(*found, strict=True))

    def close(self) -> None:
        """Let go of Kafka."""
        self._consumer.close()
