"""What brokers acknowledged is in the tables, each once, whoever is killed."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import httpx
import pytest
from confluent_kafka import Producer
from deltalake import DeltaTable
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from nilometer.export import Outlet, open_exporter
from nilometer.model import Batch, Event, Kind, Reading, Resource
from nilometer.store.query import Reader
from nilometer.wire import kafka, otlp
from tests.collector import start
from tests.conftest import _wait_until
from tests.export.conftest import a_span
from tests.kafka import cluster

pytestmark = pytest.mark.real

# So that who was killed is missed within seconds; Kafka's own are 45.
PROPERTIES = "session.timeout.ms=3000\nheartbeat.interval.ms=300\nsocket.timeout.ms=5000\n"
EVENTS = 5  # of a message
SECOND_NS = 10**9


@pytest.fixture
def brokers():
    with cluster(["nilometer", "otlp_spans", "otlp_metrics", "otlp_logs"]) as running:
        yield running


@pytest.fixture
def url(brokers, tmp_path):
    """What collectors are told."""
    file = tmp_path / "client.properties"
    file.write_text(PROPERTIES)
    file.chmod(0o600)
    first, *others = brokers.servers.split(",")
    topics = "traces=otlp_spans&metrics=otlp_metrics&logs=otlp_logs"
    return f"kafka://{first}/nilometer?others={','.join(others)}&{topics}&properties={file}"


def producing(brokers, **settings):
    told = {"bootstrap.servers": brokers.servers, "acks": "all", "enable.idempotence": True}
    return Producer({**told, "log_level": 0, "reconnect.backoff.max.ms": 1000, **settings})


@contextmanager
def reading(store):
    reader = Reader(store)
    try:
        yield reader
    finally:
        reader.close()


def numbers(store):
    """The numbers of the events in the tables, sorted."""
    with reading(store) as reader:
        found = [event for _, event in reader.events(name="job.done", limit=1_000_000)]
    return sorted(event.attributes["n"] for event in found)


def rejected(store):
    with reading(store) as reader:
        return sorted((row.reason, row.body) for _, row in reader.rejected(limit=100_000))


def logs(first, count=EVENTS, *, service="worker", at_ns=None):
    """A request of OTLP with the events of these numbers."""
    at_ns = at_ns or time.time_ns()
    events = tuple(Event("job.done", at_ns + n, {"n": n}) for n in range(first, first + count))
    return otlp.encode_logs(Batch(Resource(service, "h", 1), events=events))


class Load(threading.Thread):
    """Other people's producer: some hundred requests of OTLP a second, until it is finished.

    Those of metrics are all the same, and each counts.
    """

    def __init__(self, brokers):
        super().__init__(daemon=True)
        self.producer = producing(brokers)
        self.acknowledged = []
        self._over = threading.Event()

    def run(self):
        now_ns = time.time_ns()
        reading_ = Reading("jobs", Kind.COUNTER, (), 1, now_ns - SECOND_NS, now_ns, "1")
        counted = otlp.encode_metrics(Batch(Resource("worker", "h", 1), (reading_,)))
        number = 0
        while not self._over.wait(0.01):
            self.producer.produce("otlp_metrics", counted)
            self.producer.produce(
                "otlp_logs",
                logs(number * EVENTS),
                key=str(number),
                on_delivery=lambda error, _, n=number: error or self.acknowledged.append(n),
            )
            self.producer.poll(0)
            number += 1
        assert self.producer.flush(60) == 0
        assert len(self.acknowledged) == number

    def more(self, messages):
        """Wait until so many more were acknowledged."""
        enough = len(self.acknowledged) + messages
        _wait_until(lambda: len(self.acknowledged) >= enough, what="more", timeout_s=60)

    def finish(self):
        """Produce no more; all of its numbers, when the last is acknowledged."""
        self._over.set()
        self.join(60)
        assert not self.is_alive()
        return self.numbers()

    def numbers(self):
        """All that was acknowledged."""
        return sorted(n * EVENTS + i for n in self.acknowledged for i in range(EVENTS))


def waiting(collector):
    return "no messages from" in collector.get("health")["status"]


def is_consuming(collector):
    return not waiting(collector)


def test_every_signal_of_every_producer_becomes_rows_with_its_time(brokers, url, tmp_path):
    now_ns = time.time_ns()
    reading_ = Reading("jobs", Kind.COUNTER, (), 7, now_ns - SECOND_NS, now_ns, "1")
    batch = Batch(
        Resource("ours", "h", 3),
        (reading_,),
        (a_span(1)._replace(started_ns=now_ns, ended_ns=now_ns + 5),),
        (Event("job.done", now_ns, {"n": 1}),),
    )
    timeless = ExportLogsServiceRequest()
    timeless.ParseFromString(logs(2, 1))
    record = timeless.resource_logs[0].scope_logs[0].log_records[0]
    record.time_unix_nano = record.observed_time_unix_nano = 0
    with start(tmp_path, kafka=url) as collector:
        outlet = Outlet("kafka", open_exporter(url.split("&traces")[0]))
        outlet.offer(batch)
        outlet.deliver()
        producer = producing(brokers, **{"compression.type": "zstd"})
        others = batch._replace(resource=Resource("others", "h", 4), events=())
        producer.produce("otlp_spans", otlp.encode_traces(others))
        producer.produce("otlp_metrics", otlp.encode_metrics(others))
        sent_ms = (now_ns - 3600 * SECOND_NS) // 1_000_000
        producer.produce("otlp_logs", timeless.SerializeToString(), timestamp=sent_ms)
        assert producer.flush(10) == 0
        _wait_until(lambda: len(numbers(collector.store)) == 2, what="all came", timeout_s=30)
        outlet.close()

        with reading(collector.store) as reader:
            events = {
                event.attributes["n"]: event for _, event in reader.events(name="job.done")
            }
        assert events[1].at_ns == now_ns
        assert events[2].at_ns == sent_ms * 1_000_000
        for service in ("ours", "others"):
            traces = collector.get("traces", service=service)["traces"]
            assert [one["spans"] for one in traces] == [1]
        _wait_until(lambda: is_consuming(collector), what="it says ok", timeout_s=10)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_two_share_the_partitions_one_is_killed_and_what_was_acknowledged_is_there_once(
    brokers, url, tmp_path
):
    store = tmp_path / "store"
    (tmp_path / "b").mkdir()
    load = Load(brokers)
    with (
        start(tmp_path, kafka=url, store=store) as one,
        start(tmp_path / "b", kafka=url, store=store) as other,
    ):
        load.start()
        outlet = Outlet("kafka", open_exporter(url.split("&traces")[0]))
        for each in (one, other):
            _wait_until(lambda c=each: has_taken(c), what="each took some", timeout_s=60)
        load.more(100)
        one.kill()
        for sent in range(40):
            batch = Batch(Resource("ours", "h", 3), events=events_of(10**6 + sent * EVENTS))
            outlet.offer(batch)
            outlet.deliver()
        load.more(300)
        one.restart()
        load.more(300)
        expected = load.finish() + [10**6 + n for n in range(40 * EVENTS)]
        _wait_until(
            lambda: len(set(numbers(store))) >= len(expected), what="all is there", timeout_s=60
        )
        _wait_until(
            lambda: jobs(other) >= len(load.acknowledged), what="all is counted", timeout_s=60
        )
        outlet.close()

        assert numbers(store) == expected
        assert jobs(other) == len(load.acknowledged)
        assert rejected(store) == []


def events_of(first):
    now_ns = time.time_ns()
    numbered = range(first, first + EVENTS)
    return tuple(Event("job.done", now_ns + n % EVENTS, {"n": n}) for n in numbered)


def has_taken(collector):
    """Whether this collector has committed messages itself."""
    return '"jobs' in httpx.get(f"{collector.url}/dropwizard/metrics").text


def jobs(collector):
    """The sum of all the load's readings."""
    (row,) = collector.get("metrics", "jobs", "statistics", since="1h")["statistics"]
    return row["sum"]


