"""Kafka: records written, exactly: how far the end of each partition's log has moved.

An offset is given to every record once. In topics with transactions their markers take offsets,
too; compaction takes records away, and no offset back. A topic that was deleted, or made again
and one of whose logs ends earlier than it did, makes its part and the total unknown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nilometer.counters.backend import BackendError
from nilometer.counters.figures import Fact, Figures
from nilometer.counters.link import ANSWER_S, CONNECT_S, listens, places, unreadable
from nilometer.counters.members import Members
from nilometer.counters.parts import Kept, bounded
from nilometer.counters.rabbitmq_api import SCOPE_OPTIONS, scopes_of
from nilometer.counters.target import Secret, Target
from nilometer.errors import to_install

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nilometer.counters.backend import Surroundings
    from nilometer.counters.figures import Number, Series

MEANING: Final = "Kafka's records by topic: how far the ends of logs moved (confluent-kafka)"

PORT: Final = 9092
VARIABLE: Final = "KAFKA_BOOTSTRAP_SERVERS"

FACTS: Final[Mapping[str, Fact]] = {
    "log_end_offset": Fact("records written to topics", "{record}", exact=True, from_zero=True),
    "internal.log_end_offset": Fact(
        "records written to Kafka's own topics: consumers' offsets, transactions",
        "{record}",
        exact=False,
        from_zero=True,
    ),
}

PARTITIONS_MAX: Final = 20_000
"""Five brokers with the 4,000 partitions that Kafka's own advice gives each at most."""

MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
OPTIONS: Final = ("tls", "ca", "mechanism", "others", *SCOPE_OPTIONS)


def find(surroundings: Surroundings) -> Sequence[Target]:
    """What ``KAFKA_BOOTSTRAP_SERVERS`` says, else the usual port here."""
    said = surroundings.environment.get(VARIABLE, "")
    if said:
        brokers = (one.strip().rpartition("://")[2] for one in said.split(","))
        # Where a user stands there is a password to be shown.
        first, *others = (one.rpartition("@")[2] for one in brokers)
        host, _, port = first.rpartition(":")
        if not (host and port.isascii() and port.isdigit()):
            host, port = first, str(PORT)
        more = (("others", ",".join(others)),) if others else ()
        return [Target("kafka", VARIABLE, host.strip("[]"), int(port), options=more)]
    if listens(PORT):
        return [Target("kafka", "found on this machine", "127.0.0.1", PORT)]
    return []


def connect(target: Target) -> Kafka:
    """A cluster by one of its brokers, or by the first that answers:
    ``kafka://user:password@host:9092?tls=yes&others=host:9092,host:9092``."""
    return Kafka(target.accepting(OPTIONS))


