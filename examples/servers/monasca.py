"""What Monasca's persister runs between: a Kafka, an InfluxDB, and the persister itself.

No broker is packaged here: Kafka is the cluster that librdkafka, its client, has for tests. It
speaks the protocol, with groups, rebalances and commits, and keeps some 16 MB. InfluxDB is
Debian's 1.6, the persister OpenStack's own; `scripts/install-monasca` brings both.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

from examples.servers.brokers import Missing, Server, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ROOT: Final = Path(__file__).parents[2]
CACHE: Final = ROOT / ".cache"
PYTHON: Final = CACHE / "monasca" / "bin" / "python"
INFLUXD: Final = CACHE / "influxdb" / "usr" / "bin" / "influxd"
DATABASE: Final = "mon"
GROUP: Final = "1_metrics"  # as which the persister consumes unless it is told otherwise

_CLUSTER: Final = """\
import signal, sys
from confluent_kafka import Producer

producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": int(sys.argv[2])})
for topic in sys.argv[3:]:
    producer.list_topics(topic)
brokers = producer.list_topics().brokers.values()
with open(sys.argv[1], "w") as file:
    print(",".join(f"{one.host}:{one.port}" for one in brokers), file=file)
signal.pause()
"""


_opener = build_opener(ProxyHandler({}))


class MockKafka(Server):
    """A Kafka of one broker, with these topics; each has four partitions."""

    def __init__(self, folder: Path, *, topics: Sequence[str] = ("metrics",)) -> None:
        super().__init__(folder)
        self._topics = topics

    def command(self) -> Sequence[str | Path]:
        return [sys.executable, "-c", _CLUSTER, self._told, "1", *self._topics]

    @property
    def _told(self) -> Path:
        return self.folder / "brokers"

    def is_ready(self) -> bool:
        return self._told.exists() and self._told.read_text().endswith("\n")

    @property
    def brokers(self) -> str:
        """Where its clients go, as they take it."""
        return self._told.read_text().strip()

    def produce(self, topic: str, messages: Iterable[bytes], *, per_second: float = 0) -> int:
        """Send messages, not faster than told, and return how many there were."""
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": self.brokers, "linger.ms": 5})
        count, began = 0, time.monotonic()
        for message in messages:
            while per_second and count > (time.monotonic() - began) * per_second:
                producer.poll(0.001)
            producer.produce(topic, message)
            count += 1
            producer.poll(0)
        left = producer.flush(30)
        if left:
            raise RuntimeError(f"{left} of {count} messages were not taken")
        return count

    def behind(self, topic: str, group: str = GROUP) -> int:
        """How many messages of a topic a group of consumers has not committed."""
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": self.brokers, "group.id": group})
        try:
            parts = consumer.list_topics(topic, timeout=30).topics[topic].partitions
            asked = [TopicPartition(topic, part) for part in parts]
            return sum(
                consumer.get_watermark_offsets(one, timeout=30)[1] - max(one.offset, 0)
                for one in consumer.committed(asked, timeout=30)
            )
        finally:
            consumer.close()


class InfluxDB(Server):
    """InfluxDB 1.6, without a password."""

    def command(self) -> Sequence[str | Path]:
        if not INFLUXD.exists():
            raise Missing(f"{INFLUXD} is needed and not installed: scripts/install-monasca")
        rpc = free_ports(1)[0]
        settings = self.folder / "influx.conf"
        settings.write_text(
            "reporting-disabled = true\n"
            f'bind-address = "127.0.0.1:{rpc}"\n'
            f'[meta]\ndir = "{self.folder}/meta"\n'
            f'[data]\ndir = "{self.folder}/data"\nwal-dir = "{self.folder}/wal"\n'
            f'[http]\nbind-address = "127.0.0.1:{self.port}"\nlog-enabled = false\n'
            "[monitor]\nstore-enabled = false\n"
        )
        return [INFLUXD, "-config", settings]

    def query(self, query: str) -> list[dict[str, Any]]:
        """The series that answer a query."""
        words = urlencode({"db": DATABASE, "q": query})
        with _opener.open(f"http://127.0.0.1:{self.port}/query?{words}", timeout=30) as answer:
            found: list[dict[str, Any]] = json.load(answer)["results"][0].get("series", [])
        return found

    def points(self) -> int:
        """How many points of metrics the persister's database has."""
        found = self.query("SELECT COUNT(value) FROM /.*/")
        return sum(series["values"][0][1] for series in found)