def test_bad_messages_are_kept_with_their_reason_and_hold_up_nothing(brokers, url, tmp_path):
    broken = ExportLogsServiceRequest()
    broken.ParseFromString(logs(10, 2))
    broken.resource_logs[0].scope_logs[0].log_records[0].time_unix_nano = 2**63
    with start(tmp_path, kafka=url) as collector:
        producer = producing(brokers)
        producer.produce("otlp_logs", b"\xff\xfe", partition=0)
        producer.produce("otlp_logs", None, partition=0)
        producer.produce("otlp_logs", broken.SerializeToString(), partition=0)
        producer.produce("nilometer", logs(20, 1), partition=0)
        producer.produce("nilometer", logs(21, 1), headers={kafka.SIGNAL: b"\xff"}, partition=0)
        producer.produce("otlp_logs", logs(30, 1), partition=0)
        producer.produce("nilometer", logs(31, 1), headers={kafka.SIGNAL: "logs"}, partition=0)
        assert producer.flush(10) == 0
        _wait_until(lambda: len(numbers(collector.store)) == 3, what="all came", timeout_s=30)
        _wait_until(
            lambda: len(rejected(collector.store)) == 4, what="all is told", timeout_s=9
        )

        assert numbers(collector.store) == [11, 30, 31]
        assert [(reason, len(body)) for reason, body in rejected(collector.store)] == [
            ("items", len(broken.SerializeToString())),
            ("malformed", 2),
            ("signal", len(logs(20, 1))),
            ("signal", len(logs(21, 1))),
        ]
        assert collector.process.poll() is None


