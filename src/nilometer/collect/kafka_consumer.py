"""Kafka's side of messages: one thread a cluster, in a group that shares the partitions.

An offset is stored for librdkafka to commit only when the rows are in the tables: what a
collector had taken and not committed when it was killed comes to another. librdkafka connects
again by itself; whether it is connected, and how far we are behind, its own statistics tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
from concurrent.futures import wait
from typing import TYPE_CHECKING, Any, Final

import confluent_kafka
from confluent_kafka import KafkaException

from nilometer.clock import elapsed_ns
from nilometer.collect.group import GROUP_ROWS, WHOLE_BATCH_ROWS
from nilometer.collect.instruments import KAFKA_LAG, KAFKA_LOST
from nilometer.collect.kafka_records import Record
from nilometer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    from nilometer.collect.kafka_records import Flight, Records
    from nilometer.collect.kafka_url import Topics

log = logging.getLogger("nilometer.collector")

api: Any = confluent_kafka  # typed in part only

BACK_OFF_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
POLL_S: Final = 0.2  # how long the thread may sleep before it sees that it should stop
QUIET_S: Final = 0.05
GATHER_S: Final = 0.5
"""What was taken is given to be committed as notifications are, see `bus`: when nothing came
for so long, when it waited so long, or when it is a whole batch."""
HELD_BYTES_MAX: Final = 32 << 20
"""Taken and in no flight; beyond that, and beyond a group's rows, nothing is fetched until a
commit ends."""
HAND_OVER_S: Final = 3.0
"""So long a partition that goes to another collector waits for what is being committed of it,
so that it does not come twice. The others of the group wait meanwhile."""
END_S: Final = 8.0  # as long as requests are waited for
STATISTICS_S: Final = 2.0
RECONNECT_S_MAX: Final = 2.0

SETTINGS: Final[dict[str, Any]] = {
    "client.id": "nilometer-collector",
    "enable.auto.commit": True,  # of what was stored, and that is ours to do
    "auto.commit.interval.ms": 1000,
    "enable.auto.offset.store": False,
    # Of each topic everybody has as many partitions: those of one signal may have all the load,
    # and assignors that move less deal out whole topics.
    "partition.assignment.strategy": "roundrobin",
    "queued.max.messages.kbytes": 16 << 10,
    "reconnect.backoff.max.ms": int(RECONNECT_S_MAX * 1000),
    "log_level": 0,  # else it writes to standard error
}


class Consumer:
    """Consumes topics in a thread of its own. ConfigError if the properties cannot be used."""

    def __init__(self, topics: Topics, records: Records) -> None:
        self.topics = topics
        self._records = records
        self._settings = {
            **SETTINGS,
            **topics.properties,
            "group.id": topics.group,
            "auto.offset.reset": topics.start,
        }
        self._refuse_unusable()
        self._settings |= {
            "bootstrap.servers": ",".join(topics.places),
            "statistics.interval.ms": int(STATISTICS_S * 1000),
            "stats_cb": self._look,
            "error_cb": self._hear,
        }
        self._stop = threading.Event()
        self._over = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="nilometer-kafka", daemon=True)
        self._gathering_ns = self._heard_ns = 0
        self._is_paused = False
        self._flight: Flight | None = None
        self._done: Future[None] | None = None
        self._fault: Any = None  # the last that the client told
        self._is_said = False
        self._unread: dict[str, str] = {}  # topics that we do not get, and why
        self._away = "not connected yet"

    @property
    def trouble(self) -> str:
        """What is wrong, "" if nothing is."""
        return self._away or "; ".join(f"{name}: {why}" for name, why in self._unread.items())

    def _refuse_unusable(self) -> None:
        """Have librdkafka look at the properties; without brokers it connects to nobody."""
        try:
            api.Consumer(self._settings).close()
        except KafkaException as error:
            because = f"--kafka: {self.topics}: properties: {error.args[0].str()}"
            raise ConfigError(because, slug="bad-kafka-url") from None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to consume; commits are made in that loop."""
        self._loop = loop
        self._thread.start()

    def stop(self) -> None:
        """Take nothing more, leave the group with what is committed within some seconds."""
        self._stop.set()
        self._over.wait(END_S + 1)  # the brokers may be away

    def _run(self) -> None:
        tried = 0
        while not self._stop.is_set():
            try:
                # What is in flight comes again with the next connection: it is committed first.
                if not self._landed(POLL_S):
                    continue
                self._flight = None
                self._consume_with(api.Consumer(self._settings))
                tried = 0
            except Exception as error:  # noqa: BLE001 - a thread that ended would take nothing
                self._is_gone(type(error).__name__, f"{type(error).__name__}: {error}"[:200])
                self._stop.wait(BACK_OFF_S[min(tried, len(BACK_OFF_S) - 1)])
                tried += 1
            self._records.forget()
        self._over.set()

    def _consume_with(self, client: Any) -> None:
        self._fault, self._is_paused = None, False
        try:
            client.subscribe(
                list(self.topics.signals),
                on_assign=self._assigned,
                on_revoke=self._revoked,
                on_lost=self._lost,
            )
            self._consume(client)
        finally:
            client.close()

    # ---- what the client tells ---------------------------------------------------------------

    def _hear(self, error: Any) -> None:
        self._fault = error
        if error.fatal():
            raise KafkaException(error)  # out of `poll`: this client is of no use any more

    def _look(self, statistics: str) -> None:
        """Whether any broker is there, and how far we are behind."""
        told = json.loads(statistics)
        if any(each["state"] in ("UP", "UPDATE") for each in told["brokers"].values()):
            self._is_there()
        elif self._fault is not None:
            self._is_gone(self._fault.name(), self._fault.str())
        for topic, about in told["topics"].items():
            lags = [each["consumer_lag"] for each in about["partitions"].values()]
            behind = sum(lag for lag in lags if lag > 0)
            KAFKA_LAG.bind(group=self.topics.group, topic=topic).set(behind)

    def _is_there(self) -> None:
        if self._away:
            log.info("kafka: consuming at %s", self.topics)
        self._away, self._fault, self._is_said = "", None, False

    def _is_gone(self, reason: str, because: str) -> None:
        if not self._is_said:
            KAFKA_LOST.bind(reason=reason).add()
            log.warning("kafka: %s is gone, and asked again: %s", self.topics, because)
        self._is_said, self._away = True, because

    def _assigned(self, _client: Any, partitions: Sequence[Any]) -> None:
        for each in partitions:
            self._unread.pop(each.topic, None)

    def _revoked(self, client: Any, partitions: Sequence[Any]) -> None:
        """Another takes these over: what is being committed of them is stored before."""
        self._stored(client, HAND_OVER_S)
        self._lost(client, partitions)

    def _lost(self, _client: Any, partitions: Sequence[Any]) -> None:
        """Another has taken these over."""
        self._records.forget({(each.topic, each.partition) for each in partitions})

    # ---- messages ----------------------------------------------------------------------------

    def _consume(self, client: Any) -> None:
        while not self._stop.is_set():
            message = client.poll(QUIET_S if self._records.gathered else POLL_S)
            if message is not None:
                self._take(message)
            self._hold_back(client, came=message is not None)
            if self._stored(client, 0) and self._is_gathered():
                self._depart()
        self._stored(client, END_S)

    def _take(self, message: Any) -> None:
        if message.error() is not None:
            topic = message.topic() or "it"
            if topic not in self._unread:
                log.warning("kafka: %s: %s: %s", self.topics, topic, message.error().str())
            self._unread[topic] = message.error().str()
            return
        self._heard_ns = elapsed_ns()
        if not self._records.gathered:
            self._gathering_ns = self._heard_ns
        kind, at_ms = message.timestamp()
        self._records.take(
            Record(
                message.topic(),
                message.partition(),
                message.offset(),
                at_ms * 1_000_000 if kind != api.TIMESTAMP_NOT_AVAILABLE else 0,
                message.value() or b"",
                {name: value or b"" for name, value in message.headers() or ()},
            )
        )

    @property
    def _is_full(self) -> bool:
        return self._records.rows >= GROUP_ROWS or self._records.bytes > HELD_BYTES_MAX

    def _hold_back(self, client: Any, *, came: bool) -> None:
        """Fetch nothing while more is held than one commit takes; what was assigned meanwhile
        is none of what was paused, and comes."""
        if self._is_full and (came or not self._is_paused):
            client.pause(client.assignment())
            self._is_paused = True
        elif self._is_paused and not self._is_full:
            client.resume(client.assignment())
            self._is_paused = False

    def _is_gathered(self) -> bool:
        """Whether what was taken should be committed now."""
        if self._records.rows >= WHOLE_BATCH_ROWS or self._is_full:
            return True
        now_ns = elapsed_ns()
        return self._records.gathered > 0 and (
            now_ns - self._heard_ns > QUIET_S * 10**9
            or now_ns - self._gathering_ns > GATHER_S * 10**9
        )

    def _depart(self) -> None:
        """Begin the next flight with all that was taken."""
        flight = self._records.flight()
        if flight is None or self._loop is None:
            return
        self._flight = flight
        self._done = asyncio.run_coroutine_threadsafe(self._records.commit(flight), self._loop)

    def _landed(self, timeout_s: float) -> bool:
        """Whether nothing is in flight by then; raises what no commit should."""
        if self._done is None or not wait([self._done], timeout_s).done:
            return self._done is None
        done, self._done = self._done, None
        try:
            done.result()
        except BaseException:
            self._flight = None  # nobody may think that it is done with
            raise
        return True

    def _stored(self, client: Any, timeout_s: float) -> bool:
        """Whether nothing is in flight by then; what was is done with, and Kafka is told."""
        if not self._landed(timeout_s):
            return False
        if self._flight is not None:
            flight, self._flight = self._flight, None
            ends = [api.TopicPartition(*place, end) for place, end in flight.ends.items()]
            with contextlib.suppress(KafkaException):  # another has them by now: known again
                client.store_offsets(offsets=ends)
            self._heard_ns = elapsed_ns()
        return True