class Persister(Server):
    """monasca-persister as it is installed, with or without Nilometer around it.

    `measured` are the settings that it is measured by, None for as it is; `before` is Python
    that runs before it in the same process, `besides` what its settings file has besides.
    """

    def __init__(
        self,
        folder: Path,
        kafka: MockKafka,
        influxdb: InfluxDB,
        *,
        processors: int = 2,
        batch_size: int = 1000,
        wait_s: int = 1,
        measured: Mapping[str, str] | None = None,
        before: str = "",
        besides: str = "",
    ) -> None:
        super().__init__(folder)
        self._kafka = kafka
        self._influxdb = influxdb
        self._processors = processors
        self._batch_size = batch_size
        self._wait_s = wait_s
        self._measured = measured
        self._before = before
        self._besides = besides

    def command(self) -> Sequence[str | Path]:
        if not PYTHON.exists():
            raise Missing(f"{PYTHON} is needed and not installed: scripts/install-monasca")
        settings = self.folder / "persister.conf"
        settings.write_text(self.configuration())
        program: list[str | Path] = [PYTHON.with_name("monasca-persister")]
        if self._before:
            script = self.folder / "monasca-persister"
            run = "from monasca_persister.persister import main\nmain()\n"
            script.write_text(f"{self._before}\n{run}")
            program = [PYTHON, script]
        if self._measured is not None:
            program = [sys.executable, "-m", "nilometer", "run", "--", *program]
        return [*program, "--config-file", settings]

    def environment(self) -> Mapping[str, str]:
        given = self._measured or {}
        return {f"NILOMETER_{name.upper()}": value for name, value in given.items()}

    def configuration(self) -> str:
        """Its own settings file: metrics and nothing else."""
        return (
            f"[DEFAULT]\nlog_file = {self.folder}/persister.log\n"
            f"[kafka_metrics]\nuri = {self._kafka.brokers}\n"
            f"num_processors = {self._processors}\nbatch_size = {self._batch_size}\n"
            f"max_wait_time_seconds = {self._wait_s}\n"
            "[kafka_alarm_history]\nenabled = false\n"
            f"[influxdb]\nip_address = 127.0.0.1\nport = {self._influxdb.port}\n"
            f"user = nobody\npassword = nothing\ndatabase_name = {DATABASE}\n"
            f"{self._besides}"
        )

    def is_ready(self) -> bool:
        """Whether its processors run."""
        return len(self.processors()) == self._processors

    @property
    def log(self) -> str:
        """What it logged so far."""
        path = self.folder / "persister.log"
        return path.read_text(errors="replace") if path.exists() else self.output

    def processors(self) -> list[int]:
        """The processes that consume."""
        return [pid for pid in _children(self.pid) if _is_python(pid)]


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def _is_python(pid: int) -> bool:
    try:
        return (
            "python" in Path(f"/proc/{pid}/comm").read_text()
            or b"monasca" in Path(f"/proc/{pid}/cmdline").read_bytes()
        )
    except OSError:
        return False


def message(number: int, *, names: int = 10, hosts: int = 10, at_ms: int = 0) -> bytes:
    """One metric as Monasca's API puts it into Kafka; no two have the same point in time."""
    metric = {
        "name": f"cpu.idle_{number % names}",
        "dimensions": {"hostname": f"host-{number // names % hosts}", "service": "compute"},
        "timestamp": at_ms + number,
        "value": number % 101,
    }
    meta = {"tenantId": "acme", "region": "here"}
    return json.dumps({"metric": metric, "meta": meta, "creation_time": at_ms // 1000}).encode()