class Kafka:
    """Reads a cluster by a client that stays connected, remembering where each log ended."""

    name = "kafka"
    settle_s = 0.0

    def __init__(self, target: Target) -> None:
        self.instance = f"{target.host or '127.0.0.1'}:{target.port or PORT}"
        self._settings = settings(target)
        self._scopes = scopes_of(target)
        self._members = Members()
        self._kept = Kept()
        self._admin: Any = None
        self.servers: tuple[tuple[str, str], ...] = ()

    def read(self) -> Figures:
        """The ends of all logs now. Raises BackendError."""
        try:
            from confluent_kafka import KafkaException
        except ImportError as error:
            raise BackendError(
                f"kafka at {self.instance}: confluent-kafka is needed: {to_install('kafka')}",
                slug="backend-needs-extra",
            ) from error
        try:
            cluster, ends, notes = self._ends()
        except KafkaException as error:
            self.close()
            raise unreadable(self.name, self.instance, error.args[0].str()) from error
        values, incarnations = self._summed(ends)
        kept, left = bounded(values, kept=self._kept)
        told = (*notes, *left)
        return Figures(kept, f"cluster {cluster}", "", told, incarnations, whole=not notes)

    def _ends(self) -> tuple[str, dict[tuple[str, int], int], list[str]]:
        """The cluster's id, and where each log ends, by topic and partition."""
        from confluent_kafka import TopicPartition, admin

        api: Any = admin  # typed in part only
        if self._admin is None:
            self._admin = api.AdminClient(
                {name: str(value) for name, value in self._settings.items()}
            )
        known = self._admin.list_topics(timeout=CONNECT_S)
        self.servers = tuple((self.name, place) for place in brokers_of(known))
        asked = [
            TopicPartition(topic, partition)
            for topic, about in sorted(known.topics.items())
            for partition in sorted(about.partitions)
        ]
        notes = []
        if len(asked) > PARTITIONS_MAX:
            notes.append(f"{len(asked) - PARTITIONS_MAX} partitions are not read")
        if not asked:
            return known.cluster_id or "", {}, notes
        answers = self._admin.list_offsets(
            {one: api.OffsetSpec.latest() for one in asked[:PARTITIONS_MAX]},
            request_timeout=ANSWER_S,
        )
        found = {
            (o.topic, o.partition): answer.result().offset for o, answer in answers.items()
        }
        return known.cluster_id or "", found, notes

    def _summed(
        self, ends: Mapping[tuple[str, int], int]
    ) -> tuple[dict[Series, Number], dict[Series, str]]:
        """Sums by topic and altogether, and which of them lost a partition."""
        sums, lost = self._members.read(
            ((topic, str(partition)), self._scopes.of(topic), {"end": end})
            for (topic, partition), end in ends.items()
        )
        values: dict[Series, Number] = {("log_end_offset", ()): 0}
        incarnations: dict[Series, str] = {}
        for topic, figures in sums.items():
            name = "internal.log_end_offset" if topic.startswith("__") else "log_end_offset"
            values[name, ()] = values.get((name, ()), 0) + figures.get("end", 0)
            values[name, (("topic", topic),)] = figures.get("end", 0)
            if topic in lost:
                incarnations[name, (("topic", topic),)] = _deleted(lost[topic])
                incarnations[name, ()] = _deleted(sum(lost.values()))
        return values, incarnations

    def facts(self) -> Mapping[str, Fact]:
        """What is known of each counter."""
        return FACTS

    def close(self) -> None:
        """Hang up."""
        self._admin = None


def settings(target: Target) -> dict[str, Secret | str]:
    """What confluent-kafka is told; librdkafka's own log would go to standard error."""
    tls = target.option("tls", "no")
    if tls not in {"yes", "no"}:
        target.refuse(f"tls={tls!r}; choose from yes, no")
    mechanism = target.option("mechanism", MECHANISMS[0])
    if mechanism not in MECHANISMS:
        target.refuse(f"mechanism={mechanism!r}; choose from {', '.join(MECHANISMS)}")
    protocol = ("SASL_" if target.user else "") + ("SSL" if tls == "yes" else "PLAINTEXT")
    told: dict[str, Secret | str] = {
        "bootstrap.servers": ",".join(place.shown for place in places(target, PORT)),
        "client.id": "nilometer",
        "security.protocol": protocol,
        "socket.timeout.ms": str(int(ANSWER_S * 1000)),
        "log_level": "0",
    }
    if target.user:
        told |= {"sasl.mechanism": mechanism, "sasl.username": target.user}
        told["sasl.password"] = target.password
    if ca := target.option("ca"):
        told["ssl.ca.location"] = ca
    return told


def brokers_of(known: Any) -> list[str]:
    """What tells each broker of a cluster from those of others.

    The cluster's id does not by itself: all who start Kafka's own image as it is have the same.
    """
    if not known.cluster_id:
        return []
    brokers = known.brokers.values()
    return sorted(f"cluster {known.cluster_id} at {one.host}:{one.port}" for one in brokers)


def _deleted(number: int) -> str:
    what = "1 partition" if number == 1 else f"{number} partitions"
    return f"{what} of it deleted, or begun anew, since the first read"