@pytest.mark.slow
def test_brokers_that_go_away_and_come_back_are_said_once_and_nothing_is_lost(
    brokers, url, tmp_path
):
    load = Load(brokers)
    with start(tmp_path, kafka=url) as collector:
        load.start()
        _wait_until(lambda: len(numbers(collector.store)) > 400, what="some came", timeout_s=30)
        brokers.down()
        _wait_until(lambda: waiting(collector), what="health tells it", timeout_s=30)
        brokers.up()
        load.more(100)
        expected = load.finish()
        _wait_until(
            lambda: len(set(numbers(collector.store))) >= len(expected),
            what="all is there",
            timeout_s=60,
        )
        _wait_until(lambda: is_consuming(collector), what="it says ok", timeout_s=20)

        assert numbers(collector.store) == expected
        assert collector.output().count("is gone, and asked again") == 1


def test_a_collector_ends_in_time_while_the_brokers_are_away(brokers, url, tmp_path):
    with start(tmp_path, kafka=url) as collector:
        producer = producing(brokers)
        producer.produce("otlp_logs", logs(0), partition=0)
        assert producer.flush(30) == 0
        _wait_until(lambda: len(numbers(collector.store)) == EVENTS, what="one", timeout_s=30)
        brokers.down()
        _wait_until(lambda: waiting(collector), what="health tells it", timeout_s=30)
        code = collector.stop()

        assert code == 0  # it is killed where it takes longer than services are given


@pytest.mark.slow
def test_a_restart_in_the_middle_takes_up_where_it_was_and_takes_nothing_twice(
    brokers, url, tmp_path
):
    load = Load(brokers)
    with start(tmp_path, kafka=url) as collector:
        load.start()
        _wait_until(lambda: len(numbers(collector.store)) > 400, what="some came", timeout_s=30)
        assert collector.stop() == 0
        before = len(numbers(collector.store))
        load.more(100)
        collector.restart()
        load.more(100)
        expected = load.finish()
        _wait_until(
            lambda: len(set(numbers(collector.store))) >= len(expected),
            what="all is there",
            timeout_s=60,
        )

        assert numbers(collector.store) == expected
        assert before < len(expected)
        # What was in the tables when it ended had been told to Kafka: nothing came again.
        assert rows_of_events(collector.store) == len(expected)


def rows_of_events(store):
    """How many rows the events have in the tables, those that count once several times, too."""
    names = DeltaTable(store / "events").to_pyarrow_table(columns=["name"])["name"]
    return names.to_pylist().count("job.done")


@pytest.mark.slow
def test_while_the_tables_refuse_nothing_is_done_with_and_all_comes_when_they_take_it(
    brokers, url, tmp_path
):
    producer = producing(brokers)
    with start(tmp_path, kafka=url) as collector:
        producer.produce("otlp_logs", logs(0), partition=0)
        assert producer.flush(10) == 0
        _wait_until(lambda: len(numbers(collector.store)) == EVENTS, what="one", timeout_s=30)
        log = collector.store / "events" / "_delta_log"
        log.rename(log.with_name("kept"))
        log.write_text("")  # no commit can be made
        producer.produce("otlp_logs", logs(EVENTS), partition=0)
        assert producer.flush(10) == 0
        # Tried again until Kafka would have been told long ago, once a second, if it were done.
        _wait_until(
            lambda: collector.get("health")["commits_failed"] >= 3,
            what="it is tried again and again",
            timeout_s=30,
        )
        assert "commits of events fail" in collector.get("health")["status"]
        collector.kill()
        log.unlink()
        log.with_name("kept").rename(log)
        collector.restart()
        _wait_until(
            lambda: len(numbers(collector.store)) == 2 * EVENTS, what="all", timeout_s=40
        )

        assert numbers(collector.store) == list(range(2 * EVENTS))
