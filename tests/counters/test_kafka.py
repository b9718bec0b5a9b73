"""What Kafka's client is told, and where the cluster is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from nilometer.counters import kafka
from nilometer.counters.backend import SCHEMES, Surroundings, connect
from nilometer.counters.target import Target
from nilometer.errors import ConfigError


def parsed(url: str) -> Target:
    return Target.parse(url, origin="test", schemes=SCHEMES)


def test_the_client_is_told_how_to_get_in_and_nothing_shows_the_password() -> None:
    told = kafka.settings(
        parsed("kafka://me:s3cret@h:1?tls=yes&mechanism=SCRAM-SHA-256&ca=/x.pem")
    )

    assert told == {
        "bootstrap.servers": "h:1",
        "client.id": "nilometer",
        "security.protocol": "SASL_SSL",
        "socket.timeout.ms": "10000",
        "log_level": "0",
        "sasl.mechanism": "SCRAM-SHA-256",
        "sasl.username": "me",
        "sasl.password": "s3cret",
        "ssl.ca.location": "/x.pem",
    }
    assert "s3cret" not in repr(told)
    assert kafka.settings(parsed("kafka://[::1]"))["bootstrap.servers"] == "[::1]:9092"


@pytest.mark.parametrize(
    ("url", "because"),
    [
        ("kafka://h?tls=on", "choose from yes, no"),
        ("kafka://u@h?mechanism=GSSAPI", "choose from PLAIN"),
        ("kafka://h?acks=all", "no option 'acks'"),
        ("kafka://h?others=i:99999", "it is HOST:PORT"),
        ("kafka://h?others=:1", "it is HOST:PORT"),
        ("kafka://h?others=fe80::1", "it is HOST:PORT"),
    ],
)
def test_options_that_cannot_be_are_refused(url: str, because: str) -> None:
    with pytest.raises(ConfigError, match=because):
        connect(url, origin="test")


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("a:1,b:2, SSL://c ,", "a:1,b:2,c:9092"),
        ("PLAINTEXT://a:1", "a:1"),
        ("a", "a:9092"),
        ("[::1]:7,me:s3@[::2]", "[::1]:7,[::2]:9092"),
    ],
)
def test_it_is_where_the_variable_says(said: str, asked: str) -> None:
    around = Surroundings({"KAFKA_BOOTSTRAP_SERVERS": said}, Path("/nowhere"))
    [target] = kafka.find(around)

    assert kafka.settings(target)["bootstrap.servers"] == asked


def test_without_a_variable_it_is_looked_for_on_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    around = Surroundings({}, Path("/nowhere"))
    monkeypatch.setattr(kafka, "listens", lambda port: port == 9092)
    assert [(one.host, one.port) for one in kafka.find(around)] == [("127.0.0.1", 9092)]
    monkeypatch.setattr(kafka, "listens", lambda port: False)
    assert kafka.find(around) == []
