"""kafka:// against librdkafka's own brokers: what they acknowledged is there, each once."""

from __future__ import annotations

import subprocess

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from nilometer.errors import ConfigError
from nilometer.export import Outlet, Undelivered, open_exporter
from nilometer.wire import kafka
from nilometer.wire.otlp_in import decode_logs, decode_metrics, decode_traces
from tests.conftest import _wait_until
from tests.export.conftest import a_batch, a_span
from tests.kafka import cluster

pytestmark = pytest.mark.real

DECODE = {"traces": decode_traces, "metrics": decode_metrics, "logs": decode_logs}


@pytest.fixture(scope="module")
def brokers():
    with cluster([]) as running:
        yield running


def url(brokers, topic, **options):
    first, *others = brokers.servers.split(",")
    told = "".join(f"&{name}={value}" for name, value in options.items())
    return f"kafka://{first}/{topic}?others={','.join(others)}{told}"


def read(brokers, topic, partitions=4):
    """All messages of a topic, as (partition, key, headers, value)."""
    consumer = Consumer(
        {
            "bootstrap.servers": brokers.servers,
            "group.id": "reader",
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )
    places = [TopicPartition(topic, n, OFFSET_BEGINNING) for n in range(partitions)]
    consumer.assign(places)
    found, ended = [], set()
    while len(ended) < partitions:
        message = consumer.poll(5)
        assert message is not None
        if message.error() is None:
            told = (message.partition(), message.key(), dict(message.headers() or ()))
            found.append((*told, message.value()))
        else:
            ended.add(message.partition())
    consumer.close()
    return found


def rows_of(messages):
    """The rows of messages, by kind, decoded as their headers say."""
    found = {"spans": [], "readings": [], "events": []}
    for _, _, headers, value in messages:
        decode = DECODE[headers[kafka.SIGNAL].decode()]
        for batch in decode(value, json=False).batches:
            for kind, rows in found.items():
                rows += getattr(batch, kind)
    return found


def counted(messages):
    """How many rows of each kind they hold."""
    return {kind: len(rows) for kind, rows in rows_of(messages).items()}


def test_each_kind_of_row_is_a_message_of_otlp_and_of_one_process_all_are_in_one_partition(
    brokers,
):
    exporter = open_exporter(url(brokers, "kinds"))

    batch = a_batch(readings=3, spans=2, events=1)
    exporter(batch)
    exporter(a_batch(readings=1))
    exporter.close()
    messages = read(brokers, "kinds")

    rows = rows_of(messages)
    assert tuple(rows["spans"]) == batch.spans
    assert (len(rows["readings"]), len(rows["events"])) == (4, 1)
    assert {(partition, key) for partition, key, _, _ in messages} == {
        (messages[0][0], b"shop@c1:7")
    }
    assert len({headers[kafka.DELIVERY] for _, _, headers, _ in messages}) == len(messages) == 4


def test_each_signal_can_have_a_topic_of_its_own(brokers):
    topics = {"traces": "otlp_spans", "metrics": "otlp_metrics", "logs": "otlp_logs"}
    exporter = open_exporter(url(brokers, "", **topics, compression="zstd"))

    exporter(a_batch(readings=1, spans=2, events=3))
    exporter.close()

    lengths = {
        s: {k: len(r) for k, r in rows_of(read(brokers, t)).items()} for s, t in topics.items()
    }
    assert lengths == {
        "traces": {"spans": 2, "readings": 0, "events": 0},
        "metrics": {"spans": 0, "readings": 1, "events": 0},
        "logs": {"spans": 0, "readings": 0, "events": 3},
    }


def test_what_is_large_goes_in_several_messages_and_a_row_that_is_too_large_is_counted(brokers):
    rows = [a_span(n)._replace(attributes={"text": "x" * 400_000}) for n in range(1, 6)]
    rows[2] = rows[2]._replace(attributes={"text": "x" * 1_000_000})
    exporter = open_exporter(url(brokers, "large"))

    with pytest.raises(Undelivered) as state:
        exporter(a_batch()._replace(spans=tuple(rows)))
    exporter.close()

    assert (state.value.left, state.value.refused) == (None, {("spans", "too_large"): 1})
    arrived = rows_of(read(brokers, "large"))["spans"]
    assert [row.span_id for row in arrived] == [rows[n].span_id for n in (0, 1, 3, 4)]


def tried(outlet):
    """Its state after one more attempt."""
    outlet.hurry()
    outlet.deliver()
    return outlet.state


@pytest.fixture
def own_brokers():
    """A cluster that may be away."""
    with cluster(["away"]) as running:
        yield running


def test_while_the_brokers_are_away_nothing_is_lost_and_what_comes_again_has_its_id(
    own_brokers,
):
    outlet = Outlet("kafka", open_exporter(url(own_brokers, "away", timeout_s=1)))
    outlet.offer(a_batch(readings=2))
    _wait_until(lambda: tried(outlet).delivered == 2, what="the first came", timeout_s=30)
    own_brokers.down()
    outlet.offer(a_batch(readings=3, spans=1))
    outlet.deliver()
    failing = outlet.state
    course = outlet.exporter._course
    ids = [message._headers[kafka.DELIVERY] for message in course.messages]
    own_brokers.up()
    _wait_until(lambda: tried(outlet).healthy, what="it works again", timeout_s=30)
    works = outlet.state
    outlet.close()
    messages = read(own_brokers, "away")

    assert (failing.healthy, failing.delivered, failing.buffered) == (False, 2, 4)
    assert "timed out" in failing.because
    assert (works.healthy, works.delivered, dict(works.lost)) == (True, 6, {})
    again = [headers[kafka.DELIVERY].decode() for _, _, headers, _ in messages[1:]]
    assert sorted(again) == sorted(ids)
    assert counted(messages) == {"spans": 1, "readings": 5, "events": 0}


PROGRAM = """
import os, sys
import nilometer
nilometer.configure(service="forks", export=[sys.argv[1]], interval_s=3600)
work = nilometer.counter("work")
work.add(1)
assert nilometer.flush(10)
child = os.fork()
work.add(10 if child else 100)
assert nilometer.flush(10)
if child:
    os.waitpid(child, 0)
print(nilometer.shutdown(10), flush=True)
"""


def test_a_service_sends_by_its_pump_and_so_does_its_forked_child(brokers, python):
    done = subprocess.run(
        [python, "-c", PROGRAM, url(brokers, "forks")],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.stdout, done.stderr, done.returncode) == ("True\nTrue\n", "", 0)
    messages = read(brokers, "forks")
    rows = rows_of(messages)["readings"]
    assert sorted(row.value for row in rows if row.name == "work") == [1, 10, 100]
    assert len({key for _, key, _, _ in messages}) == 2


@pytest.mark.parametrize(
    ("tail", "because"),
    [
        ("/a%20topic", "no topic can be called 'a topic'"),
        ("?traces=a/b", "no topic can be called 'a/b'"),
        ("?others=b2:port", "others='b2:port' is not host:port"),
        ("?others=me:s3cret@b2", "?others=***': a password in a URL ends up in logs"),
        ("?others=me:s3cret%40b2&topics=x", "?others=***&topics=***': no option 'topics'"),
        ("?compression=brotli", "choose from none, gzip, snappy, lz4, zstd"),
        ("?timeout_s=0.1", "out of bounds"),
        ("?topics=x", "no option 'topics'"),
        ("?properties=/nowhere", "No such file"),
    ],
)
def test_what_cannot_be_used_is_told_at_start(tail, because):
    with pytest.raises(ConfigError) as told:
        open_exporter(f"kafka://b1:9092{tail}")

    assert because in str(told.value)
    assert "s3cret" not in str(told.value)


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("sasl.password s3cret", "line 1 is not name=value"),
        ("acks=1", "line 1: acks is not to be set here"),
        ("sasl.pasword=s3cret", 'No such configuration property: "sasl.pasword"'),
    ],
)
def test_properties_that_cannot_be_used_are_told_without_their_values(tmp_path, text, because):
    file = tmp_path / "client.properties"
    file.write_text(text)
    file.chmod(0o600)

    with pytest.raises(ConfigError) as told:
        open_exporter(f"kafka://b1:9092?properties={file}")

    assert because in str(told.value)
    assert "s3cret" not in str(told.value)


def test_properties_that_strangers_can_read_are_refused(tmp_path):
    file = tmp_path / "client.properties"
    file.write_text("security.protocol=SSL")
    file.chmod(0o644)

    with pytest.raises(ConfigError, match="chmod 600"):
        open_exporter(f"kafka://b1:9092?properties={file}")


def test_without_the_extra_it_says_how_to_get_it(python):
    code = """
import sys
sys.modules["confluent_kafka"] = None
from nilometer.export import open_exporter
open_exporter("file:///dev/null"), open_exporter("otlp://c1")
try:
    open_exporter("kafka://b1")
except ValueError as error:
    print(error)
"""
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)

    assert "pip install 'nilometer[kafka]'" in done.stdout
    assert "[kafka-not-installed]" in done.stdout
