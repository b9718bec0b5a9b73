"""What `--kafka` takes, and how what it does not take is told; no broker is asked."""

from __future__ import annotations

import subprocess

import pytest

from nilometer.collect.kafka_consumer import Consumer
from nilometer.collect.kafka_url import Topics
from nilometer.collect.settings import CollectorSettings
from nilometer.errors import ConfigError


@pytest.fixture
def private(tmp_path):
    """Writes a file that only its owner can read."""

    def write(name, text):
        file = tmp_path / name
        file.write_text(text)
        file.chmod(0o600)
        return file

    return write


def test_a_url_names_brokers_topics_and_the_group():
    url = "kafka://b1/ours?others=b2:9093,b3&traces=a,b&logs=c&group=g&start=latest"

    assert CollectorSettings.parse(kafka=url).kafka == (
        Topics(
            ("b1:9092", "b2:9093", "b3:9092"),
            {"a": "traces", "b": "traces", "c": "logs", "ours": ""},
            "g",
            "latest",
        ),
    )


@pytest.mark.parametrize(
    ("url", "signals"),
    [
        ("kafka://b1", {"nilometer": ""}),
        ("kafka://b1/", {"nilometer": ""}),
        ("kafka://b1/?logs=otlp_logs", {"otlp_logs": "logs"}),
        ("kafka://b1/t?logs=t", {"t": "logs"}),
    ],
)
def test_without_a_topic_it_is_ours_unless_one_of_others_is_named(url, signals):
    (topics,) = CollectorSettings.parse(kafka=url).kafka

    assert topics.signals == signals


@pytest.mark.parametrize(
    ("url", "because"),
    [
        ("kafkas://b1", "scheme 'kafkas'; write kafka://host:9092/topic"),
        ("kafka://me:s3cret@b1", "a password in a URL ends up in logs; use properties=FILE"),
        ("kafka://b1?others=me:s3cret@b2", "a password in a URL ends up in logs"),
        ("kafka://", "'' is not host:port"),
        ("kafka://b1?others=b2:p", "'b2:p' is not host:port"),
        ("kafka://b1?grup=g", "no option 'grup'; did you mean 'group'?"),
        ("kafka://b1?start=first", "start='first'; choose from earliest, latest"),
        ("kafka://b1?group=a,b", "group wants one value"),
        ("kafka://b1/a/b", "no topic 'a/b'"),
        ("kafka://b1?properties=/nowhere", "/nowhere: No such file or directory"),
    ],
)
def test_what_cannot_be_used_is_told_with_the_choice_and_no_password(url, because):
    with pytest.raises(ConfigError) as told:
        CollectorSettings.parse(kafka=url)

    assert because in str(told.value)
    assert str(told.value).startswith("--kafka: ")
    assert str(told.value).endswith("[bad-kafka-url]")
    assert "s3cret" not in str(told.value)


def test_urls_may_stand_in_a_file_and_what_the_client_needs_in_another(private):
    secret = private("client", "sasl.username=me\n# why\nsasl.password=s3cret=\n")
    urls = private("urls", f"# ours\nkafka://b1/one?properties={secret}\nkafka://b2/two\n")

    one, two = CollectorSettings.parse(kafka=str(urls)).kafka

    assert one.properties == {"sasl.username": "me", "sasl.password": "s3cret="}
    assert (str(one), str(two)) == ("kafka://b1:9092/one", "kafka://b2:9092/two")
    assert "s3cret" not in repr(one)


def test_a_file_of_properties_that_strangers_can_read_is_refused(private):
    secret = private("client", "sasl.password=s3cret")
    secret.chmod(0o644)

    with pytest.raises(ConfigError, match="chmod 600"):
        CollectorSettings.parse(kafka=f"kafka://b1?properties={secret}")


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("sasl.password s3cret", "line 1 is not name=value"),
        ("\nenable.auto.commit=true", "line 2: enable.auto.commit is not to be set here"),
        ("sasl.pasword=s3cret", 'No such configuration property: "sasl.pasword"'),
        ("ssl.ca.location=/nowhere\nsecurity.protocol=SSL", "ssl.ca.location failed"),
    ],
)
def test_properties_that_cannot_be_used_are_told_at_start_without_values(
    private, text, because
):
    url = f"kafka://b1?properties={private('client', text)}"

    with pytest.raises(ConfigError) as told:
        Consumer(CollectorSettings.parse(kafka=url).kafka[0], None)

    assert because in str(told.value)
    assert "s3cret" not in str(told.value)


WITHOUT = """
import sys
import nilometer.collect.daemon
print("confluent_kafka" in sys.modules)
sys.modules["confluent_kafka"] = None
from nilometer.collect.kafka_topics import KafkaTopics
from nilometer.collect.kafka_url import Topics
KafkaTopics([], None, None, None)
try:
    KafkaTopics([Topics(("b1:9092",), {"t": ""})], None, None, None)
except ValueError as error:
    print(error)
"""


def test_the_client_is_imported_by_who_asks_for_it_only_and_told_where_it_is_missing(python):
    done = subprocess.run([python, "-c", WITHOUT], capture_output=True, text=True, check=True)

    imported, told = done.stdout.splitlines()
    assert imported == "False"
    assert told.startswith(
        "--kafka: this needs confluent_kafka: pip install 'nilometer[kafka]'"
    )
    assert told.endswith("[kafka-not-installed]")
